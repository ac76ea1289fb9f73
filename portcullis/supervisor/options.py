"""The operator's options for one machine, and what follows from them: issuer, ports, Redis, sign-in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import Field

from ext_authz.process.cores import usable_cores
from oauth_core.errors import SettingsError
from oauth_core.net.listen_addresses import TcpAddress, UnixAddress, bracketed
from oauth_core.net.public_urls import DEFAULT_PORTS
from oauth_core.process import ports
from oauth_core.settings import (
    AlertSettings,
    CommaList,
    MonitorSettings,
    SealSettings,
    SinkSettings,
    TlsSettings,
    load,
)
from portcullis.programs.serving import check_free, parse_address

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_EVERYWHERE = "0.0.0.0"  # noqa: S104 - Envoy with TLS is public


class UpSettings(SealSettings, MonitorSettings, SinkSettings, AlertSettings, TlsSettings):
    """The settings of `portcullis up` itself; each program reads the others."""

    redis_url: str | None = None
    github_client_id: str | None = None
    allowed_github_users: CommaList | None = None
    envoy_listen: CommaList = ()
    authz_workers: int = Field(default=0, ge=0, le=256)


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The settings with the final port, and Envoy's listen addresses."""

    settings: UpSettings
    envoy_listen: tuple[str, ...]

    @property
    def own_redis(self) -> bool:
        """Whether `up` runs Redis: the settings name no other."""
        return not self.settings.redis_url

    @property
    def standin(self) -> bool:
        """Whether people sign in at the local stand-in: no GitHub app, and an issuer on this machine."""
        return not self.settings.github_client_id and self.settings.is_local

    @property
    def authz_workers(self) -> int:
        """The number of processes of the check service."""
        return self.settings.authz_workers or usable_cores()

    @property
    def allows_every_user(self) -> bool:
        """Whether every user of the stand-in may sign in, because the settings list none."""
        return self.standin and self.settings.allowed_github_users is None


def read_options(config: Path, environ: Mapping[str, str], port: int | None) -> UpOptions:
    """Read the settings and determine the port. 0 picks a free one; `None` keeps that of the settings.

    Raises `SettingsError`, also if another program listens on one of the ports.
    """
    settings = load(UpSettings, config, environ)
    if port is not None:
        if not settings.is_local:
            raise SettingsError([f"--port is for a gateway on this machine; the issuer is {settings.issuer}"])
        port = port or ports.free_port()
        settings = load(UpSettings, config, {**environ, "ISSUER": _with_port(settings.issuer, port)})
    listen = _envoy_listen(settings, port)
    faults: list[str] = []
    for address in [*listen, *map(_tcp_address, settings.http_redirect_listen)]:
        try:
            check_free(address)
        except SettingsError as error:
            faults += [f"{fault} (another port: --port N)" for fault in error.faults]
    if faults:
        raise SettingsError(faults)
    return UpOptions(settings, tuple(str(address) for address in listen))


def _envoy_listen(settings: UpSettings, port: int | None) -> list[TcpAddress]:
    """Envoy's addresses: those of the settings, else that of a loopback issuer, else a default."""
    if settings.envoy_listen:
        addresses = [_tcp_address(text) for text in settings.envoy_listen]
        if port is not None:
            addresses = [TcpAddress(host=address.host, port=port) for address in addresses]
        return addresses
    if not settings.is_local:
        if settings.terminates_tls:
            return [TcpAddress(host=_EVERYWHERE, port=DEFAULT_PORTS["https"])]
        return [TcpAddress(host="127.0.0.1", port=8080)]
    parts = urlsplit(settings.issuer)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    if parts.hostname != "localhost":
        return [TcpAddress(host=parts.hostname or "", port=port)]
    # Both addresses: otherwise another program could take the one that browsers try first.
    return [TcpAddress(host=host, port=port) for host in ("127.0.0.1", *(("::1",) if ports.has_ipv6() else ()))]


def _tcp_address(text: str) -> TcpAddress:
    address = parse_address(text)
    if isinstance(address, UnixAddress):
        raise SettingsError([f"{address} is not an IP address and a port"])
    return address


def _with_port(issuer: str, port: int) -> str:
    parts = urlsplit(issuer)
    host = bracketed(parts.hostname or "")
    return f"{parts.scheme}://{host}{'' if port == DEFAULT_PORTS[parts.scheme] else f':{port}'}{parts.path}"
