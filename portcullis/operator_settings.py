"""What an operator's own commands work with: the environment, or a gateway that `portcullis up` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.settings import BackupSettings, load
from portcullis.supervisor import operator_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def operator_settings(config: Path | None, state_dir: Path, environ: Mapping[str, str]) -> BackupSettings:
    """What reaches the gateway's Redis and opens its key ring. Raises `SettingsError`.

    The environment counts when it has a master key; else the state folder of `portcullis up` is asked. These
    commands sign nobody in, so GitHub's part of the settings does not matter and need not be there.
    """
    given = dict(environ)
    if "MASTER_KEY" not in environ and "MASTER_KEY_FILE" not in environ:
        given |= operator_environment.read(state_dir)
    given.pop("GITHUB_CLIENT_SECRET_FILE", None)
    return load(BackupSettings, config, {"GITHUB_CLIENT_ID": "-", "GITHUB_CLIENT_SECRET": "-", **given})
