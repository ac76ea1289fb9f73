"""The settings of rules over the arguments of a call: conditions on its fields, and the ways that they open."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from oauth_core.display_text import is_displayable
from oauth_core.model import ArgumentCondition, Way
from oauth_core.policy.argument_rules import LARGEST_INTEGER, MOST_DIGITS, exact_number, unmet
from oauth_core.policy.globs import glob_matches
from oauth_core.policy.path_globs import pattern_of
from oauth_core.policy.text_readings import readings_of, skeleton
from oauth_core.settings.definitions import Setting
from oauth_core.settings.permission_names import Needs, Text
from oauth_core.strict_json import WrittenNumber

if TYPE_CHECKING:
    from decimal import Decimal

_LONGEST_FIELD = 128
_MOST_CONDITIONS = 32
_MOST_PATTERNS = 64
_LONGEST_EXPLANATION = 200
_ITEMS = "[]"


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str | int | float) else value


def _numbers_are_exact(values: tuple[str | bool | int | float, ...]) -> tuple[str | bool | int | float, ...]:
    for value in values:
        if not isinstance(value, str | bool):
            _exact(value)
        elif isinstance(value, str) and "\0" in value:
            raise ValueError("no text with a NUL is allowed")
    return values


def _exact(value: float) -> Decimal:
    """`value` as every program reads it. Raises `ValueError` for a number that some round."""
    number = exact_number(value if isinstance(value, int) else WrittenNumber(repr(value)))
    if number is None:
        raise ValueError(f"{value} is a number that programs read differently: at most {MOST_DIGITS} digits")
    return number


def _exact_or_none(value: float | None) -> float | None:
    if value is not None:
        _exact(value)
    return value


def _usable_globs(globs: tuple[str, ...]) -> tuple[str, ...]:
    for glob in globs:
        if not glob or readings_of(glob.replace("*", "x")) is None:
            raise ValueError(
                f"{glob!r} matches no text: one line, in Unicode's form NFC, without spaces at its ends"
            )
        if not glob_matches(glob, glob.replace("*", "x")):
            raise ValueError(f"{glob!r} matches no text")
    return globs


def _usable_paths(paths: tuple[str, ...]) -> tuple[str, ...]:
    for path in paths:
        pattern_of(path)
    return paths


def _displayable(text: str) -> str:
    if not is_displayable(text):
        raise ValueError("a text for callers must be printable, on one line")
    return text


_Bound = Annotated[StrictInt | StrictFloat, AfterValidator(_exact_or_none)]
_Value = StrictStr | StrictBool | StrictInt | StrictFloat
_Length = Annotated[int, Field(strict=True, ge=0, le=LARGEST_INTEGER)]
_Patterns = Annotated[tuple[Text, ...], Field(min_length=1, max_length=_MOST_PATTERNS)]


class ConditionSettings(BaseModel):
    """The conditions on one field of the arguments of a call. All that are set must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    present: Annotated[
        StrictBool | None,
        Setting("`true`: the field must be given, with any value but null. `false`: it must be left out."),
    ] = None
    optional: Annotated[
        StrictBool,
        Setting("The other conditions hold also for a call without the field."),
    ] = False
    glob: Annotated[
        _Patterns | None,
        BeforeValidator(_one_or_more, json_schema_input_type=str | tuple[str, ...]),
        AfterValidator(lambda globs: globs and _usable_globs(globs)),
        Setting("The field is a text that matches one of these globs; `*` stands for any characters."),
    ] = None
    path: Annotated[
        _Patterns | None,
        BeforeValidator(_one_or_more, json_schema_input_type=str | tuple[str, ...]),
        AfterValidator(lambda paths: paths and _usable_paths(paths)),
        Setting(
            "The field is a path that matches one of these globs: `*` stands for characters within a segment, "
            "`**` for one or more segments."
        ),
    ] = None
    one_of: Annotated[
        Annotated[tuple[_Value, ...], Field(min_length=1), AfterValidator(_numbers_are_exact)] | None,
        BeforeValidator(
            _one_or_more,
            json_schema_input_type=_Value | tuple[_Value, ...],
        ),
        Setting("The field is one of these texts, numbers, `true` or `false`."),
    ] = None
    at_least: Annotated[
        _Bound | None,
        Setting("The field is a number that is not smaller."),
    ] = None
    at_most: Annotated[
        _Bound | None,
        Setting("The field is a number that is not larger."),
    ] = None
    integer: Annotated[
        StrictBool,
        Setting("The field is a whole number."),
    ] = False
    min_length: Annotated[
        _Length | None,
        Setting("The field is a text of at least this length.", unit="characters"),
    ] = None
    max_length: Annotated[
        _Length | None,
        Setting("The field is a text of at most this length.", unit="characters"),
    ] = None
    min_items: Annotated[
        _Length | None,
        Setting("The field is a list of at least this length.", unit="items"),
    ] = None
    max_items: Annotated[
        _Length | None,
        Setting("The field is a list of at most this length.", unit="items"),
    ] = None

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        """Refuse conditions that no value meets, or every value."""
        kinds = [parts for parts in (self._of_text, self._of_number, self.is_of_list) if parts]
        if not kinds and self.one_of is None and self.present is None:
            raise ValueError("demands nothing: write present = true for a field with any value")
        if self.present is not None and (kinds or self.one_of is not None or self.optional):
            raise ValueError("present stands alone: the other conditions demand the field unless it is optional")
        if len(kinds) > 1:
            raise ValueError("no value is a text, a number and a list at once")
        for least, most in (
            (self.at_least, self.at_most),
            (self.min_length, self.max_length),
            (self.min_items, self.max_items),
        ):
            if least is not None and most is not None and least > most:
                raise ValueError(f"no value is at least {least} and at most {most}")
        lowest, highest = self.at_least or 0, self.at_most or 0
        is_range = self.at_least is not None and self.at_most is not None
        if self.integer and is_range and math.ceil(lowest) > math.floor(highest):
            raise ValueError(f"no whole number is at least {lowest} and at most {highest}")
        for value in self.one_of or ():
            if not self._allows(value):
                raise ValueError(f"{value!r} in one_of does not meet the other conditions")
        return self

    @property
    def _of_text(self) -> bool:
        return any(part is not None for part in (self.glob, self.path, self.min_length, self.max_length))

    @property
    def _of_number(self) -> bool:
        return self.at_least is not None or self.at_most is not None or self.integer

    @property
    def is_of_list(self) -> bool:
        """Whether only a list meets the conditions."""
        return self.min_items is not None or self.max_items is not None

    def _allows(self, value: str | bool | float) -> bool:  # noqa: FBT001 - a value of any type
        """Whether `value` meets the conditions beside `one_of`, as a caller's value does."""
        others = replace(self.on("value"), one_of=())
        given = value if isinstance(value, str | int) else WrittenNumber(repr(value))
        return unmet(Way((), (others,)), {"value": given}) is None

    def on(self, field: str) -> ArgumentCondition:
        """The condition on this field. Raises `ValueError` for a text that is no field."""
        return ArgumentCondition(
            field=field,
            steps=steps_of(field),
            present=self.present,
            optional=self.optional,
            globs=self.glob or (),
            paths=tuple(map(pattern_of, self.path or ())),
            one_of=tuple(one if isinstance(one, str | bool) else _exact(one) for one in self.one_of or ()),
            at_least=None if self.at_least is None else _exact(self.at_least),
            at_most=None if self.at_most is None else _exact(self.at_most),
            is_integer=self.integer,
            characters=_limits(self.min_length, self.max_length),
            items=_limits(self.min_items, self.max_items),
        )


