"""The options that name the audit folder of a command, and the key that signs its checkpoints."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import click

from oauth_core.errors import SettingsError
from portcullis.audit.seal_key import KEY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from oauth_core.settings import SettingsType

F = TypeVar("F", bound="Callable[..., Any]")

STATE_DIR = Path(".portcullis")
CONFIG_OPTION = click.option(
    "--config", type=click.Path(path_type=Path), help="The settings file, as for other commands."
)
AUDIT_DIR_OPTION = click.option(
    "--audit-dir",
    type=click.Path(path_type=Path),
    help="The audit folder; else audit.dir of the settings, else that of the gateway in ./.portcullis.",
)


@dataclass(frozen=True, slots=True)
class AuditPlace:
    """The audit folder, the key, the name of this machine, and the other settings of the sealer.

    Without a `node` its name is the host name. The other fields are those of `SealSettings`, without `audit_`.
    """

    audit_dir: Path
    key: Path
    node: str | None
    checkpoint_file: Path | None = None
    checkpoint_url: str | None = None
    timestamp_url: str | None = None
    timestamp_ca_file: Path | None = None
    timestamp_minutes: int = 60
    monitors: tuple[str, ...] = ()
    monitor_ca_file: Path | None = None
    metrics_listen: str | None = None
    keep_days: int | None = None
    keep_bytes: int | None = None


_OF_SEALER = tuple(
    f"audit_{field.name}" for field in fields(AuditPlace) if field.name not in {"audit_dir", "key", "node"}
)
"""The names of the settings that are no place."""


def audit_dir_option(command: F) -> F:
    """Add the option `--audit-dir`; it must be a folder that exists."""
    return click.option(
        "--audit-dir",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        callback=lambda _context, _option, given: given or _existing(_known_audit_dir()),
        help="The audit folder; else AUDIT_DIR, else that of the gateway in ./.portcullis.",
    )(command)


def audit_place_options(command: F) -> F:
    """Add the options of the sealer. The command gets them as `place`, an `AuditPlace`."""

    @wraps(command)
    def with_place(*, config: Path | None, audit_dir: Path | None, key_file: Path | None, **options: Any) -> Any:
        if audit_dir is not None and key_file is not None:
            place = _named_place(audit_dir, key_file)
        else:
            place = _place_of_settings(config, audit_dir, key_file)
        if not place.audit_dir.parent.is_dir():
            fault = f"{place.audit_dir.parent} does not exist; name the audit folder with --audit-dir"
            raise SettingsError([fault])
        return command(place, **options)

    path = click.Path(path_type=Path)
    for option in (
        CONFIG_OPTION,
        click.option(
            "--key-file",
            type=path,
            help=f"The file of the key; else audit.seal_key of the settings, else {KEY_NAME} beside the folder.",
        ),
        AUDIT_DIR_OPTION,
    ):
        with_place = option(with_place)
    return cast("F", with_place)


def present_folder(
    kind: type[SettingsType], config: Path | None, audit_dir: Path | None
) -> tuple[SettingsType, Path]:
    """Read settings of this kind, and return them with the audit folder that they or the command line name.

    Raises `SettingsError`, also if there is no such folder.
    """
    # Imported here: commands that name folder and key start without the settings.
    from oauth_core.settings import load  # noqa: PLC0415
    from portcullis.cli.settings_file import settings_file  # noqa: PLC0415

    variables = gateway_variables()
    settings = load(kind, settings_file(config, variables), variables)
    folder = (audit_dir or settings.audit_dir or STATE_DIR / "audit").absolute()
    if not folder.is_dir():
        raise SettingsError([f"{folder} is not a folder; name the audit folder with --audit-dir"])
    return settings, folder


def key_of(audit_dir: Path) -> Path:
    """The file of the key of an audit folder: the one that the environment or the gateway names for it.

    Otherwise it is beside the folder, where `portcullis up` and copies of a state folder have it.
    """
    beside = audit_dir.absolute().parent / KEY_NAME
    named = gateway_variables()
    if "AUDIT_SEAL_KEY" in named and Path(named.get("AUDIT_DIR", audit_dir)).absolute() == audit_dir.absolute():
        return Path(named["AUDIT_SEAL_KEY"])
    return beside


def _named_place(audit_dir: Path, key_file: Path) -> AuditPlace:
    """The place that a command line names. The rest comes from the environment, without the settings file.

    Raises `SettingsError` for values that the settings file could not have either.
    """
    given = {name: text for name in _OF_SEALER if (text := os.environ.get(name.upper()))}
    node = os.environ.get("AUDIT_NODE") or None
    return AuditPlace(audit_dir.absolute(), key_file, node, **_without_prefix(_checked(given)))


def _checked(given: dict[str, str]) -> dict[str, Any]:
    """The values of settings of the sealer. Raises `SettingsError`, which shows no value."""
    if not given:
        return {}
    # Imported here: the sealer of `up` mostly starts without them, which saves half a second of processor time.
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    from oauth_core.settings import SealSettings  # noqa: PLC0415

    values, faults = {}, []
    for name, text in given.items():
        field = SealSettings.model_fields[name]
        kind = Annotated.__class_getitem__((field.annotation, *field.metadata))  # type: ignore[attr-defined]
        try:
            values[name] = TypeAdapter(kind).validate_python(text)
        except ValidationError as error:
            faults += [f"{name.upper()}: {fault['msg']}" for fault in error.errors()]
    if faults:
        raise SettingsError(faults)
    return values


def _without_prefix(values: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("audit_"): value for name, value in values.items()}


def _place_of_settings(config: Path | None, audit_dir: Path | None, key_file: Path | None) -> AuditPlace:
    """The place of the settings, and of the gateway of `portcullis up` in this folder."""
    # Imported here: the sealer of `up` starts without them, which saves half a second of processor time.
    from oauth_core.settings import SealSettings, load  # noqa: PLC0415
    from portcullis.cli.settings_file import settings_file  # noqa: PLC0415

    variables = gateway_variables()
    settings = load(SealSettings, settings_file(config, variables), variables)
    folder = (audit_dir or settings.audit_dir or STATE_DIR / "audit").absolute()
    key = key_file or settings.audit_seal_key or folder.parent / KEY_NAME
    rest = {name: getattr(settings, name) for name in _OF_SEALER}
    return AuditPlace(folder, key, settings.audit_node, **_without_prefix(rest))


def gateway_variables() -> dict[str, str]:
    """The environment, with the variables of the gateway of `portcullis up` in this folder."""
    # Imported here: commands that name everything need no more.
    from portcullis.supervisor import operator_environment  # noqa: PLC0415

    return operator_environment.merged_with(STATE_DIR, os.environ)


def _known_audit_dir() -> Path:
    """The audit folder of the environment, or of the gateway of `portcullis up` in this folder."""
    named = gateway_variables().get("AUDIT_DIR")
    return Path(named) if named else STATE_DIR / "audit"


def _existing(audit_dir: Path) -> Path:
    if not audit_dir.is_dir():
        raise SettingsError([f"{audit_dir} is not a folder; name the audit folder with --audit-dir"])
    return audit_dir
