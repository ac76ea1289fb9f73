"""Suggests the setting that an operator probably meant by an unknown name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, get_args, get_origin

from pydantic import BaseModel

from oauth_core.settings.definitions import location_in_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from oauth_core.settings.definitions import Definition

_MOST = 3


def unknown_setting(name: str, table: str, known: Mapping[str, Definition]) -> str:
    """The fault of a `name` in the table `table` of the file (empty for the top), with the nearest settings."""
    full = f"{table}.{name}" if table else name
    by_key = {definition.key: definition for definition in known.values()}
    # The right name in the wrong table comes first, then a flat name of former versions, then a misspelt one.
    found = [key for key in by_key if key.rpartition(".")[2] == name]
    found += [key for key, definition in by_key.items() if (name,) in definition.former_places]
    if not found:
        inside = {key.rpartition(".")[2]: key for key in by_key if key.rpartition(".")[0] == table}
        found = [inside[near] for near in _near(name, inside)]
    if not found:
        spellings = {key: key for key in by_key} | {flat: definition.key for flat, definition in known.items()}
        found = [spellings[near] for near in _near(full, spellings)]
    return f"unknown setting {full!r}{_meant(location_in_words(by_key[key]) for key in dict.fromkeys(found))}"


def unknown_table(name: str, known: Mapping[str, Definition]) -> str:
    """The fault of an unknown table."""
    tables = {definition.table: f"[{definition.table}]" for definition in known.values() if definition.table}
    for definition in known.values():
        if definition.is_table:
            is_list = get_origin(definition.field.annotation) is tuple
            tables[definition.key] = f"[[{definition.key}]]" if is_list else f"[{definition.key}]"
    return f"unknown setting {name!r}{_meant(f'the table {tables[near]}' for near in _near(name, tables))}"


def unknown_key(kind: type[BaseModel], place: tuple[str | int, ...]) -> str:
    """The fault of an unknown key in a structure (a service, a role), at `place` in settings of `kind`."""
    *way, name = place
    model = _model_at(kind, way)
    near = _near(str(name), model.model_fields if model else ())
    return f"unknown setting{_meant(near)}"


def _near(name: str, names: Iterable[str]) -> list[str]:
    return get_close_matches(name, list(names), n=1, cutoff=0.7)


def _meant(names: Iterable[str]) -> str:
    found = list(names)[:_MOST]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _model_at(kind: type[BaseModel], way: Collection[str | int]) -> type[BaseModel] | None:
    """The model of the value at the end of `way`, which begins at `kind`."""
    model: type[BaseModel] | None = kind
    is_key = False  # whether the next part is a name that the operator chose
    for part in way:
        if isinstance(part, int) or is_key:
            is_key = False
            continue
        field = model.model_fields.get(part) if model else None
        annotation = field.annotation if field else None
        model, is_key = _model_of(annotation), get_origin(annotation) is dict
    return model


def _model_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in get_args(annotation) if (found := _model_of(part))), None)
