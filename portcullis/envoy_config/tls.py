"""TLS towards callers: versions, Envoy's certificate from a file, and the accepted client certificates.

Envoy reads the certificate through SDS from a file that it watches: when a new file is moved into its place, new
connections use it and open ones are not affected. `portcullis.certificates.secret` makes the contents of that
file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    PathConfigSource,
    TransportSocket,
    WatchedDirectory,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    TlsParameters,
    TlsParametersTlsProtocol,
)

from oauth_core.settings.tls import is_spki_pin
from portcullis.certificates import secret
from portcullis.envoy_config.messages import packed

if TYPE_CHECKING:
    from pathlib import Path

    from oauth_core.settings import EnvoySettings

_SECRET = "gateway"
_VERSIONS = {"1.2": TlsParametersTlsProtocol.TLSv1_2, "1.3": TlsParametersTlsProtocol.TLSv1_3}
_FORWARD_SECRET = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
]
"""For TLS 1.2, if it is allowed: forward secrecy and authenticated encryption only (RFC 9325 section 4.2)."""


def transport_socket(settings: EnvoySettings) -> TransportSocket:
    """The transport socket of the listener that callers reach by https."""
    context = DownstreamTlsContext(
        common_tls_context=CommonTlsContext(
            tls_params=TlsParameters(
                tls_minimum_protocol_version=_VERSIONS[settings.tls_min_version],
                tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
                cipher_suites=_FORWARD_SECRET,
            ),
            alpn_protocols=["h2", "http/1.1"],
            tls_certificate_sds_secret_configs=[
                SdsSecretConfig(name=secret.NAME, sds_config=_watched(settings.secret_path))
            ],
            combined_validation_context=_client_certificates(settings),
        ),
        require_client_certificate=settings.tls_client_required,
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def _watched(path: Path) -> ConfigSource:
    return ConfigSource(
        path_config_source=PathConfigSource(
            path=str(path), watched_directory=WatchedDirectory(path=str(path.parent))
        ),
        resource_api_version=ApiVersion.V3,
    )


def _client_certificates(settings: EnvoySettings) -> CommonTlsContextCombinedCertificateValidationContext | None:
    """The accepted client certificates: of these authorities and, if there are pins, only pinned ones.

    The authorities come from a file that Envoy watches, so that they can be replaced. Without that file Envoy
    accepts no connection.
    """
    if settings.tls_client_ca is None:
        return None
    return CommonTlsContextCombinedCertificateValidationContext(
        default_validation_context=CertificateValidationContext(
            verify_certificate_spki=[pin for pin in settings.tls_client_pins if is_spki_pin(pin)],
            verify_certificate_hash=[pin for pin in settings.tls_client_pins if not is_spki_pin(pin)],
        ),
        validation_context_sds_secret_config=SdsSecretConfig(
            name=secret.AUTHORITIES, sds_config=_watched(settings.client_authorities_path)
        ),
    )
