"""The public keys with which services verify service assertions, from the operator's file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from oauth_core.errors import SettingsError
from oauth_core.process.file_follower import FileFollower
from oauth_core.tokens.service_assertions import published

if TYPE_CHECKING:
    from pathlib import Path

_log = structlog.get_logger("assertion_keys")


class AssertionKeys:
    """Follows the file, so that a key can be added without a restart. An unusable file is logged once."""

    def __init__(self, path: Path) -> None:
        """Raises `SettingsError` when the file cannot be used."""
        self._file = FileFollower(path)
        try:
            self._jwks = self._read()
        except (OSError, ValueError) as error:
            fault = getattr(error, "strerror", None) or error
            raise SettingsError([f"server.assertion_public_keys: {path}: {fault}"]) from None

    @classmethod
    def from_file(cls, path: Path | None) -> AssertionKeys | None:
        """The keys in the file, if there is one. Raises `SettingsError`."""
        return None if path is None else cls(path)

    @property
    def jwks(self) -> str:
        """The JWK set (RFC 7517 section 5); the last good one while the file cannot be used."""
        if not self._file.has_changed():
            return self._jwks
        try:
            self._jwks = self._read()
        except (OSError, ValueError) as error:
            _log.warning("assertion keys unreadable, keeping the last ones", error=str(error))
        return self._jwks

    def _read(self) -> str:
        self._file.record_reading()
        return published(self._file.path.read_bytes())
