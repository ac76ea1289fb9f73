"""What an operator's own commands work with: the environment, or a gateway that `portcullis up` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.settings import BackupSettings, load
from portcullis.cli.settings_file import settings_file
from portcullis.supervisor import operator_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def operator_settings(config: Path | None, state_dir: Path, environ: Mapping[str, str]) -> BackupSettings:
    """What reaches the gateway's Redis and opens its key ring. Raises `SettingsError`.

    Without a master key in the environment, the state folder of `portcullis up` counts. With one, the state folder
    says only where Redis is, if the environment does not. These commands sign nobody in, so GitHub's part of the
    settings does not matter and need not be there.
    """
    given = operator_environment.beside(state_dir, environ)
    given.pop("GITHUB_CLIENT_SECRET_FILE", None)
    given = {"GITHUB_CLIENT_ID": "-", "GITHUB_CLIENT_SECRET": "-", **given}
    return load(BackupSettings, settings_file(config, given), given)


def master_key_place(state_dir: Path, environ: Mapping[str, str]) -> str:
    """Where these commands read the master key, for people."""
    return operator_environment.beside(state_dir, environ).get("MASTER_KEY_FILE") or "the variable MASTER_KEY"
