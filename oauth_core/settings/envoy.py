"""The settings of the rendered Envoy configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from oauth_core.policy.jsonrpc_limits import CHECKED_BYTES, MOST_CHECKED_BYTES
from oauth_core.settings.definitions import Setting
from oauth_core.settings.gateway import CommaList
from oauth_core.settings.tls import TlsSettings

SMALLEST_BODY_BUFFER = 384 * 1024
"""Bytes of a request that Envoy must be able to hold behind the first check.

While that check runs, Envoy holds 32 KiB and what one read brings, at most 128 KiB, and then stops reading. It
reads on only when a later filter allows twice as much as it holds. With less, the request gets 408 after a minute.
"""


class EnvoySettings(TlsSettings):
    """The settings of the rendered Envoy configuration. Addresses are `host:port` or `unix:/path`."""

    envoy_listen: Annotated[
        CommaList,
        Setting(
            "Addresses that Envoy listens on, `host:port` or `unix:/path`.",
            key="envoy.listen",
        ),
    ] = ("127.0.0.1:8080",)
    envoy_admin: Annotated[
        str,
        Setting(
            "The address of Envoy's admin interface: loopback or `unix:/path` only.",
            key="envoy.admin",
        ),
    ] = "127.0.0.1:9901"
    web_upstream: Annotated[
        CommaList,
        Setting(
            "Where Envoy finds the authorization server: one address for each process.",
            key="envoy.web_upstream",
        ),
    ] = ("127.0.0.1:9000",)
    authz_upstream: Annotated[
        CommaList,
        Setting(
            "Where Envoy finds the check service: one address for each worker.",
            key="envoy.authz_upstream",
        ),
    ] = ("127.0.0.1:9001",)
    authz_upstream_ca: Annotated[
        Path | None,
        Setting(
            "Authorities (PEM file) that may vouch for the check service; turns TLS on.",
            key="envoy.authz_upstream_ca",
        ),
    ] = None
    authz_upstream_name: Annotated[
        str | None,
        Setting(
            "The name that the check service's certificate must carry; required with Unix sockets.",
            key="envoy.authz_upstream_name",
            default_text="host of `envoy.authz_upstream`",
        ),
    ] = None
    authz_upstream_cert: Annotated[
        Path | None,
        Setting(
            "Certificate chain (PEM file) that Envoy shows to the check service: mutual TLS.",
            key="envoy.authz_upstream_cert",
        ),
    ] = None
    authz_upstream_key: Annotated[
        Path | None,
        Setting(
            "The private key (PEM file) of `envoy.authz_upstream_cert`.",
            key="envoy.authz_upstream_key",
        ),
    ] = None
    standin_upstream: Annotated[
        str | None,
        Setting(
            "Where Envoy finds the local GitHub stand-in; no route leads there otherwise.",
            key="envoy.standin_upstream",
        ),
    ] = None
    max_request_bytes: Annotated[
        int,
        Setting(
            "Largest request body; a larger one is answered with 413.",
            key="envoy.max_request_bytes",
            unit="bytes",
        ),
    ] = Field(default=4 * 1024 * 1024, ge=SMALLEST_BODY_BUFFER, le=256 * 1024 * 1024)
    max_checked_bytes: Annotated[
        int,
        Setting(
            "Largest request body for services with [tool rules](permissions.md), whose bodies are held "
            "until they are complete and checked. Only callers with a good token for the service get so "
            "far. A whole check must fit into 1 MiB.",
            key="envoy.max_checked_bytes",
            unit="bytes",
        ),
    ] = Field(default=CHECKED_BYTES, ge=1024, le=MOST_CHECKED_BYTES)
    envoy_max_memory: Annotated[
        int,
        Setting(
            "Memory (heap) for Envoy. From 85 % on it ends the requests for which it holds the most, at "
            "95 % it answers every new one with 503. Give its container somewhat more.",
            key="envoy.max_memory",
            unit="bytes",
        ),
    ] = Field(default=1024**3, ge=256 * 1024**2)
    web_rate: Annotated[
        int,
        Setting(
            "Requests to each path of the authorization server that all busy addresses share beyond "
            "`envoy.web_rate_reserved`; more is answered with 429. All addresses together, busy or not, "
            "have four times as much.",
            key="envoy.web_rate",
            unit="a second",
        ),
    ] = Field(default=500, ge=1, le=1_000_000)
    web_rate_per_address: Annotated[
        int,
        Setting(
            "Requests from one address to all paths of the authorization server together, busy or not. "
            "Of all these limits five seconds' worth may come at once.",
            key="envoy.web_rate_per_address",
            unit="a second",
        ),
    ] = Field(default=100, ge=1, le=1_000_000)
    web_rate_reserved: Annotated[
        int,
        Setting(
            "Requests to each path of the authorization server that one address may always send (an "
            "IPv6 network of 64 bits counts as one). An address that sends more is busy.",
            key="envoy.web_rate_reserved",
            unit="a second",
        ),
    ] = Field(default=10, ge=1, le=1_000_000)
    connections_per_address: Annotated[
        int,
        Setting(
            "Connections that one address may have open at Envoy at once (an IPv6 network of 64 bits "
            "counts as one); 0 is no limit. Further ones are closed at once. While many of Envoy's "
            "20,000 connections are in use, an address may have fewer "
            "([hostile.md](generated/hostile.md)). Without effect where `envoy.trusted_proxies` is not "
            "0: all connections come from the proxy there.",
            key="envoy.connections_per_address",
        ),
    ] = Field(default=1000, ge=0, le=19_000)

    @model_validator(mode="after")
    def _whole_client_identity(self) -> EnvoySettings:
        if (self.authz_upstream_cert is None) != (self.authz_upstream_key is None):
            raise ValueError("envoy.authz_upstream_cert and envoy.authz_upstream_key belong together")
        if not self.authz_upstream_ca and (self.authz_upstream_cert or self.authz_upstream_name):
            raise ValueError(
                "envoy.authz_upstream_cert and envoy.authz_upstream_name need envoy.authz_upstream_ca"
            )
        return self
