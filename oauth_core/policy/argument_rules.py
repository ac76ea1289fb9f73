"""Argument rules: whether the arguments of a call meet the conditions of a rule.

A condition holds only if every program that may read the arguments finds that it holds. A value that two programs
could read differently meets no condition: a member with a second spelling beside it, a number that is rounded, a
text with a second Unicode form, a path with `..`. So does a value of another type than the condition is about.

The caller chooses the arguments, so the work for each condition is bounded: by the members of an object, the items
of a list and the characters of a text that are looked at. A value with more meets no condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from itertools import accumulate
from typing import TYPE_CHECKING

from oauth_core.policy.globs import glob_matches
from oauth_core.policy.path_globs import path_matches
from oauth_core.policy.text_readings import readings_of, skeleton
from oauth_core.strict_json import WrittenNumber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from oauth_core.model import ArgumentCondition, Way

LARGEST_INTEGER = 2**53 - 1
"""Above it, some programs round integers (RFC 8259 section 6)."""

MOST_DIGITS = 15
"""Significant digits of a number with a fraction. Every program keeps so many (IEEE 754 double precision)."""

MOST_MEMBERS = 256
"""Members of an object that a condition looks into."""

MOST_ITEMS = 256
"""Items of a list of which a condition looks at each."""


class AnyArguments(Enum):
    """In the place of arguments: the question is whether a call with some arguments may pass, as for a list."""

    ANY = "any"


ANY_ARGUMENTS = AnyArguments.ANY


@dataclass(frozen=True, slots=True)
class Unmet:
    """A condition that arguments do not meet, in words without any value of the caller or of the rule.

    `is_ambiguous` is true if programs could read the value differently.
    """

    text: str
    is_ambiguous: bool = False


class _Result(Enum):
    HOLDS = "holds"
    FAILS = "fails"
    AMBIGUOUS = "ambiguous"


class Spellings:
    """The names of members in the arguments of one call, by their skeletons.

    The caller chooses how many and how long they are, so they are found once for all conditions of all ways.
    """

    def __init__(self) -> None:
        self._found: dict[int, dict[str, list[str]]] = {}

    def of(self, members: Mapping[str, object]) -> Mapping[str, Sequence[str]]:
        """The names in one of the objects. The arguments must exist as long as `self`."""
        found = self._found.get(id(members))
        if found is None:
            found = self._found[id(members)] = {}
            for member in members:
                found.setdefault(skeleton(member), []).append(member)
        return found


def unmet(
    way: Way, arguments: Mapping[str, object] | AnyArguments | None, spellings: Spellings | None = None
) -> Unmet | None:
    """The first condition of `way` that these arguments do not meet; `None` if they meet all.

    Without `arguments` (the call has none that were read) no way with conditions is satisfied. Several ways share
    the `spellings` of one call.
    """
    if not way.is_conditional or arguments is ANY_ARGUMENTS:
        return None
    if arguments is None or isinstance(arguments, AnyArguments):
        return Unmet("this method has no arguments, and the rule depends on them")
    if not way.allows_others:
        named = tuple(dict.fromkeys(condition.steps[0] for condition in way.conditions))
        if not arguments.keys() <= set(named):
            listed = ", ".join(name for name in named if name is not None) or "none"
            return Unmet(f"arguments may have no other fields than these: {listed}")
    spellings = spellings or Spellings()
    for condition in way.conditions:
        match _of_field(condition, arguments, condition.steps, spellings):
            case _Result.AMBIGUOUS:
                return Unmet(f"arguments.{condition.field} can be read in several ways", is_ambiguous=True)
            case _Result.FAILS:
                return Unmet(f"arguments.{condition.field} {demand_of(condition)}")
            case _Result.HOLDS:
                pass
    return None


def demand_of(condition: ArgumentCondition) -> str:
    """The demand of `condition`, in words without its values."""
    if condition.present is False:
        return "must be left out"
    demands = [words for part, words in _DEMANDS if part(condition)]
    return ("may be left out, or " if condition.optional else "") + " and ".join(demands or ["must be given"])


_DEMANDS: tuple[tuple[Callable[[ArgumentCondition], bool], str], ...] = (
    (lambda one: bool(one.globs), "must be a text that matches a pattern of the rule"),
    (lambda one: bool(one.paths), "must be a path that matches a pattern of the rule"),
    (lambda one: bool(one.one_of), "must be one of the values in the rule"),
    (lambda one: one.is_integer, "must be a whole number"),
    (
        lambda one: one.at_least is not None or one.at_most is not None,
        "must be a number within the range in the rule",
    ),
    (lambda one: one.characters is not None, "must be a text whose length is within the limits of the rule"),
    (lambda one: one.items is not None, "must be a list whose length is within the limits of the rule"),
)


def _of_field(
    condition: ArgumentCondition, value: object, steps: Sequence[str | None], spellings: Spellings
) -> _Result:
    """The result for the field at the end of `steps`, which begin at `value`."""
    if not steps:
        return _of_value(condition, value)
    name, *rest = steps
    if name is None:
        # To some services an empty list means all.
        if not isinstance(value, list) or not 0 < len(value) <= MOST_ITEMS:
            return _Result.FAILS
        return _worst(_of_field(condition, item, rest, spellings) for item in value)
    if not isinstance(value, dict) or len(value) > MOST_MEMBERS:
        return _Result.FAILS
    if not _is_named_once(spellings.of(value), name, rest):
        return _Result.AMBIGUOUS
    if name not in value:
        return _Result.HOLDS if condition.optional or condition.present is False else _Result.FAILS
    if not rest and condition.present is False:
        return _Result.FAILS
    return _of_field(condition, value[name], rest, spellings)


def _is_named_once(members: Mapping[str, Sequence[str]], name: str, rest: Sequence[str | None]) -> bool:
    """Whether no other member could be read as `name`, or as a field on the way that `rest` leads from there.

    Programs ignore case or write `file_path` as `filePath`; some read `options.depth` as a member of `options`.
    """
    wanted = accumulate(step for step in (name, *rest) if step is not None)
    return not any(member != name for text in wanted for member in members.get(skeleton(text), ()))


def _worst(results: Iterator[_Result]) -> _Result:
    return next((result for result in results if result is not _Result.HOLDS), _Result.HOLDS)


def _of_value(condition: ArgumentCondition, value: object) -> _Result:
    if value is None:  # some programs read it as a field that is left out
        return _Result.FAILS
    return _worst(_parts(condition, value))


def _parts(condition: ArgumentCondition, value: object) -> Iterator[_Result]:
    if condition.globs:
        yield _of_glob(condition.globs, value)
    if condition.paths:
        yield _of_paths(condition.paths, value)
    if condition.one_of:
        yield _of_list(condition.one_of, value)
    if condition.is_integer or condition.at_least is not None or condition.at_most is not None:
        yield _of_number(condition, value)
    if condition.characters is not None:
        yield _of_length(condition.characters, value, str)
    if condition.items is not None:
        yield _of_length(condition.items, value, list)


def _of_glob(globs: Sequence[str], value: object) -> _Result:
    if not isinstance(value, str):
        return _Result.FAILS
    readings = readings_of(value)
    if readings is None:
        return _Result.AMBIGUOUS
    return _held(all(any(glob_matches(glob, reading) for glob in globs) for reading in readings))


def _of_paths(paths: Sequence[tuple[str, ...]], value: object) -> _Result:
    if not isinstance(value, str):
        return _Result.FAILS
    result = path_matches(paths, value)
    return _Result.AMBIGUOUS if result is None else _held(result)


def _of_list(one_of: Sequence[str | bool | Decimal], value: object) -> _Result:
    if isinstance(value, str | bool):
        return _held(any(type(one) is type(value) and one == value for one in one_of))
    if not isinstance(value, int | float) or not any(isinstance(one, Decimal) for one in one_of):
        return _Result.FAILS
    number = exact_number(value)
    if number is None:
        return _Result.AMBIGUOUS
    return _held(any(isinstance(one, Decimal) and one == number for one in one_of))


def _of_number(condition: ArgumentCondition, value: object) -> _Result:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _Result.FAILS
    number = exact_number(value)
    if number is None:
        return _Result.AMBIGUOUS
    return _held(
        (condition.at_least is None or number >= condition.at_least)
        and (condition.at_most is None or number <= condition.at_most)
        and (not condition.is_integer or number == number.to_integral_value())
    )


def exact_number(value: float) -> Decimal | None:
    """The number that every program reads; `None` for one that some round, refuse, or give another sign."""
    if isinstance(value, int):
        return Decimal(value) if abs(value) <= LARGEST_INTEGER else None
    if not isinstance(value, WrittenNumber) or "e" in value.text.lower():
        return None
    number = Decimal(value.text)
    if not number.is_finite() or (number.is_zero() and number.is_signed()):
        return None
    return number if len(number.as_tuple().digits) <= MOST_DIGITS else None


def _of_length(limits: tuple[int, int | None], value: object, kind: type[str | list[object]]) -> _Result:
    if not isinstance(value, kind):
        return _Result.FAILS
    if isinstance(value, str) and "\0" in value:  # programs in C read the text up to there
        return _Result.AMBIGUOUS
    shortest, longest = limits
    return _held(len(value) >= shortest and (longest is None or len(value) <= longest))


def _held(holds: bool) -> _Result:  # noqa: FBT001 - it is the whole question
    return _Result.HOLDS if holds else _Result.FAILS
