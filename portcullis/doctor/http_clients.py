"""The doctor's HTTP clients: through a proxy or not, with certificate authorities and a client certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2

from oauth_core.errors import SettingsError
from oauth_core.net.public_urls import is_loopback

if TYPE_CHECKING:
    from pathlib import Path

# Error texts of OpenSSL and the HTTP client, and what each means to an operator.
_MEANINGS = (
    (
        ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "UNKNOWN_CA"),
        "the gateway requires a client certificate from its own authorities: give one with --cert and --key",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED",),
        "its certificate is not trusted here: name its authority's file in SSL_CERT_FILE",
    ),
    (("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"), "the port speaks plain HTTP, not TLS: is it http://?"),
)
_CLOSED = ("DISCONNECTED WITHOUT SENDING", "READERROR")
"""The connection ended before an answer or an alert could be read."""


@dataclass(frozen=True)
class HttpClientFactory:
    """Makes HTTP clients. The defaults are those of any program: proxies from the environment, system
    authorities.
    """

    proxies: bool = True
    tls: ssl.SSLContext | None = None

    def client(self, **options: Any) -> httpx2.AsyncClient:
        """A client with further options."""
        if self.tls is not None:
            options["verify"] = self.tls
        return httpx2.AsyncClient(trust_env=self.proxies, **options)


def client_factory(url: str, cert: Path | None = None, key: Path | None = None) -> HttpClientFactory:
    """The factory for the gateway at `url`, with the client certificate in the file `cert`, if any.

    A gateway on this machine is never called through a proxy (`HTTPS_PROXY` and the like), which has another
    localhost. Raises `SettingsError` when the certificate cannot be used.
    """
    is_local = is_loopback(url)
    # One context for all clients of this run: otherwise each would read the bundle of authorities again.
    tls = ssl.create_default_context() if is_local else httpx2.create_ssl_context()
    if cert is not None:
        try:
            tls.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError([f"--cert {cert}: {error.strerror or error}"]) from None
    return HttpClientFactory(proxies=not is_local, tls=tls)


def error_in_words(error: Exception, url: str) -> str:
    """The text of `error` at `url`, with its meaning if it is known."""
    text = str(error) or type(error).__name__
    if any(sign in text.upper() for sign in _CLOSED):
        likely = (
            "as from a gateway that requires client certificates: give one with --cert and --key"
            if url.startswith("https:")
            else "as from a TLS listener that gets plain HTTP: is it https://?"
        )
        return f"the connection was closed without an answer, {likely} ({text})"
    for signs, meaning in _MEANINGS:
        if any(sign in text.upper() for sign in signs):
            return f"{meaning} ({text})"
    return text
