"""JSON from outside, read so that it has one meaning: no duplicate members, no NaN, bounded nesting, UTF-8."""

from __future__ import annotations

import json

_DEEPEST = 32


def parse(body: bytes) -> object:
    """The value of `body`. Raises `ValueError` with a message fit for the sender."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the body is not UTF-8") from None
    try:
        value: object = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    _check_depth(value, _DEEPEST)
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Two parsers may each believe a different one of two members of the same name.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("the body has an object with two members of the same name")
    return members


def _refuse_constant(name: str) -> object:
    raise ValueError(f"the body has {name}, which is not JSON")


def _check_depth(value: object, left: int) -> None:
    if left == 0:
        raise ValueError("the body is nested too deeply")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        _check_depth(child, left - 1)
