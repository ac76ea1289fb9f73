"""The settings of `portcullis backup` and `restore`, in addition to those of the authorization server."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, SecretStr

from oauth_core.settings.definitions import Setting
from oauth_core.settings.web import WebSettings, check_key


class BackupSettings(WebSettings):
    """The settings for backups. Without a `backup_key`, backups are sealed under the master key."""

    backup_key: Annotated[
        Annotated[SecretStr, BeforeValidator(check_key)] | None,
        Setting(
            "The key that encrypts backups, made in the same way as `master_key`. Only `portcullis "
            "backup` and `restore` need it.",
            key="server.backup_key",
            default_text="`MASTER_KEY`",
        ),
    ] = None
