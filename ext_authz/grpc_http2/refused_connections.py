"""Logs why a connection to the check service was refused, in words that an operator can act on."""

from __future__ import annotations

import ssl
import time

import structlog

_EVERY_SECONDS = 10.0
"""Seconds between two logs of one reason: a peer may try again many times a second."""

_TLS_HANDSHAKE = b"\x16\x03"
_METHODS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"DELETE ", b"PATCH ")

# Reasons of OpenSSL, and their meaning here.
_TLS_REASONS = (
    (
        ("HTTP_REQUEST", "WRONG_VERSION_NUMBER"),
        "plain HTTP on a port that wants TLS: set envoy.authz_upstream_ca for Envoy",
    ),
    (("PEER_DID_NOT_RETURN_A_CERTIFICATE",), "no client certificate, and check.tls_client_ca asks for one"),
    (("CERTIFICATE_VERIFY_FAILED",), "the client certificate is not of an authority in check.tls_client_ca"),
    (("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN"), "the peer does not trust check.tls_cert"),
)

_logged: dict[str, float] = {}


def of_first_bytes(data: bytes) -> str:
    """Return the protocol of a peer whose first bytes are not those of HTTP/2 without TLS."""
    if data.startswith(_TLS_HANDSHAKE):
        return "TLS on a port without TLS: set check.tls_cert and check.tls_key, or have Envoy speak without"
    if data.startswith(_METHODS):
        return "HTTP/1.1 on the gRPC port: give Envoy's cluster http2_protocol_options"
    return "not HTTP/2"


class Handshake(ssl.SSLObject):
    """A TLS connection that logs why its handshake failed; asyncio does not expose the reason."""

    def do_handshake(self) -> None:
        """See `ssl.SSLObject.do_handshake`."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            log(_of_tls(error))
            raise


def log(reason: str) -> None:
    """Log that a connection was refused, unless the same was logged a moment ago."""
    now = time.monotonic()
    if now - _logged.get(reason, -_EVERY_SECONDS) >= _EVERY_SECONDS:
        _logged[reason] = now
        structlog.get_logger("server").warning("connection.refused", reason=reason)


def _of_tls(error: ssl.SSLError) -> str:
    text = (error.reason or str(error)).upper()
    return next((why for signs, why in _TLS_REASONS if any(sign in text for sign in signs)), f"TLS: {text}")
