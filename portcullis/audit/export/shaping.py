"""Common steps of the forms for other programs: a class for each event, and documents without empty parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


def class_of(name: str, classes: Sequence[tuple[str, T]]) -> T | None:
    """Return the class of the event `name`: of the first row with its name, or with its beginning up to a dot."""
    for begins, found in classes:
        if name == begins or (begins.endswith(".") and name.startswith(begins)):
            return found
    return None


def without_empty(value: dict[str, Any]) -> dict[str, Any]:
    """Return `value` without members that are `None`, and without objects that have no other ones."""
    kept = {key: without_empty(one) if isinstance(one, dict) else one for key, one in value.items()}
    return {key: one for key, one in kept.items() if one is not None and one != {}}
