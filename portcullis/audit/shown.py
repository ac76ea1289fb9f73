"""One event as one readable line, below a header with the same columns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from portcullis.audit.filters import tool_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLUMNS = (
    ("TIME", 27),
    ("EVENT", 24),
    ("OUTCOME", 8),
    ("PERSON", 20),
    ("CLIENT", 24),
    ("SERVICE", 12),
    ("TOOL", 20),
    ("SOURCE", 15),
    ("REASON", 0),
)
"""The names of the columns, and their least widths: fixed, because events are printed as they are found."""


def header() -> str:
    """The names of the columns."""
    return _aligned([name for name, _ in _COLUMNS])


def line(event: Mapping[str, Any], location: str = "") -> str:
    """The event in these columns; a hyphen stands for what does not apply. `location` is that of its source.

    Characters that would change a terminal, or begin another line or column, are written as escapes: callers
    choose some of the values.
    """
    shown = (
        event.get("time"),
        event.get("event"),
        event.get("outcome"),
        person(event),
        event.get("client_id"),
        event.get("service"),
        tool_of(event) or event.get("mcp_method") or event.get("call"),
        _beside(event.get("source"), location),
        event.get("reason"),
    )
    return _aligned([printable(value) for value in shown])


def step(event: Mapping[str, Any], location: str = "") -> str:
    """The event as one line of a day: the time of day, then only what applies, each with its name."""
    named = {
        "person": person(event),
        "client": event.get("client_id"),
        "grant": event.get("grant_id"),
        "token": event.get("jti"),
        "service": event.get("service"),
        "tool": tool_of(event) or event.get("mcp_method") or event.get("call"),
        "from": _beside(event.get("source"), location),
        "because": event.get("reason"),
    }
    time = printable(event.get("time"))[11:-1]
    parts = [f"{name}={_quoted(value)}" for name, value in named.items() if value is not None]
    head = f"  {time}  {printable(event.get('event')):<24}  {printable(event.get('outcome')):<8}"
    return "  ".join([head, *parts]).rstrip()


def _beside(source: object, location: str) -> object:
    return f"{source} {location}" if source is not None and location else source


def person(event: Mapping[str, Any]) -> str | None:
    """The person of an event with the number of the account, or the operator."""
    login, number, operator = event.get("user"), event.get("user_id"), event.get("operator")
    if login is not None or number is not None:
        return f"{'?' if login is None else login}{'' if number is None else f'#{number}'}"
    return None if operator is None else f"operator:{operator}"


def printable(value: object) -> str:
    """`value` as a text that changes no terminal and has no gap as wide as between columns; a hyphen for none."""
    text = "-" if value is None else str(value).replace("  ", r" \x20")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def _quoted(value: object) -> str:
    """The value as a text; in quotation marks if a part of it could be read as another field."""
    text = printable(value)
    return printable(json.dumps(str(value), ensure_ascii=False)) if " " in text and "=" in text else text


def _aligned(texts: list[str]) -> str:
    return "  ".join(text.ljust(width) for text, (_, width) in zip(texts, _COLUMNS, strict=True)).rstrip()
