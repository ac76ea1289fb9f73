"""The JSON Schema (draft 2020-12) of the settings file, with which editors complete and check it.

It contains only the present names, and no secret: the file must not contain one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oauth_core.settings.definitions import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

    from oauth_core.settings.definitions import Definition

Schema = dict[str, Any]


def file_schema(kinds: Iterable[type[BaseModel]], known: Mapping[str, Definition]) -> Schema:
    """The schema of a file with the `known` settings, which are the fields of `kinds`."""
    fields: Schema = {}
    structures: Schema = {}
    for kind in kinds:
        schema = kind.model_json_schema()
        fields |= schema["properties"]
        structures |= schema.get("$defs", {})
    top: Schema = {}
    for definition in known.values():
        if definition.is_secret:
            continue
        table, _, name = definition.key.rpartition(".")
        place = top
        if table:
            place = top.setdefault(table, _closed({}, TABLES[table]))["properties"]
        place[name] = _as_in_toml(fields[definition.name])
    required = [
        definition.key
        for definition in known.values()
        if definition.field.is_required() and not definition.has_variable
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of Portcullis (portcullis.toml)",
        **_closed(top, ""),
        "required": required,
        "$defs": {name: _as_in_toml(schema) for name, schema in sorted(structures.items())},
    }


def _closed(properties: Schema, description: str) -> Schema:
    described = {"description": description} if description else {}
    return {"type": "object", **described, "properties": properties, "additionalProperties": False}


def _as_in_toml(schema: Any) -> Any:
    """`schema` without null, which TOML does not have, and without pydantic's titles."""
    if isinstance(schema, list):
        return [_as_in_toml(part) for part in schema if part != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    # A property may also be called `title`: then its value is a schema.
    kept = {name: part for name, part in schema.items() if not (name == "title" and isinstance(part, str))}
    if kept.get("default", "") is None:
        del kept["default"]
    made = {name: _as_in_toml(part) for name, part in kept.items()}
    if "patternProperties" in made:
        made.setdefault("additionalProperties", False)
    if len(made.get("anyOf", ())) == 1:
        (only,) = made.pop("anyOf")
        made = {**only, **made}
    return made
