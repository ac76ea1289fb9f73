"""Globs over names: `*` stands for any number of characters, also none. Also which glob is more exact."""

from __future__ import annotations


def glob_matches(pattern: str, text: str) -> bool:
    """Whether `text` matches `pattern`, in which `*` stands for any number of characters, also none.

    The time is linear in the length of the text, because the caller chooses it.
    """
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    if not text.startswith(first):
        return False
    place, end = len(first), len(text) - len(others[-1])
    for part in others[:-1]:
        place = text.find(part, place, end)
        if place < 0:
            return False
        place += len(part)
    return place <= end and text.endswith(others[-1])


def is_within(narrow: str, wide: str) -> bool:
    """Whether `narrow` is more exact than `wide`, which matches every name that `narrow` matches."""
    return exactness(narrow) > exactness(wide) and glob_matches(wide, narrow)


def exactness(pattern: str) -> tuple[bool, int]:
    """The exactness of a rule with `pattern`: a full name before a glob, more characters before fewer."""
    return "*" not in pattern, len(pattern.replace("*", ""))
