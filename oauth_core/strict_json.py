"""JSON from outside, read so that it has one meaning: no duplicate members, no NaN, bounded nesting, UTF-8.

Numbers are bounded as well, and text is text: half of a surrogate pair can be escaped in JSON but not encoded
again (RFC 8259 section 8.2), so it would fail later, in an answer or in the log. JSON-RPC has limits of its own,
in `policy.jsonrpc_limits`.

Each check of a tool call reads a body, so there are two readers. jiter is fast. It refuses all that is refused
here, except a number that becomes infinite, a long integer and deep nesting. Where a body may have one of these,
or jiter refuses it, the complete reader reads it. It decides, and its errors name the fault.
"""

from __future__ import annotations

import json
import math
from functools import partial
from typing import TYPE_CHECKING

import jiter

if TYPE_CHECKING:
    from collections.abc import Callable

_DEEPEST = 32
_LONGEST_INTEGER = 100
"""Digits."""

_SHAPE = bytes.maketrans(b"123456789+E[{]}", b"0000000000e(())")
"""Makes all digits, exponents and brackets the same, so that few searches find all of a kind. A plus becomes a
digit, since it has no other place in JSON than before one."""
_NO_SHAPE = bytes(set(range(256)) - set(b'()"'))
_LARGE_EXPONENT = b"0e000"
_FINITE_DIGITS = 100
"""With fewer digits in a row, and fewer than three in its exponent, a number is finite."""
_OF_WRITTEN_NUMBERS = (b"0.", b"0e", b"-0")


class TextError(ValueError):
    """A string has half of a surrogate pair: the grammar of JSON allows it, and it is no text."""


class WrittenNumber(float):
    """A number that is no plain integer, with its text, because readers may round it: `1e2`, `0.10`, `-0`."""

    __slots__ = ("text",)

    def __new__(cls, text: str) -> WrittenNumber:
        """The number in `text`."""
        self = super().__new__(cls, text)
        self.text = text
        return self

    text: str


class Reader:
    """Reads JSON of at most `deepest` levels of values, with integers of at most `longest_integer` characters.

    Python itself refuses integers of some thousand digits, with advice that is not for the sender. With
    `keeps_text`, every number but a plain integer is a `WrittenNumber`.
    """

    def __init__(self, *, deepest: int, longest_integer: int, keeps_text: bool = False) -> None:
        self._deepest = deepest
        self._keeps_text = keeps_text
        self._long = b"0" * min(longest_integer, _FINITE_DIGITS)
        self._unusual = (self._long, _LARGE_EXPONENT, *(_OF_WRITTEN_NUMBERS if keeps_text else ()))
        integer = partial(_bounded, longest_integer)
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite_written if keeps_text else _finite,
            parse_int=partial(_integer_or_written, integer) if keeps_text else integer,
        )

    def parse(self, body: bytes) -> object:
        """The value of `body`. Raises `ValueError` with a message fit for the sender, such as `TextError`."""
        try:
            value: object = jiter.from_json(
                body, allow_inf_nan=False, cache_mode="keys", catch_duplicate_keys=True
            )
        except ValueError:
            return self._parse_completely(body)
        return value if self._is_usual(body.translate(_SHAPE)) else self._parse_completely(body)

    def _is_usual(self, text: bytes) -> bool:
        """Whether the JSON with this shape has no number and no nesting that only the complete reader judges.

        A string may look like a number or a bracket. So the text without its strings decides if that matters.
        """
        if self._long in text or _LARGE_EXPONENT in text or self._keeps_text:
            outside = _without_strings(_without_escapes(text))
            if any(map(outside.__contains__, self._unusual)):
                return False
        if text.count(b"(") < self._deepest:
            return True
        # Escapes first: without its letter, `\n` before a quote would be an escaped quote.
        brackets = _without_strings(_without_escapes(text).translate(None, _NO_SHAPE))
        for _ in range(self._deepest - 1):
            # Each round removes the innermost level of all values.
            brackets = brackets.replace(b"()", b"")
        return not brackets

    def _parse_completely(self, body: bytes) -> object:
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("the body is not UTF-8") from None
        try:
            value: object = self._decoder.decode(text)
        except RecursionError:
            raise ValueError("the body is nested too deeply") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"the body is not JSON: {error.msg} at character {error.pos}") from None
        _check(value, self._deepest)
        return value


def _without_escapes(text: bytes) -> bytes:
    """Valid JSON without escaped quotes and backslashes, so that each quote begins or ends a string."""
    return text.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in text else text


def _without_strings(text: bytes) -> bytes:
    """Valid JSON of `_without_escapes` without its strings."""
    return b"".join(text.replace(b'""', b"").split(b'"')[::2])


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Two parsers may each use a different one of two members of the same name.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("the body has an object with two members of the same name")
    return members


def _refuse_constant(name: str) -> object:
    raise ValueError(f"the body has {name}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("the body has a number that is too large")
    return number


def _finite_written(text: str) -> WrittenNumber:
    _finite(text)
    return WrittenNumber(text)


def _integer_or_written(integer: Callable[[str], int], text: str) -> int | WrittenNumber:
    return WrittenNumber(text) if text == "-0" else integer(text)


def _bounded(longest: int, text: str) -> int:
    if len(text) > longest:
        raise ValueError("the body has a number that is too large")
    return int(text)


def _check(value: object, left: int) -> None:
    if left == 0:
        raise ValueError("the body is nested too deeply")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for name, member in value.items():
            _check_text(name)
            _check(member, left - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, left - 1)


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise TextError("the body has half of a surrogate pair, which is not a character") from None


parse = Reader(deepest=_DEEPEST, longest_integer=_LONGEST_INTEGER).parse
"""Reads the JSON of all callers but JSON-RPC: registrations, documents of clients, key sets."""
