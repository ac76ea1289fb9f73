"""The plain HTTP listener beside TLS: it redirects known hosts to https, and answers ACME challenges.

It has no filter, no service and no sign-in. It refuses unknown hosts, so that no caller is redirected to a foreign
address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from envoy_data_plane.envoy.config.route.v3 import (
    RedirectAction,
    RedirectActionRedirectResponseCode,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)

from portcullis.envoy_config.clusters import ACME
from portcullis.envoy_config.messages import seconds
from portcullis.envoy_config.routes import unknown_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.settings import EnvoySettings

_CHALLENGES = "/.well-known/acme-challenge/"
_CHALLENGE_SECONDS = 10
_HTTPS = 443


def redirect_routes(settings: EnvoySettings) -> RouteConfiguration:
    """The routes of the plain listener."""
    urls = (settings.issuer, *(service.resource for service in settings.resolved_services))
    places = {(urlsplit(url).hostname or "", urlsplit(url).port or _HTTPS) for url in urls}
    ports: dict[str, int] = {}
    for host, port in sorted(places, reverse=True):  # of several ports use the lowest, which is likely the default
        ports[host] = port
    return RouteConfiguration(
        name="redirect",
        virtual_hosts=[
            *(
                VirtualHost(
                    name=host,
                    # Any port matches: the redirect goes by the host name.
                    domains=[_in_authority(host), f"{_in_authority(host)}:*"],
                    routes=list(_routes(settings, _in_authority(host), port)),
                )
                for host, port in sorted(ports.items())
            ),
            unknown_hosts(settings),
        ],
    )


def _routes(settings: EnvoySettings, host: str, port: int) -> Iterator[Route]:
    if settings.uses_acme:
        yield Route(
            name=ACME,
            match=RouteMatch(prefix=_CHALLENGES),
            route=RouteAction(cluster=ACME, timeout=seconds(_CHALLENGE_SECONDS)),
        )
    yield Route(
        name="to_https",
        match=RouteMatch(prefix="/"),
        # 308 keeps the method: a POST does not become a GET (RFC 9110 section 15.4.9).
        redirect=RedirectAction(
            https_redirect=True,
            host_redirect=host,
            port_redirect=0 if port == _HTTPS else port,
            response_code=RedirectActionRedirectResponseCode.PERMANENT_REDIRECT,
        ),
    )


def _in_authority(host: str) -> str:
    return f"[{host}]" if ":" in host else host