def _limits(least: int | None, most: int | None) -> tuple[int, int | None] | None:
    return None if least is None and most is None else (least or 0, most)


def steps_of(field: str) -> tuple[str | None, ...]:
    """The way to a field: names of members, and `None` for each item of a list.

    Raises `ValueError` for a text that is no field.
    """
    if len(field) > _LONGEST_FIELD or not is_displayable(field):
        raise ValueError(f"{field!r} is too long for a field, or not printable")
    steps: list[str | None] = []
    for part in field.split("."):
        name = part.removesuffix(_ITEMS)
        if not name or re.search(r"[\[\]\s]", name) or readings_of(name) is None or not skeleton(name):
            raise ValueError(f"{field!r} is no field: write options.depth, or paths[] for each item of a list")
        steps += [name, None] if part.endswith(_ITEMS) else [name]
    if steps.count(None) > 1:
        raise ValueError(f"{field!r} looks into lists of lists: one [] is possible")
    return tuple(steps)


def _consistent_fields(table: dict[str, ConditionSettings]) -> dict[str, ConditionSettings]:
    """Refuse fields that cannot all be as demanded."""
    found = {field: steps_of(field) for field in table}
    by_skeleton: dict[tuple[str | None, ...], str] = {}
    for field, steps in found.items():
        spelled = tuple(None if step is None else skeleton(step) for step in steps)
        if (other := by_skeleton.setdefault(spelled, field)) != field:
            raise ValueError(
                f"{other!r} and {field!r} are spellings of one field, and calls with both are refused"
            )
    for field, steps in found.items():
        for other, longer in found.items():
            if len(longer) <= len(steps) or longer[: len(steps)] != steps:
                continue
            is_list = longer[len(steps)] is None
            condition = table[field]
            if condition.present is False:
                if not (table[other].optional or table[other].present is False):
                    raise ValueError(f"{field!r} must be left out, and {other!r} is in it")
            elif condition.present is None and not (
                is_list and condition.one_of is None and _is_of_list(condition)
            ):
                raise ValueError(f"{field!r} has {other!r} in it, so it is no text and no number")
    return table


def _is_of_list(condition: ConditionSettings) -> bool:
    return condition.min_items is not None or condition.max_items is not None


class WaySettings(BaseModel):
    """One way to satisfy a rule: the permissions that a call needs if its arguments meet the conditions."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    needs: Annotated[
        Needs,
        Setting("One permission or several, which are all needed."),
    ]
    arguments: Annotated[
        dict[Text, ConditionSettings],
        Field(max_length=_MOST_CONDITIONS),
        AfterValidator(_consistent_fields),
        Setting(
            "Conditions on fields of the arguments, by the name of the field: `path`, `options.depth`, `paths[]`."
        ),
    ] = Field(default_factory=dict)
    other_arguments: Annotated[
        StrictBool,
        Setting("`false`: the call may have no other arguments than those with a condition."),
    ] = True
    explanation: Annotated[
        str,
        Field(max_length=_LONGEST_EXPLANATION),
        AfterValidator(_displayable),
        Setting("A text for a caller whose arguments do not meet the conditions."),
    ] = ""

    @property
    def way(self) -> Way:
        """The way of this table."""
        conditions = tuple(condition.on(field) for field, condition in self.arguments.items())
        return Way(self.needs, conditions, self.other_arguments, self.explanation)
