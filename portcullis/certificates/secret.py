"""The file from which Envoy takes its certificate (SDS): written by us, watched by Envoy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "gateway"
"""The name under which Envoy asks for the certificate."""

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def of_files(cert: Path, key: Path) -> dict[str, object]:
    """For a certificate that somebody else renews in place.

    Envoy reads both files again whenever something is moved into the certificate's folder, and takes them only
    if they fit each other.
    """
    return _document(
        {
            "certificate_chain": {"filename": str(cert)},
            "private_key": {"filename": str(key)},
            "watched_directory": {"path": str(cert.parent)},
        }
    )


def of_texts(chain: str, key: str) -> dict[str, object]:
    """For this chain and key, both PEM: in one file, so never half of a pair."""
    return _document({"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}})


def _document(certificate: dict[str, object]) -> dict[str, object]:
    return {"resources": [{"@type": _TYPE, "name": NAME, "tls_certificate": certificate}]}
