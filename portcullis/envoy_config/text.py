"""The configuration as text: YAML that people can read and that any YAML reader reads as the same data."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Text that needs no quotes: it begins with a letter and has no character with a meaning in YAML ...
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
# ... and is none of the words that YAML 1.1 readers do not read as text.
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})


_BEYOND_16_BITS = 0x10000


def to_yaml(value: object) -> str:
    """Write JSON-ready `value` (dicts, lists, text, numbers, booleans, `None`) as block-style YAML."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: object) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _entry(f"{_scalar(key)}:", item, indent="" if isinstance(item, list) else "  ")
    elif isinstance(value, list) and value:
        for item in value:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _entry(head: str, item: object, *, indent: str) -> Iterator[str]:
    if isinstance(item, (dict, list)) and item:
        yield head
        yield from (f"{indent}{line}" for line in _lines(item))
    else:
        yield f"{head} {_scalar(item)}"


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if isinstance(value, str):
        return '"' + "".join(_escaped(character) for character in value) + '"'
    return json.dumps(value)


def _escaped(character: str) -> str:
    # JSON writes a character above 16 bits as two surrogates, which YAML does not combine.
    return json.dumps(character)[1:-1] if ord(character) < _BEYOND_16_BITS else f"\\U{ord(character):08x}"
