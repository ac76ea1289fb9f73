"""When certificates in files of the operator end, for the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from oauth_core.process.metrics import Family, Figures, labelled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXPIRES = Family(
    "portcullis_certificate_expires_timestamp_seconds",
    "gauge",
    "When the certificate of a setting ends, in seconds since the epoch.",
    min,
)
_LONGEST = 1024 * 1024


def ends_of_chain(pem: bytes) -> float:
    """Return when the first certificate ends, which is that of the server. Raises `ValueError`."""
    return x509.load_pem_x509_certificates(pem)[0].not_valid_after_utc.timestamp()


def ends_of_authorities(pem: bytes) -> float:
    """Return when the first of the authorities ends. Raises `ValueError`."""
    found = x509.load_pem_x509_certificates(pem)
    return min(certificate.not_valid_after_utc.timestamp() for certificate in found)


def figures(chains: Mapping[str, Path | None], authorities: Mapping[str, Path | None]) -> Figures:
    """Return the ends of the certificates of these settings. Files that this program cannot read are left out."""
    kinds = ((chains, ends_of_chain), (authorities, ends_of_authorities))
    found: Figures = {}
    for files, ends in kinds:
        for setting, path in files.items():
            if path is None:
                continue
            try:
                with path.open("rb") as file:
                    found[labelled(EXPIRES.name, setting=setting)] = ends(file.read(_LONGEST))
            except (OSError, ValueError):
                continue
    return found
