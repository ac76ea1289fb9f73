"""Finds the service of a request: by resource identifier (RFC 8707), or by host and path.

Both look-ups are exact, except for spellings that a client may choose, and return `None` for anything unusual: a
request that matches no service is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from oauth_core.net.public_urls import DEFAULT_PORTS, well_known
from oauth_core.policy.permissions import implies, in_words
from oauth_core.policy.scopes import of_service

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oauth_core.model import Service

_METADATA = "oauth-protected-resource"
# Spellings of one path that a proxy and a service may read differently. Envoy normalises paths before the check,
# so such a path is an attack: empty and dotted segments; escaped separators, dots, percent signs and control
# characters (%c0 and %c1 begin only overlong ones); and characters that no path may contain unescaped.
_AMBIGUOUS_PATH = re.compile(
    r"//|/\.{1,2}(?:/|$)|%(?:[01][0-9a-f]|2[5ef]|5c|7f|c[01])|[^\x21-\x7e]|[\\;?#]", re.IGNORECASE
)

# Services have few addresses, and callers request the same ones repeatedly.
_MOST_CACHED = 1024
_LONGEST_CACHED = 256


def metadata_url(resource: str) -> str:
    """The URL of the metadata of `resource`: the well-known part precedes the path (RFC 9728 section 3.1)."""
    return well_known(resource, _METADATA)


@dataclass(frozen=True, slots=True)
class ServiceRights:
    """The rights that scopes give at one service, for people: its title, its scopes, and the permissions.

    `permissions` is empty where the title is enough: everything needs the one scope.
    """

    title: str
    scope: str
    permissions: tuple[str, ...]


class ServiceIndex:
    """The services of a gateway, found by the names in requests."""

    def __init__(self, services: Iterable[Service]) -> None:
        self.services = tuple(services)
        self.scopes = frozenset(scope for service in self.services for scope in of_service(service))
        """Every scope that a token may have here."""
        self._by_resource = {service.resource: service for service in self.services}
        self._by_name = {service.name: service for service in self.services}
        self._by_request: dict[tuple[str, str], Service] = {}
        self._by_host: dict[str, list[tuple[str, Service]]] = {}
        for service in self.services:
            for host in self.hosts_of(service):
                self._by_host.setdefault(host, []).append((urlsplit(service.resource).path, service))
        for places in self._by_host.values():
            places.sort(key=lambda place: len(place[0]), reverse=True)

    def replace_with(self, other: ServiceIndex) -> None:
        """Replace the services by those of `other`, for all holders of this index."""
        self.__dict__.update(other.__dict__)

    @staticmethod
    def hosts_of(service: Service) -> tuple[str, ...]:
        """The values of `Host` for the service: a default port may be written or left out."""
        parts = urlsplit(service.resource)
        return (parts.netloc,) if parts.port else (parts.netloc, f"{parts.netloc}:{DEFAULT_PORTS[parts.scheme]}")

    def by_resource(self, resource: str) -> Service | None:
        """The service with the identifier `resource`; a slash at the end is ignored."""
        return self._by_resource.get(resource) or self._by_resource.get(resource.removesuffix("/"))

    def by_name(self, name: str) -> Service | None:
        """The service with this `name` in the settings."""
        return self._by_name.get(name)

    def by_request(self, host: str, path: str) -> Service | None:
        """The service that a request for `path` (without its query) at `host` (as in `Host`) reaches."""
        known = self._by_request.get((host, path))
        if known is not None:
            return known
        found = self._look_up(host, path)
        if found is not None and len(path) <= _LONGEST_CACHED:
            if len(self._by_request) >= _MOST_CACHED:
                self._by_request.clear()
            self._by_request[host, path] = found
        return found

    def _look_up(self, host: str, path: str) -> Service | None:
        # Only ASCII: outside it there are letters whose lower case is an ASCII letter of another host.
        if _AMBIGUOUS_PATH.search(path) or not host.isascii():
            return None
        for prefix, service in self._by_host.get(host.lower(), ()):
            if path in {prefix, f"{prefix}/"}:
                return service
            if path.startswith(f"{prefix}/"):
                return service if service.subpaths else None
        return None

    def rights_in_words(self, scopes: Iterable[str]) -> tuple[ServiceRights, ...]:
        """The rights that `scopes` give, for people."""
        granted = tuple(scopes)
        return tuple(_rights_at(service, granted) for service in self.reached_by(granted))

    def reached_by(self, scopes: Iterable[str]) -> tuple[Service, ...]:
        """The services for which `scopes` give at least one permission, in the order of the settings."""
        granted = frozenset(scopes)
        return tuple(
            service for service in self.services if any(implies(granted, name) for name in service.permissions)
        )


def _rights_at(service: Service, scopes: tuple[str, ...]) -> ServiceRights:
    titles, granted = dict(service.permission_titles), frozenset(scopes)
    listed = service.permissions if titles or service.permissions != (service.scope,) else ()
    return ServiceRights(
        service.title,
        " ".join(scope for scope in scopes if scope in of_service(service)),
        tuple(
            titles.get(name) or in_words(name, service=service.name) for name in listed if implies(granted, name)
        ),
    )
