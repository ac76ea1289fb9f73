"""The definition of a setting: the `Setting` of its field, and where an operator sets it.

A setting is defined once: as a field of a settings class, with a `Setting` in its annotation. The loader,
`docs/settings.md`, the JSON Schema of the settings file and `portcullis config check` derive the rest from it.

A new setting goes into the class of the program that reads it, in the modules beside this one (`CONTRIBUTING.md`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, SecretStr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import GetJsonSchemaHandler
    from pydantic.fields import FieldInfo
    from pydantic_core import CoreSchema

TABLES = {
    "log": "The logs of every program.",
    "audit": "The audit record; see [audit](audit.md).",
    "alerts": "Alerts about what detection finds; see [alerts](alerts.md).",
    "detection": "Databases of locations, and what detection does by itself; see [audit](audit.md#detection).",
    "redis": "How programs reach Redis.",
    "quotas": "How much of Redis callers without a sign-in may fill.",
    "server": "The authorization server: where it listens, and its keys.",
    "github": "Signing in with GitHub, and the people who may.",
    "sign_in": "How long a sign-in may take, and how long a browser is remembered.",
    "mail": "Mails to people about what happened; see [account](account.md#mails).",
    "tokens": "Access tokens and refresh tokens.",
    "clients": "OAuth clients: how they register, and their metadata documents.",
    "rates": "How often clients, people and addresses may ask the authorization server.",
    "check": "The check service, which Envoy asks about every request.",
    "envoy": "The settings of the rendered Envoy configuration, except TLS.",
    "tls": "TLS between callers and Envoy.",
    "acme": "Certificates from an ACME authority.",
}
"""The tables of the settings file that group settings, and the subject of each."""

_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


@dataclass(frozen=True, slots=True)
class Setting:
    """The part of a setting's definition in the annotation of its field.

    `meaning` is one paragraph of Markdown, with links as in `docs/settings.md`. `key` is the setting's place in
    the settings file, such as `redis.url`; without one it is the name of the field. `unit` is that of a number.
    `standard` is the section that defines the setting. `default_text` is the default in words, where it is not a
    value. A `mounted` setting may come from a file that `NAME_FILE` names, as every secret may. `former` is the
    field's name in former versions: this version still reads that name in the file and in the environment, with a
    warning.
    """

    meaning: str
    key: str = ""
    unit: str = ""
    standard: str = ""
    default_text: str = ""
    mounted: bool = False
    former: str = ""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The JSON Schema of the field, with the meaning as its description; pydantic calls this."""
        described = [_LINK.sub(r"\1", self.meaning)]
        described += [f"Unit: {self.unit}."] if self.unit else []
        described += [f"{self.standard}."] if self.standard else []
        return {**handler(schema), "description": " ".join(described)}


@dataclass(frozen=True)
class Definition:
    """A field with its `Setting`: one setting as operators use it.

    Every reading of settings asks each definition for its parts several times, so they are computed once.
    """

    name: str
    field: FieldInfo
    setting: Setting

    @cached_property
    def key(self) -> str:
        """Its place in the settings file: `table.name`, or `name` at the top."""
        return self.setting.key or self.name

    @cached_property
    def variable(self) -> str:
        """The name of its environment variable."""
        return self.name.upper()

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The name of its environment variable, then that of former versions if it was another one."""
        return (self.variable, self.setting.former.upper()) if self.setting.former else (self.variable,)

    @cached_property
    def former_places(self) -> tuple[tuple[str, ...], ...]:
        """Its places in the settings file in former versions: flat names, and the former name in its table."""
        if not self.table:
            return ()
        former = self.setting.former
        return ((self.name,), (former,), (self.table, former)) if former else ((self.name,),)

    @cached_property
    def table(self) -> str:
        """The table of the settings file; empty for a setting at its top."""
        return self.key.rpartition(".")[0]

    @cached_property
    def is_secret(self) -> bool:
        """Whether only the environment or a mounted file may contain it, never the settings file."""
        return _holds(self.field.annotation, SecretStr)

    @cached_property
    def is_mounted(self) -> bool:
        """Whether it may come from a file that `NAME_FILE` names."""
        return self.is_secret or self.setting.mounted

    @cached_property
    def is_table(self) -> bool:
        """Whether the settings file has a table for it, or several."""
        return _holds(self.field.annotation, BaseModel)

    @cached_property
    def has_variable(self) -> bool:
        """Whether the environment may set it; several tables fit into no variable, one may have a text form."""
        return not self.is_table or isinstance(self.field.annotation, type)


def definitions(kinds: Iterable[type[BaseModel]]) -> dict[str, Definition]:
    """Every setting of `kinds` by the name of its field, each once.

    Raises `TypeError` for a field without a `Setting`.
    """
    return {name: _definition(name, field) for kind in kinds for name, field in kind.model_fields.items()}


def location_in_words(definition: Definition) -> str:
    """The place of a setting in the settings file, in words."""
    table, _, name = definition.key.rpartition(".")
    return f"{name} in the table [{table}]" if table else f"{name} at the top of the file, above all tables"


def _definition(name: str, field: FieldInfo) -> Definition:
    setting = next((part for part in field.metadata if isinstance(part, Setting)), None)
    if setting is None:
        raise TypeError(f"{name} has no Setting in its annotation")
    return Definition(name, field, setting)


def _holds(annotation: object, kind: type) -> bool:
    """Whether `annotation` is `kind`, or contains it."""
    if isinstance(annotation, type) and not get_args(annotation):
        return issubclass(annotation, kind)
    return any(_holds(part, kind) for part in get_args(annotation))
