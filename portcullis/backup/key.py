"""Which key a backup is sealed with: `BACKUP_KEY` if the operator has one, else `MASTER_KEY`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.crypto.sealing import read_key

if TYPE_CHECKING:
    from oauth_core.settings import BackupSettings


@dataclass(frozen=True)
class BackupKey:
    """256 bits, and the name of the setting they come from."""

    name: str
    key: bytes

    @classmethod
    def of(cls, settings: BackupSettings) -> BackupKey:
        """The key these settings give."""
        if settings.backup_key is None:
            return cls("MASTER_KEY", settings.master_key_bytes)
        return cls("BACKUP_KEY", read_key(settings.backup_key.get_secret_value()))
