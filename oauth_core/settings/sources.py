"""Finds the value of a setting, and describes a fault in it.

In the settings file the value is in the setting's table, or under a name of former versions. In the environment it
is under the name of its field in capitals (`NAME`), or in a file that `NAME_FILE` names. The environment takes
precedence. No message repeats a value that may be a secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from oauth_core.errors import SettingsError
from oauth_core.settings.definitions import location_in_words
from oauth_core.settings.policy_faults import PlacedError, dotted
from oauth_core.settings.roles import TAGS
from oauth_core.settings.toml_places import parsed
from oauth_core.settings.unknown_names import unknown_key, unknown_setting, unknown_table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pydantic.fields import FieldInfo

    from oauth_core.settings.definitions import Definition

Model = TypeVar("Model", bound=BaseModel)


class Fault(str):
    """The description of a fault, with its place in the settings; the place is empty if it concerns them all."""

    __slots__ = ("place",)
    place: tuple[str | int, ...]

    def __new__(cls, text: str, place: tuple[str | int, ...] = ()) -> Fault:
        fault = super().__new__(cls, text)
        fault.place = place
        return fault


@dataclass
class FileSettings:
    """The values in the settings file, by the names of the fields, and the place of each in the file."""

    values: dict[str, object] = field(default_factory=dict)
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)
    outdated: list[str] = field(default_factory=list)
    """For each name of former versions, the present name."""


def from_file(config: Path, known: Mapping[str, Definition], faults: list[str]) -> FileSettings:
    """The values of the `known` settings in the file. Adds to `faults`.

    A setting with the key `redis.url` is `url` in the table `[redis]`. Its places of former versions, such as
    `redis_url` at the top of the file, are read too.

    Raises `SettingsError` for a file that cannot be read.
    """
    try:
        document = parsed(config.read_text(encoding="utf-8-sig"))
    except OSError as error:
        # The message leaves out the file's name if it may be a secret in the wrong variable.
        name = config if config.suffix == ".toml" or _is_in_a_folder(config) else "the settings file"
        raise SettingsError([f"{name}: {error.strerror or 'it cannot be read'}"]) from None
    except ValueError as error:  # no UTF-8, or no TOML
        raise SettingsError([f"{config}: {error}"]) from None
    tables = {definition.table for definition in known.values()} - {""}
    found = FileSettings()
    faults += [
        Fault(f"{config}: {fault}", fault.place) for fault in _faults_of_file(document, tables, known, found)
    ]
    found.outdated[:] = [f"{config}: {text}" for text in found.outdated]
    return found


def _faults_of_file(
    document: Mapping[str, object], tables: Collection[str], known: Mapping[str, Definition], found: FileSettings
) -> Iterator[Fault]:
    """Copy the values in `document` to `found`, and yield the faults."""
    # A quoted `"redis.url"` at the top has one part, so it is not a second spelling of `url` in `[redis]`.
    by_place = {tuple(definition.key.split(".")): definition for definition in known.values()}
    by_former_place = {place: definition for definition in known.values() for place in definition.former_places}
    outdated: list[tuple[Definition, object, tuple[str, ...]]] = []
    for place, value in _entries(document, tables):
        if definition := by_place.get(place):
            yield from _taken(definition, value, place, found)
        elif definition := by_former_place.get(place):
            outdated.append((definition, value, place))
        elif place[0] in tables and len(place) == 1:
            yield Fault(f"{place[0]} must be a table: write [{place[0]}]", place)
        elif len(place) == 1 and _is_table(value):
            yield Fault(unknown_table(place[0], known), place)
        else:
            yield Fault(unknown_setting(place[-1], ".".join(place[:-1]), known), place)
    for definition, value, place in outdated:
        name = ".".join(place)
        if definition.name in found.places:
            yield Fault(f"{definition.key} and its old name {name} are both set: remove {name}", place)
            continue
        yield from _taken(definition, value, place, found)
        if not definition.is_secret:
            found.outdated.append(f"{name} is an old name: write {location_in_words(definition)}")


def _entries(document: Mapping[str, object], tables: Collection[str]) -> Iterator[tuple[tuple[str, ...], object]]:
    """The place and the value of each entry at the top of the file, and of each entry in one of the `tables`."""
    for name, value in document.items():
        if name in tables and isinstance(value, dict):
            yield from (((name, inner), part) for inner, part in value.items())
        else:
            yield (name,), value


def _is_table(value: object) -> bool:
    """Whether `value` is a TOML table, or an array of tables."""
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _taken(definition: Definition, value: object, place: tuple[str, ...], found: FileSettings) -> Iterator[Fault]:
    found.values[definition.name] = value
    found.places[definition.name] = place
    if definition.is_secret:
        variable = definition.variable
        text = f"is a secret; set {variable} or {variable}_FILE in the environment instead"
        yield Fault(f"{'.'.join(place)} {text}", place)


def from_environment(
    known: Iterable[Definition], environ: Mapping[str, str], faults: list[str]
) -> dict[str, object]:
    """The values of the `known` settings in the environment and in the files that it names. Adds to `faults`.

    `None` is the value of an empty path, which scripts write for an unset one: it is not the current folder.
    """
    values: dict[str, object] = {}
    for definition in known:
        name, variable = definition.name, variable_in(environ, definition)
        if (old := definition.variables[-1]) != variable and old in environ and variable in environ:
            faults.append(f"{variable} and its old name {old} are both set: remove {old}")
        if definition.has_variable and variable in environ:
            is_unset_path = environ[variable] == "" and _is_path(definition.field)
            values[name] = None if is_unset_path else environ[variable]
        if definition.is_mounted and (file := environ.get(f"{variable}_FILE")):
            if variable in environ:
                faults.append(f"{variable} and {variable}_FILE are both set")
            try:
                values[name] = Path(file).read_text(encoding="utf-8-sig").strip()
            except (OSError, ValueError) as error:
                # The message leaves out the path if it may be the secret itself in the place of the path.
                path = f"{file}: " if _is_in_a_folder(Path(file)) else ""
                reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None)
                faults.append(f"{variable}_FILE: {path}{reason or 'it cannot be read'}")
    return values


def variable_in(environ: Mapping[str, str], definition: Definition) -> str:
    """The name of the variable that sets the setting, which may be that of former versions.

    Without one, it is the name of this version.
    """
    for name in definition.variables:
        if name in environ or (definition.is_mounted and environ.get(f"{name}_FILE")):
            return name
    return definition.variable


def _is_in_a_folder(path: Path) -> bool:
    """Whether `path` names an existing folder, and a file in it."""
    try:
        return len(path.parts) > 2 and path.parent.is_dir()  # noqa: PLR2004 - a root, a folder and a name
    except (OSError, ValueError):
        return False


def _is_path(field: FieldInfo) -> bool:
    return Path in (field.annotation, *get_args(field.annotation))


@dataclass(frozen=True)
class SettingValues:
    """Values of settings by the names of their fields, and the source of each."""

    values: Mapping[str, object]
    known: Mapping[str, Definition]
    places: Mapping[str, tuple[str, ...]]
    """The place in the file of each setting that the file sets."""
    variables: Mapping[str, str]
    """The variable of each setting that the environment sets."""

    def name_in_words(self, place: tuple[str | int, ...]) -> str:
        """The setting at `place` as the settings file writes it, with its variable if that sets it."""
        name = str(place[0])
        definition = self.known.get(name)
        text = dotted((definition.key if definition else name, *place[1:]))
        return f"{text} ({self.variables[name]})" if name in self.variables else text

    def place(self, place: tuple[str | int, ...]) -> tuple[str | int, ...]:
        """The place of the setting in the settings file, also if the file does not set it."""
        name = str(place[0]) if place else ""
        if name not in self.known:
            return place
        return (*self.places.get(name, tuple(self.known[name].key.split("."))), *place[1:])


def validated(kind: type[Model], given: SettingValues, faults: list[str]) -> Model | None:
    """The settings object with the given values, or `None`. Adds to `faults`."""
    try:
        return kind.model_validate(given.values)
    except ValidationError as error:
        faults += _in_words(error, kind, given)
        return None


def _in_words(error: ValidationError, kind: type[BaseModel], given: SettingValues) -> list[str]:
    """One readable line for each of pydantic's findings; never the value, which may be a secret."""
    lines: list[str] = []
    for detail in error.errors(include_url=False, include_input=False):
        # Pydantic adds tags for the forms of a rule.
        loc = tuple(part for part in detail["loc"] if part not in TAGS)
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, PlacedError):
            lines += [Fault(f"{dotted(place)}: {message}", place) for place, message in cause.faults]
            continue
        if not loc:
            # A validator of the whole model reports several faults at once, one for each line.
            lines += [Fault(message) for message in detail["msg"].removeprefix("Value error, ").split("\n")]
            continue
        where = given.name_in_words(loc)
        if detail["type"] == "missing":
            lines.append(Fault(_missing(where, loc, given.known), given.place(loc)))
        elif detail["type"] == "extra_forbidden":
            lines.append(Fault(f"{where}: {unknown_key(kind, loc)}", given.place(loc)))
        else:
            messages = detail["msg"].removeprefix("Value error, ").split("\n")
            lines += [Fault(f"{where}: {message}", given.place(loc)) for message in messages]
    return lines


def _missing(where: str, place: tuple[str | int, ...], known: Mapping[str, Definition]) -> str:
    """The fault of a missing value at `place`, with every place that may contain it."""
    definition = known.get(str(place[0])) if len(place) == 1 else None
    places = [] if definition and definition.is_secret else ["put it in the settings file"]
    if definition and definition.has_variable:
        places.append(f"set {definition.variable} in the environment")
    if definition and definition.is_mounted:
        places.append(f"name a file with {definition.variable}_FILE")
    text = f"{where} is not set: {' or '.join(places)}"
    if place == ("jwks_verification_key",):
        return f"{text}; print it with `portcullis keys verification-key`"
    return text
