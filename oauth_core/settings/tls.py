"""The settings of TLS at Envoy: the source of the certificate, the versions, and the client certificates.

The check service's own TLS has a fixed minimum version, in `ext_authz.grpc_http2.transport`.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from oauth_core.net.quoted_addresses import quoted
from oauth_core.settings.definitions import Setting
from oauth_core.settings.gateway import CommaList, GatewaySettings

if TYPE_CHECKING:
    from collections.abc import Iterator

_HASH = re.compile(r"[0-9a-fA-F]{64}|[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){31}")
_SPKI_BYTES = 32


def _check_pins(pins: tuple[str, ...]) -> tuple[str, ...]:
    if any(not (_HASH.fullmatch(pin) or is_spki_pin(pin)) for pin in pins):
        raise ValueError("each pin is the SHA-256 of a certificate in hex, or of its public key in base64")
    return pins


def is_spki_pin(pin: str) -> bool:
    """Whether `pin` is the base64 SHA-256 of a public key (as in RFC 7469), not the hex one of a certificate."""
    try:
        return len(base64.b64decode(pin, validate=True)) == _SPKI_BYTES
    except binascii.Error:
        return False


class TlsSettings(GatewaySettings):
    """The settings of TLS between callers and Envoy. Without `tls.cert` and `acme.email` Envoy uses plain HTTP."""

    tls_cert: Annotated[
        Path | None,
        Setting(
            "Certificate chain (PEM file) that Envoy shows to callers; turns TLS on. `portcullis up` "
            "and `portcullis envoy secret --follow` read it again every second, and give Envoy each new "
            "one that fits its key, however it was renewed.",
            key="tls.cert",
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        Setting(
            "The private key (PEM file) of `tls.cert`.",
            key="tls.key",
        ),
    ] = None
    acme_email: Annotated[
        str | None,
        Setting(
            "Instead of `tls.cert`: certificates come from an ACME authority (Let's Encrypt), by "
            "`portcullis acme run`, which `up` runs. Naming an address agrees to the authority's terms.",
            key="acme.email",
            standard="RFC 8555 section 7.3",
        ),
    ] = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$")
    acme_directory: Annotated[
        str,
        Setting(
            "The directory URL of the ACME authority.",
            key="acme.directory",
            standard="RFC 8555 section 7.1.1",
        ),
    ] = "https://acme-v02.api.letsencrypt.org/directory"
    acme_ca_file: Annotated[
        Path | None,
        Setting(
            "The authorities (PEM file) that vouch for the ACME authority itself, if not the usual ones.",
            key="acme.ca_file",
        ),
    ] = None
    acme_dir: Annotated[
        Path,
        Setting(
            "The folder of the account, the certificate and Envoy's copy of it.",
            key="acme.dir",
        ),
    ] = Path("/var/lib/portcullis/acme")
    acme_listen: Annotated[
        str,
        Setting(
            "Where `portcullis acme run` answers the authority's questions.",
            key="acme.listen",
            standard="RFC 8555 section 8.3",
        ),
    ] = "127.0.0.1:9003"
    acme_upstream: Annotated[
        str,
        Setting(
            "Where Envoy finds `portcullis acme run`.",
            key="acme.upstream",
        ),
    ] = "127.0.0.1:9003"
    tls_secret: Annotated[
        Path,
        Setting(
            "The file from which Envoy reads certificate and key; holds what `portcullis envoy secret` "
            "prints. `up` writes it by itself.",
            key="tls.secret",
        ),
    ] = Path("/var/lib/portcullis/tls/secret.json")
    tls_min_version: Annotated[
        Literal["1.2", "1.3"],
        Setting(
            "The oldest version of TLS; `1.2` then with forward secrecy only.",
            key="tls.min_version",
            standard="RFC 9325 section 3.1.1",
        ),
    ] = "1.3"
    tls_client_ca: Annotated[
        Path | None,
        Setting(
            "Callers may show a certificate of these authorities (PEM file). `portcullis up` and `portcullis "
            "envoy secret --client-authorities --follow` read it again every second. Envoy reads it from "
            "`client-authorities.json`, beside `tls.secret` or in `acme.dir`.",
            key="tls.client_ca",
        ),
    ] = None
    tls_client_required: Annotated[
        bool,
        Setting(
            "Callers must show a certificate; `portcullis doctor` then needs `--cert` and `--key`.",
            key="tls.client_required",
        ),
    ] = False
    tls_client_pins: Annotated[
        CommaList,
        AfterValidator(_check_pins),
        Setting(
            "Callers must show one of these certificates, even without `tls.client_required`: SHA-256 "
            "of a certificate in hex, or of its public key in base64.",
            key="tls.client_pins",
        ),
    ] = ()
    http_redirect_listen: Annotated[
        CommaList,
        Setting(
            "Addresses for plain HTTP: sends known hosts to https, and answers an ACME authority, which "
            "asks on port 80.",
            key="tls.http_redirect_listen",
        ),
    ] = ()
    hsts_max_age: Annotated[
        int,
        Setting(
            "How long browsers use https only (HSTS); 0 leaves it out. Never sent on loopback.",
            key="tls.hsts_max_age",
            unit="seconds",
            standard="RFC 6797 section 6.1.1",
        ),
    ] = Field(default=31_536_000, ge=0)

    @property
    def terminates_tls(self) -> bool:
        """Whether Envoy itself terminates the callers' TLS."""
        return self.tls_cert is not None or self.uses_acme

    @property
    def uses_acme(self) -> bool:
        """Whether certificates come from an ACME authority."""
        return self.acme_email is not None

    @property
    def requires_client_certificate(self) -> bool:
        """Whether Envoy ends the connection of a caller without a certificate; with pins it always does."""
        return self.tls_client_required or bool(self.tls_client_pins)

    @property
    def secret_path(self) -> Path:
        """The file from which Envoy reads the certificate, by SDS."""
        return self.acme_dir / "secret.json" if self.uses_acme else self.tls_secret

    @property
    def client_authorities_path(self) -> Path:
        """The file from which Envoy reads the authorities of client certificates, by SDS; beside `secret_path`."""
        return self.secret_path.with_name("client-authorities.json")

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """Every host name that a certificate must contain: the issuer's and that of each service with https."""
        urls = (self.issuer, *(service.resource for service in self.resolved_services))
        hosts = (urlsplit(url).hostname or "" for url in urls if url.startswith("https://"))
        return tuple(dict.fromkeys(hosts))

    @model_validator(mode="after")
    def _whole_tls(self) -> TlsSettings:
        if faults := list(self._tls_faults()):
            raise ValueError("\n".join(faults))
        return self

    def _tls_faults(self) -> Iterator[str]:
        if (self.tls_cert is None) != (self.tls_key is None):
            yield "tls.cert and tls.key belong together"
        if self.tls_cert is not None and self.uses_acme:
            yield "tls.cert and acme.email are both set: a certificate comes from one place"
        if self.uses_acme and not self.http_redirect_listen:
            yield "acme.email needs tls.http_redirect_listen: the authority asks on port 80 (RFC 8555 section 8.3)"
        if self.terminates_tls and not self.issuer.startswith("https://"):
            yield f"TLS is on, so the issuer{quoted(self.issuer)} must begin with https://"
        if not self.terminates_tls:
            for name, value in (
                ("tls.http_redirect_listen", self.http_redirect_listen),
                ("tls.client_ca", self.tls_client_ca),
            ):
                if value:
                    yield f"{name} needs tls.cert and tls.key, or acme.email"
        if self.certificate_bound_tokens != "off" and self.tls_client_ca is None:
            yield "tokens.certificate_bound needs tls.client_ca: without it no client can present a certificate"
        if (self.tls_client_required or self.tls_client_pins) and self.tls_client_ca is None:
            yield "tls.client_required and tls.client_pins need tls.client_ca"
