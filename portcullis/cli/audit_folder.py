"""The options that name the audit folder of a command, and the key that signs its checkpoints."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from oauth_core.errors import SettingsError
from portcullis.audit.seal_key import KEY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

_STATE_DIR = Path(".portcullis")


@dataclass(frozen=True, slots=True)
class AuditPlace:
    """The audit folder, the file of the key, the name of this machine, and the places of copies of checkpoints."""

    audit_dir: Path
    key: Path
    node: str
    checkpoint_file: Path | None = None
    checkpoint_url: str | None = None


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
    def with_place(
        *,
        audit_dir: Path | None,
        key_file: Path | None,
        node: str | None,
        checkpoint_file: Path | None,
        checkpoint_url: str | None,
        **options: Any,
    ) -> Any:
        folder = (audit_dir or _known_audit_dir()).absolute()
        if not folder.parent.is_dir():
            raise SettingsError([f"{folder.parent} does not exist; name the audit folder with --audit-dir"])
        key = key_file or key_of(folder)
        place = AuditPlace(folder, key, node or _this_node(), checkpoint_file, checkpoint_url)
        return command(place, **options)

    path = click.Path(path_type=Path)
    for option in (
        click.option("--checkpoint-url", envvar="AUDIT_CHECKPOINT_URL", hidden=True),
        click.option("--checkpoint-file", type=path, envvar="AUDIT_CHECKPOINT_FILE", hidden=True),
        click.option("--node", envvar="AUDIT_NODE", help="The name of this machine, for a new key."),
        click.option(
            "--key-file",
            type=path,
            envvar="AUDIT_SEAL_KEY",
            help=f"The file of the key; else AUDIT_SEAL_KEY, else {KEY_NAME} beside the audit folder.",
        ),
        click.option(
            "--audit-dir",
            type=path,
            help="The audit folder; else AUDIT_DIR, else that of the gateway in ./.portcullis.",
        ),
    ):
        with_place = option(with_place)
    return cast("F", with_place)


def key_of(audit_dir: Path) -> Path:
    """The file of the key of an audit folder, unless another one is named: beside the folder."""
    return audit_dir.absolute().parent / KEY_NAME


def _known_audit_dir() -> Path:
    """The audit folder of the environment, or of the gateway of `portcullis up` in this folder."""
    # Imported here: commands that name the folder need no more.
    from portcullis.supervisor import operator_environment  # noqa: PLC0415

    named = operator_environment.merged_with(_STATE_DIR, os.environ).get("AUDIT_DIR")
    return Path(named) if named else _STATE_DIR / "audit"


def _existing(audit_dir: Path) -> Path:
    if not audit_dir.is_dir():
        raise SettingsError([f"{audit_dir} is not a folder; name the audit folder with --audit-dir"])
    return audit_dir


def _this_node() -> str:
    name = socket.gethostname().lower()
    return "".join(each if each.isascii() and each.isalnum() else "-" for each in name).strip("-") or "node"
