"""What `portcullis backup` and `restore` need beside the settings of the authorization server."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, SecretStr

from oauth_core.settings.web import WebSettings, check_key


class BackupSettings(WebSettings):
    """Without a `backup_key`, backups are sealed under the master key."""

    backup_key: Annotated[SecretStr, BeforeValidator(check_key)] | None = None
