"""Where settings come from, the file and the environment, and how a fault in them is said in words.

No message repeats a value that may be a secret. What the settings are is `oauth_core.settings`' to say.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from oauth_core.errors import SettingsError
from oauth_core.settings.policy_faults import PlacedError, dotted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound=BaseModel)

SECRET_FIELDS = frozenset(
    {"assertion_key", "backup_key", "master_key"}
    | {"github_client_secret", "redis_password", "redis_sentinel_password"}
)
"""Fields that only the environment or a mounted file may carry, never the settings file or a command line."""

FILE_FIELDS = SECRET_FIELDS | {"jwks_verification_key"}
"""Fields that a mounted file, named by `NAME_FILE`, may carry."""

TABLES = frozenset({"services", "roles", "trusted_issuers"})
"""Fields that are tables, which no variable can hold."""


class Fault(str):
    """A fault in words, with the place in the settings that it speaks of; empty when it speaks of them all."""

    __slots__ = ("place",)
    place: tuple[str | int, ...]

    def __new__(cls, text: str, place: tuple[str | int, ...] = ()) -> Fault:
        fault = super().__new__(cls, text)
        fault.place = place
        return fault


def from_file(config: Path, known: Collection[str], faults: list[str]) -> dict[str, object]:
    """What the file says; `known` are the names it may set. Adds to `faults`.

    Raises `SettingsError` when the file cannot be read at all.
    """
    try:
        values: dict[str, object] = tomllib.loads(config.read_text(encoding="utf-8-sig"))
    except OSError as error:
        # Without the name, if it may be a secret in the wrong variable.
        name = config if config.suffix == ".toml" or _is_in_a_folder(config) else "the settings file"
        raise SettingsError([f"{name}: {error.strerror or 'it cannot be read'}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{config}: {error}"]) from None
    faults += [Fault(f"{config}: unknown setting {name!r}", (name,)) for name in values if name not in known]
    faults += [
        Fault(
            f"{config}: {name} is a secret; set {name.upper()} or {name.upper()}_FILE in the environment instead",
            (name,),
        )
        for name in values
        if name in SECRET_FIELDS
    ]
    return values


def from_environment(
    fields: Mapping[str, FieldInfo], environ: Mapping[str, str], faults: list[str]
) -> dict[str, object]:
    """What the environment and the files that it names say about `fields`. Adds to `faults`.

    `None` stands for a path that is empty, as scripts write one that is not set: it is not the current folder.
    """
    values: dict[str, object] = {}
    for name, field in fields.items():
        variable = name.upper()
        if name not in TABLES and variable in environ:
            is_unset_path = environ[variable] == "" and _is_path(field)
            values[name] = None if is_unset_path else environ[variable]
        if name in FILE_FIELDS and (file := environ.get(f"{variable}_FILE")):
            if variable in environ:
                faults.append(f"{variable} and {variable}_FILE are both set")
            try:
                values[name] = Path(file).read_text(encoding="utf-8-sig").strip()
            except (OSError, ValueError) as error:
                # Without the path, if it may be the secret itself in the place of the path.
                path = f"{file}: " if _is_in_a_folder(Path(file)) else ""
                reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None)
                faults.append(f"{variable}_FILE: {path}{reason or 'it cannot be read'}")
    return values


def _is_in_a_folder(path: Path) -> bool:
    """Whether `path` names a folder that exists, and something in it."""
    try:
        return len(path.parts) > 2 and path.parent.is_dir()  # noqa: PLR2004 - a root, a folder and a name
    except (OSError, ValueError):
        return False


def _is_path(field: FieldInfo) -> bool:
    return Path in (field.annotation, *get_args(field.annotation))


def validated(kind: type[Model], values: Mapping[str, object], faults: list[str]) -> Model | None:
    """The settings that `values` make, or `None`. Adds to `faults`."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults += _in_words(error)
        return None


def _in_words(error: ValidationError) -> list[str]:
    """One readable line for each of pydantic's findings; never the value, which may be a secret."""
    lines: list[str] = []
    for detail in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in detail["loc"])
        cause = detail.get("ctx", {}).get("error")
        if detail["type"] == "missing":
            lines.append(Fault(_missing(detail["loc"]), detail["loc"]))
            continue
        if isinstance(cause, PlacedError):
            lines += [Fault(f"{dotted(place)}: {message}", place) for place, message in cause.faults]
            continue
        # A validator that looks at everything gives several faults at once, one a line.
        for message in detail["msg"].removeprefix("Value error, ").split("\n"):
            lines.append(Fault(f"{where}: {message}" if where else message, detail["loc"]))
    return lines


def _missing(place: tuple[str | int, ...]) -> str:
    """That the value at `place` is not set, and every place that may carry it."""
    name, variable = str(place[0]), str(place[0]).upper()
    is_in_table = len(place) > 1 or name in TABLES
    places = []
    if name not in SECRET_FIELDS:
        places.append("put it in the settings file")
    if not is_in_table:
        places.append(f"set {variable} in the environment")
    if name in FILE_FIELDS:
        places.append(f"name a file with {variable}_FILE")
    text = f"{dotted(place)} is not set: {' or '.join(places)}"
    if name == "jwks_verification_key":
        return f"{text}; print it with `portcullis keys verification-key`"
    return text
