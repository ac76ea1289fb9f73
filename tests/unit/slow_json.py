"""The reader of JSON before jiter: slow, plain, and the measure for the reader that is used now."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import TYPE_CHECKING

from oauth_core.strict_json import WrittenNumber

if TYPE_CHECKING:
    from collections.abc import Callable


class Reader:
    """Reads JSON of at most `deepest` levels of values, with integers of at most `longest_integer` characters.

    Python itself refuses integers of some thousand digits, with advice that is not for the sender. With
    `keeps_text`, every number but a plain integer is a `WrittenNumber`.
    """

    def __init__(self, *, deepest: int, longest_integer: int, keeps_text: bool = False) -> None:
        self._deepest = deepest
        integer = partial(_bounded, longest_integer)
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite_written if keeps_text else _finite,
            parse_int=partial(_integer_or_written, integer) if keeps_text else integer,
        )

    def parse(self, body: bytes) -> object:
        """The value of `body`. Raises `ValueError` with a message fit for the sender."""
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
        raise ValueError("the body has half of a surrogate pair, which is not a character") from None
