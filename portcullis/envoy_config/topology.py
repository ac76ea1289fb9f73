"""The addresses in the settings, parsed once, with all faults reported together.

`host:port` and `unix:/path` are the addresses of our own programs; an MCP service has
`http://host:port/path`, `https://host:port/path` or `unix:/socket:/path`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from oauth_core.display_text import is_displayable
from oauth_core.errors import SettingsError
from oauth_core.net.listen_addresses import (
    ListenAddress,
    TcpAddress,
    UnixAddress,
    bracketed,
    parse,
    parse_socket_path,
)
from oauth_core.net.public_urls import DEFAULT_PORTS
from oauth_core.net.quoted_addresses import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from oauth_core.model import Service
    from oauth_core.settings import EnvoySettings

_Read = TypeVar("_Read")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*|")


@dataclass(frozen=True, slots=True)
class Upstream:
    """An HTTP origin to which Envoy sends requests.

    `host` is the `Host` header of these requests, and `path` replaces the public path of the service.
    """

    endpoint: ListenAddress
    host: str
    path: str
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Topology:
    """The parsed addresses of one gateway. `services` keeps the order of the settings.

    `listen` is not empty, and neither are `web` and `authz`, which have an address for each process.
    """

    listen: tuple[TcpAddress, ...]
    admin: ListenAddress
    web: tuple[ListenAddress, ...]
    authz: tuple[ListenAddress, ...]
    standin: ListenAddress | None
    acme: ListenAddress | None
    redirect: tuple[TcpAddress, ...]
    services: tuple[tuple[Service, Upstream], ...]


def parse_upstream(text: str) -> Upstream:
    """Read the origin of an MCP service. Raises `ValueError` with the fault."""
    if not is_displayable(text):  # `urlsplit` would drop some characters silently
        raise ValueError(f"{quoted(text)} is not plain text".lstrip())
    if text.startswith("unix:"):
        socket, colon, path = text.removeprefix("unix:").rpartition(":/")
        if not colon:
            raise ValueError(f"{quoted(text)} does not say which path: unix:/socket:/path".lstrip())
        # A socket has no host name, and Python MCP servers refuse every name but this one.
        return Upstream(parse_socket_path(socket), "localhost", _checked_path(f"/{path}"))
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{quoted(text)} is not a URL".lstrip()) from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"{quoted(text)} is none of http://…, https://… and unix:/socket:/path".lstrip())
    if parts.query or parts.fragment or "?" in text or "#" in text or "@" in parts.netloc:
        raise ValueError(f"{quoted(text)} must have no user name, query or fragment".lstrip())
    name = parts.hostname or ""
    endpoint = parse(f"{bracketed(name)}:{DEFAULT_PORTS[parts.scheme] if port is None else port}")
    host = f"{bracketed(name)}:{port}" if port else bracketed(name)
    return Upstream(endpoint, host, _checked_path(parts.path), tls=parts.scheme == "https")


def topology(settings: EnvoySettings) -> Topology:
    """Parse every address in the settings. Raises `SettingsError` with all the faults."""
    faults: list[str] = []
    nowhere: ListenAddress = UnixAddress(Path("/"))

    def read(what: str, parse: Callable[[str], _Read], text: str, instead: _Read) -> _Read:
        try:
            return parse(text)
        except ValueError as error:
            faults.append(f"{what}: {error}")
            return instead

    def endpoint(what: str, text: str) -> ListenAddress:
        return read(what, parse, text, nowhere)

    def endpoints(what: str, texts: tuple[str, ...]) -> list[ListenAddress]:
        found = [endpoint(_numbered(what, texts, number), text) for number, text in enumerate(texts)]
        if not found:
            faults.append(f"{what} is empty")
        elif len(set(found)) < len(found):
            faults.append(f"{what} names an address twice")
        return found

    def listeners(what: str, texts: tuple[str, ...]) -> list[TcpAddress]:
        return [
            read(_numbered(what, texts, number), _listener, text, TcpAddress(text, 0))
            for number, text in enumerate(texts)
        ]

    listen = listeners("envoy.listen", settings.envoy_listen)
    if not listen:
        faults.append("envoy.listen is empty")
    if len(set(listen)) < len(listen):
        faults.append("envoy.listen names an address twice")
    admin = read("envoy.admin", _admin, settings.envoy_admin, nowhere)
    web = endpoints("envoy.web_upstream", settings.web_upstream)
    authz = endpoints("envoy.authz_upstream", settings.authz_upstream)
    if settings.authz_upstream_ca and not settings.authz_upstream_name and not _one_host(authz):
        faults.append(
            "envoy.authz_upstream_name is not set: say which name the check service's certificate carries"
        )
    standin = endpoint("envoy.standin_upstream", settings.standin_upstream) if settings.standin_upstream else None
    acme = endpoint("acme.upstream", settings.acme_upstream) if settings.uses_acme else None
    redirect = listeners("tls.http_redirect_listen", settings.http_redirect_listen)
    if len({*listen, *redirect}) < len(set(listen)) + len(redirect):
        faults.append("tls.http_redirect_listen names an address twice, or one of envoy.listen")
    services = []
    for service in settings.resolved_services:
        try:
            services.append((service, parse_upstream(service.upstream)))
        except ValueError as error:
            faults.append(f"upstream of service {service.name}: {error}")
    if faults:
        raise SettingsError(faults)
    return Topology(
        listen=tuple(listen),
        admin=admin,
        web=tuple(web),
        authz=tuple(authz),
        standin=standin,
        acme=acme,
        redirect=tuple(redirect),
        services=tuple(services),
    )


def _numbered(what: str, texts: tuple[str, ...], index: int) -> str:
    """The setting and the number of its address: an error message cannot quote every address."""
    return f"{what}: number {index + 1}" if len(texts) > 1 else what


def _one_host(endpoints: list[ListenAddress]) -> bool:
    hosts = {endpoint.host if isinstance(endpoint, TcpAddress) else None for endpoint in endpoints}
    return len(hosts) == 1 and None not in hosts


def _listener(text: str) -> TcpAddress:
    address = _on_this_machine(text)
    if not isinstance(address, TcpAddress) or not address.is_ip:
        raise ValueError(f"{quoted(text)} is not an IP address and a port".lstrip())
    return address


def _admin(text: str) -> ListenAddress:
    # A caller of the admin interface can stop Envoy and read its whole configuration; it has no password.
    address = _on_this_machine(text)
    if isinstance(address, TcpAddress) and not (address.is_ip and address.is_loopback):
        raise ValueError(f"{quoted(text)} is open to others; use a loopback address or unix:/path".lstrip())
    return address


def _on_this_machine(text: str) -> ListenAddress:
    """Read a listen address. Envoy listens on addresses, not on names; `localhost` is the only accepted name."""
    return parse(f"127.0.0.1:{text.removeprefix('localhost:')}" if text.startswith("localhost:") else text)


def _checked_path(path: str) -> str:
    if not _PATH.fullmatch(path) or any(part in {".", ".."} for part in path.split("/")) or "//" in path:
        raise ValueError("its path is not plain")
    return path
