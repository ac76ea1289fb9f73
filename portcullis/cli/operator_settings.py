"""The settings of operators' commands: from the environment, or from a gateway of `portcullis up`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.settings import BackupSettings, load
from portcullis.cli.settings_file import settings_file
from portcullis.supervisor import operator_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def operator_settings(config: Path | None, state_dir: Path, environ: Mapping[str, str]) -> BackupSettings:
    """The settings that reach the gateway's Redis and decrypt its key ring. Raises `SettingsError`.

    Without a master key in the environment, they come from the state folder of `portcullis up`. With one, the
    state folder gives only the address of Redis, if the environment does not. These commands sign no person in, so
    they need no GitHub settings.
    """
    given = operator_environment.merged_with(state_dir, environ)
    given.pop("GITHUB_CLIENT_SECRET_FILE", None)
    given = {"GITHUB_CLIENT_ID": "-", "GITHUB_CLIENT_SECRET": "-", **given}
    return load(BackupSettings, settings_file(config, given), given)


def master_key_place(state_dir: Path, environ: Mapping[str, str]) -> str:
    """The place of the master key of these commands, for people."""
    return operator_environment.merged_with(state_dir, environ).get("MASTER_KEY_FILE") or "the variable MASTER_KEY"
