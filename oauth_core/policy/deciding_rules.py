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

_Rest = tuple[tuple[str, ...], str, int]
"""The pattern after its first `*`: the parts between others, the last part, and the characters of all."""


class DecidingRules:
    """Finds the deciding ones of `rules`."""

    __slots__ = ("_exact", "_globs", "_more_exact", "_with_glob", "rules")

    def __init__(self, rules: Sequence[NameRule]) -> None:
        self.rules = rules
        self._exact: dict[str, list[NameRule]] = {}
        for rule in rules:
            if "*" not in rule.pattern:
                self._exact.setdefault(rule.pattern, []).append(rule)
        self._with_glob = [rule for rule in rules if "*" in rule.pattern]
        self._globs = [(place, *_split(rule.pattern)) for place, rule in enumerate(self._with_glob)]
        self._more_exact = [
            frozenset(
                place for place, other in enumerate(self._with_glob) if is_within(other.pattern, rule.pattern)
            )
            for rule in self._with_glob
        ]

    def for_name(self, name: str) -> list[NameRule]:
        """The rules that decide for `name`; empty when none matches."""
        exact = self._exact.get(name)
        if exact is not None:
            return exact  # more exact than each glob that matches this name
        matching = [
            place
            for place, first, rest in self._globs
            if name.startswith(first) and (rest is None or _ends(name, len(first), rest))
        ]
        if len(matching) > 1:
            matching = [place for place in matching if self._more_exact[place].isdisjoint(matching)]
        return [self._with_glob[place] for place in matching]


def decide_among(rules: Sequence[NameRule], name: str) -> list[NameRule]:
    """The same as `DecidingRules(rules).for_name(name)`, for rules that are used only now."""
    matching = [rule for rule in rules if glob_matches(rule.pattern, name)]
    return [rule for rule in matching if not any(is_within(other.pattern, rule.pattern) for other in matching)]


def _split(pattern: str) -> tuple[str, _Rest | None]:
    """The part of `pattern` before its first `*`, and what follows; `None` if anything may follow."""
    first, *middle, last = pattern.split("*")
    parts = tuple(filter(None, middle))
    return first, (parts, last, len(pattern.replace("*", ""))) if parts or last else None


def _ends(name: str, place: int, rest: _Rest) -> bool:
    """Whether `rest` matches the name from `place` on. The time is linear: the caller chooses the name."""
    parts, last, least = rest
    if len(name) < least or not name.endswith(last):
        return False
    end = len(name) - len(last)
    for part in parts:
        place = name.find(part, place, end)
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
