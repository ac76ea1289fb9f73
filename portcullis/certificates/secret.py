"""The contents of the file from which Envoy reads its certificate (SDS), and which it watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "gateway"
"""The name under which Envoy asks for the certificate."""

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def of_files(cert: Path, key: Path) -> dict[str, object]:
    """The contents for a certificate that another program renews in place.

    Envoy reads both files again whenever a file is moved into the certificate's folder, and uses them only
    if they match each other.
    """
    return _document(
        {
            "certificate_chain": {"filename": str(cert)},
            "private_key": {"filename": str(key)},
            "watched_directory": {"path": str(cert.parent)},
        }
    )


def of_texts(chain: str, key: str) -> dict[str, object]:
    """The contents with this chain and key, both PEM: in one file, so Envoy never reads half of a pair."""
    return _document({"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}})


def _document(certificate: dict[str, object]) -> dict[str, object]:
    return {"resources": [{"@type": _TYPE, "name": NAME, "tls_certificate": certificate}]}
