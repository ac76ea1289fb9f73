"""What an operator chose for one machine, and what follows from it: issuer, ports, Redis, sign-in."""

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
from oauth_core.settings import CommaList, TlsSettings, load
from portcullis.programs.serving import check_free, parse_address

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_EVERYWHERE = "0.0.0.0"  # noqa: S104 - Envoy with TLS is what the world is meant to reach


class UpSettings(TlsSettings):
    """What `portcullis up` itself must know; each program reads the rest for itself."""

    redis_url: str | None = None
    github_client_id: str | None = None
    allowed_github_users: CommaList | None = None
    envoy_listen: CommaList = ()
    authz_workers: int = Field(default=0, ge=0, le=256)


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The settings with a port settled, and where Envoy will listen."""

    settings: UpSettings
    envoy_listen: tuple[str, ...]

    @property
    def own_redis(self) -> bool:
        """Whether we run Redis: nobody named another."""
        return not self.settings.redis_url

    @property
    def standin(self) -> bool:
        """Whether sign-in goes to the local stand-in: there is no GitHub app, and only this machine is served."""
        return not self.settings.github_client_id and self.settings.is_local

    @property
    def authz_workers(self) -> int:
        """How many processes the check service has."""
        return self.settings.authz_workers or usable_cores()

    @property
    def admits_everybody(self) -> bool:
        """Whether everybody at the stand-in may sign in, since nobody said who may."""
        return self.standin and self.settings.allowed_github_users is None


def read_options(config: Path, environ: Mapping[str, str], port: int | None) -> UpOptions:
    """Read the settings and settle the port. 0 picks a free one; `None` keeps what the settings say.

    Raises `SettingsError`, also when something listens on one of the ports already.
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
    """Where the settings say, else where a loopback issuer points, else Envoy's own default."""
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
    # Both, or another program could take the one that browsers try first.
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
