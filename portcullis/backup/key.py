"""The key that encrypts a backup: `BACKUP_KEY` if the operator set one, else `MASTER_KEY`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.crypto.sealing import read_key

if TYPE_CHECKING:
    from oauth_core.settings import BackupSettings


@dataclass(frozen=True)
class BackupKey:
    """A key of 256 bits, and the name of its setting."""

    name: str
    key: bytes

    @classmethod
    def from_settings(cls, settings: BackupSettings) -> BackupKey:
        """The key from these settings."""
        if settings.backup_key is None:
            return cls("MASTER_KEY", settings.master_key_bytes)
        return cls("BACKUP_KEY", read_key(settings.backup_key.get_secret_value()))
