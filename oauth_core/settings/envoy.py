"""What the rendered Envoy configuration needs."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from oauth_core.settings.gateway import CommaList
from oauth_core.settings.tls import TlsSettings


class EnvoySettings(TlsSettings):
    """What the rendered Envoy configuration needs. Addresses are `host:port` or `unix:/path`."""

    envoy_listen: CommaList = ("127.0.0.1:8080",)
    envoy_admin: str = "127.0.0.1:9901"
    web_upstream: CommaList = ("127.0.0.1:9000",)
    authz_upstream: CommaList = ("127.0.0.1:9001",)
    authz_upstream_ca: Path | None = None
    authz_upstream_name: str | None = None
    authz_upstream_cert: Path | None = None
    authz_upstream_key: Path | None = None
    standin_upstream: str | None = None
    max_request_bytes: int = Field(default=4 * 1024 * 1024, ge=64 * 1024, le=256 * 1024 * 1024)
    max_checked_bytes: int = Field(default=128 * 1024, ge=1024, le=768 * 1024)
    """What Envoy holds of a request until its body is checked. A whole Check must fit into one MiB."""
    envoy_max_memory: int = Field(default=1024**3, ge=256 * 1024**2)
    """Bytes of heap. Near them Envoy ends the requests for which it holds the most, then takes no more."""
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    """How many proxies of the operator's stand before Envoy and name the caller in `X-Forwarded-For`."""
    web_rate: int = Field(default=500, ge=1, le=1_000_000)
    """Requests a second to each path of the authorization server that busy addresses share."""
    web_rate_per_address: int = Field(default=100, ge=1, le=1_000_000)
    """Requests a second of one address to all paths of the authorization server together."""
    web_rate_reserved: int = Field(default=10, ge=1, le=1_000_000)
    """Requests a second of one address that are not counted against `web_rate`: an address with more is busy."""
    connections_per_address: int = Field(default=1000, ge=0, le=19_000)
    """Connections that one address may have open at once; 0 is no limit. Not counted behind `trusted_proxies`."""

    @model_validator(mode="after")
    def _whole_client_identity(self) -> EnvoySettings:
        if (self.authz_upstream_cert is None) != (self.authz_upstream_key is None):
            raise ValueError("authz_upstream_cert and authz_upstream_key belong together")
        if not self.authz_upstream_ca and (self.authz_upstream_cert or self.authz_upstream_name):
            raise ValueError("authz_upstream_cert and authz_upstream_name need authz_upstream_ca")
        return self
