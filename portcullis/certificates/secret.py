"""The contents of the files, watched by Envoy, with its certificate and its clients' authorities (SDS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "gateway"
"""The name under which Envoy asks for the certificate."""

AUTHORITIES = "client_authorities"
"""The name under which Envoy asks for the authorities of client certificates. They are in a separate file,
because Envoy takes one secret from a file."""

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def of_files(cert: Path, key: Path) -> dict[str, object]:
    """The contents for a certificate that another program renews in place.

    Envoy reads both files again whenever a file is moved into the certificate's folder, and uses them only
    if they match each other.
    """
    return _document(
        NAME,
        tls_certificate={
            "certificate_chain": {"filename": str(cert)},
            "private_key": {"filename": str(key)},
            "watched_directory": {"path": str(cert.parent)},
        },
    )


def of_texts(chain: str, key: str) -> dict[str, object]:
    """The contents with this chain and key, both PEM: in one file, so Envoy never reads half of a pair."""
    return _document(
        NAME,
        tls_certificate={"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}},
    )


def of_authorities_file(path: Path) -> dict[str, object]:
    """For a file of authorities, which Envoy reads again when something is moved into its folder."""
    return _document(
        AUTHORITIES,
        validation_context={
            "trusted_ca": {"filename": str(path)},
            "watched_directory": {"path": str(path.parent)},
        },
    )


def of_authorities(text: str) -> dict[str, object]:
    """For the authorities in `text`, which is PEM."""
    return _document(AUTHORITIES, validation_context={"trusted_ca": {"inline_string": text}})


def _document(name: str, **secret: dict[str, object]) -> dict[str, object]:
    return {"resources": [{"@type": _TYPE, "name": name, **secret}]}
