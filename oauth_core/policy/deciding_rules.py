"""The rules that decide for a name: those that match it, and that no more exact rule replaces.

Each check of a tool call asks for them, so the patterns are split and compared with each other once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.policy.globs import glob_matches, is_within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.model import NameRule

_MOST_PREPARED = 1000

_Glob = tuple[str, tuple[str, ...], str, int]
"""The parts of a pattern: before its first `*`, between others, after the last, and how long they are together."""


class DecidingRules:
    """Finds the deciding ones of `rules`."""

    __slots__ = ("_exact", "_globs", "rules")

    def __init__(self, rules: Sequence[NameRule]) -> None:
        self.rules = rules
        self._exact: dict[str, list[NameRule]] = {}
        for rule in rules:
            if "*" not in rule.pattern:
                self._exact.setdefault(rule.pattern, []).append(rule)
        globs = [rule for rule in rules if "*" in rule.pattern]
        self._globs = [(*_split(rule.pattern), rule, _more_exact(globs, rule)) for rule in globs]

    def for_name(self, name: str) -> list[NameRule]:
        """The rules that decide for `name`; empty when none matches."""
        exact = self._exact.get(name)
        if exact is not None:
            return exact  # more exact than each glob that matches this name
        length = len(name)
        matching = [
            place
            for place, (first, middle, last, least, _, _) in enumerate(self._globs)
            if length >= least
            and name.startswith(first)
            and name.endswith(last)
            and (not middle or _has_in_order(name, middle, len(first), length - len(last)))
        ]
        if len(matching) == 1:
            return [self._globs[matching[0]][4]]
        return [self._globs[place][4] for place in matching if self._globs[place][5].isdisjoint(matching)]


def decide_among(rules: Sequence[NameRule], name: str) -> list[NameRule]:
    """The same as `DecidingRules(rules).for_name(name)`, for rules that are used only now."""
    matching = [rule for rule in rules if glob_matches(rule.pattern, name)]
    return [rule for rule in matching if not any(is_within(other.pattern, rule.pattern) for other in matching)]


def _split(pattern: str) -> _Glob:
    first, *middle, last = pattern.split("*")
    return first, tuple(filter(None, middle)), last, len(pattern.replace("*", ""))


def _more_exact(globs: Sequence[NameRule], rule: NameRule) -> frozenset[int]:
    return frozenset(place for place, other in enumerate(globs) if is_within(other.pattern, rule.pattern))


def _has_in_order(text: str, parts: tuple[str, ...], place: int, end: int) -> bool:
    """Whether `text` has the parts between these places. The time is linear: the caller chooses the text."""
    for part in parts:
        place = text.find(part, place, end)
        if place < 0:
            return False
        place += len(part)
    return True


_prepared: dict[int, DecidingRules] = {}
"""By the identity of the rules: comparing their values would take longer than the decision. Each value keeps its
rules, so no others can get the same identity."""


def deciding_rules(rules: tuple[NameRule, ...]) -> DecidingRules:
    """`DecidingRules` of `rules`, made at their first use."""
    found = _prepared.get(id(rules))
    if found is None:
        if len(_prepared) >= _MOST_PREPARED:
            _prepared.clear()  # each change of the settings makes new rules
        found = _prepared[id(rules)] = DecidingRules(rules)
    return found
