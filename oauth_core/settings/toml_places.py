"""Parses TOML, and finds the line of a setting in a settings file: it parses the file statement by statement."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = tuple[str | int, ...]


def parsed(text: str) -> dict[str, object]:
    """The document in `text`. Raises `ValueError` for every text that cannot be read."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def lines_of(text: str) -> dict[Place, int]:
    """The line, from 1, of every table and key in `text`; as far as it can be read."""
    found: dict[Place, int] = {}
    tables: dict[Place, int] = {}  # the number of tables of an array so far, minus one
    current: Place = ()
    for number, statement, value in _statements(text):
        if statement.startswith("["):
            current = _table(_first_path(value), tables, is_array=statement.startswith("[["))
            found[current] = number
        else:
            for path in _paths(value):
                found.setdefault((*current, *path), number)
    return found


def line_of(lines: dict[Place, int], place: Place) -> int | None:
    """The line of `place`, or of the nearest table or key around it."""
    return next((lines[place[:length]] for length in range(len(place), 0, -1) if place[:length] in lines), None)


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, object]]]:
    """Every header and assignment: its first line, its text, and its own parsed value."""
    begun, statement = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        begun = begun if statement else number
        statement += f"{line}\n"
        try:
            value = parsed(statement)
        except ValueError:
            continue  # an array or a text that continues on the next line
        if value:
            yield begun, statement.lstrip(), value
        statement = ""


def _first_path(value: dict[str, object]) -> tuple[str, ...]:
    path: tuple[str, ...] = ()
    inner: object = value
    while isinstance(inner, dict) and inner:
        name, inner = next(iter(inner.items()))
        path += (name,)
    return path


def _table(names: tuple[str, ...], tables: dict[Place, int], *, is_array: bool) -> Place:
    path: Place = ()
    for name in names[:-1] if is_array else names:
        path += (name,)
        if path in tables:
            path += (tables[path],)
    if is_array:
        path += (names[-1],)
        tables[path] = tables.get(path, -1) + 1
        path += (tables[path],)
    return path


def _paths(value: object) -> Iterator[Place]:
    waiting: list[tuple[Place, object]] = [((), value)]
    while waiting:  # no recursion: `a.a.a.a = 1` may nest more deeply than Python calls
        path, inner = waiting.pop()
        if isinstance(inner, dict):
            below = [((*path, name), part) for name, part in inner.items()]
            yield from (place for place, _ in below)
            waiting += below
