"""The trusted issuers, which may vouch for people, and their signing keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core import strict_json
from oauth_core.errors import SettingsError
from oauth_core.jose import client_keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from oauth_core.flows.id_jag import TrustedIssuer
    from oauth_core.jose.client_keys import ClientKeys
    from oauth_core.settings import WebSettings
    from oauth_web.client_documents import ClientDocuments


@dataclass(frozen=True)
class TrustedIssuers:
    """Finds a trusted issuer by its name, and its keys in a file or by a guarded fetch."""

    trusted: Mapping[str, TrustedIssuer]
    from_files: Mapping[str, ClientKeys]
    documents: ClientDocuments

    @classmethod
    def from_settings(cls, settings: WebSettings, documents: ClientDocuments) -> TrustedIssuers:
        """The trusted issuers in the settings. Raises `SettingsError` when a file in them cannot be used."""
        trusted = {one.issuer: one for one in settings.resolved_trusted_issuers}
        faults: list[str] = []
        from_files = {}
        for issuer, one in trusted.items():
            if one.jwks_file is not None and (keys := _read(one.jwks_file, faults)) is not None:
                from_files[issuer] = keys
        if faults:
            raise SettingsError(faults)
        return cls(trusted, from_files, documents)

    def find(self, issuer: str, *, client_id: str) -> TrustedIssuer | None:
        """The issuer of that name, if it is trusted to vouch for people to that client."""
        found = self.trusted.get(issuer)
        return found if found is not None and client_id in found.clients else None

    async def keys(self, trusted: TrustedIssuer, *, kid: str | None) -> ClientKeys:
        """The keys of an issuer. Raises `DisplayedError` 503, and `ValueError` when the document is no key set."""
        if trusted.issuer in self.from_files:
            return self.from_files[trusted.issuer]
        keys = await self.documents.keys(trusted.jwks_uri or "", kid=kid)
        # The operator configured this address, so it counts as in use.
        await self.documents.keep_keys(trusted.jwks_uri or "")
        return keys


def _read(path: Path, faults: list[str]) -> ClientKeys | None:
    try:
        return client_keys.parse(strict_json.parse(path.read_bytes()))
    except (OSError, ValueError) as error:
        faults.append(f"trusted_issuers: {path}: {getattr(error, 'strerror', None) or error}")
        return None
