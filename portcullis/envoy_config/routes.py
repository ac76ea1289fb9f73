"""The virtual hosts: they map each host and path to an upstream. All other paths are 404.

A service is reached at exactly its path, with or without a slash at the end, or below it, in the exact spelling of
its URL: `/time/mcp` and `/time/mcp/x`, never `/time/mcpx`. A service with tool rules has no paths below its own,
unless the settings allow them: the rules cover messages to the MCP endpoint only.

Each such route gives the check service the name of its service, and the check service refuses when host and path
name another one. So a wrong route gives no access.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    Route,
    RouteAction,
    RouteActionMaxStreamDuration,
    RouteConfiguration,
    RouteMatch,
    RouteMatchConnectMatcher,
    VirtualHost,
)

from oauth_core.net.public_urls import DEFAULT_PORTS, path_of, well_known
from oauth_core.tokens import service_assertions
from portcullis.envoy_config import caller, replicas
from portcullis.envoy_config.checks import checked
from portcullis.envoy_config.clusters import STANDIN, WEB, service_cluster
from portcullis.envoy_config.filters import for_all, for_clients, for_own_answers, for_people
from portcullis.envoy_config.locations import LOCATIONS, rewritten
from portcullis.envoy_config.messages import exactly, matching, overwrite, seconds
from portcullis.envoy_config.rate_limit import BUSY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from envoy_data_plane.envoy.config.core.v3 import HeaderValueOption
    from envoy_data_plane.google.protobuf import Any

    from oauth_core.model import Service
    from oauth_core.settings import EnvoySettings
    from portcullis.envoy_config.topology import Topology, Upstream

_WEB_SECONDS = 30
_NOT_SENT = "connect-failure,refused-stream,reset-before-request"
_STREAM_IDLE_SECONDS = 3600
"""How long an event stream may be silent. The check service decides how long it may stay open."""

MCP_METHODS = ("GET", "POST", "DELETE")
_METHODS = matching("|".join((*MCP_METHODS, "OPTIONS")))  # the last for preflights, which a filter answers
_JSON = matching(r"(?i)application/json\s*(;.*)?")

_RESOURCE_METADATA = "/.well-known/oauth-protected-resource"
# Below the issuer's path: paths for MCP clients, also for those in web pages ...
_CLIENT_PATHS = (
    *("/token", "/device_authorization", "/revoke", "/introspect"),
    *("/.well-known/jwks.json", service_assertions.PATH),
)
_DOCUMENTS = ("oauth-authorization-server", "openid-configuration")
_CLIENT_TREES = ("/register", *(f"/.well-known/{document}" for document in _DOCUMENTS))
# ... and paths for people and probes.
_PEOPLE_PATHS = ("/", "/callback", "/device")
_PEOPLE_TREES = ("/authorize", "/account")
_ANYTHING = RouteMatch(prefix="/")
_TUNNELS = RouteMatch(connect_matcher=RouteMatchConnectMatcher())
"""CONNECT, which has no path and so matches no other route; without an answer it would wait for its timeout."""

_STANDIN = "/_github"

_PEER = overwrite(caller.ADDRESS, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")
"""The caller's address, without a trusted proxy."""


def route_configuration(settings: EnvoySettings, topology: Topology) -> RouteConfiguration:
    """Every virtual host of the gateway, and a last one that refuses unknown hosts with 421."""
    issuer = urlsplit(settings.issuer).netloc
    hosts: dict[str, list[tuple[Service, Upstream]]] = {issuer: []}
    schemes: dict[str, set[str]] = {issuer: {urlsplit(settings.issuer).scheme}}
    for service, upstream in topology.services:
        url = urlsplit(service.resource)
        hosts.setdefault(url.netloc, []).append((service, upstream))
        schemes.setdefault(url.netloc, set()).add(url.scheme)
    return RouteConfiguration(
        name="gateway",
        virtual_hosts=[
            *(
                VirtualHost(
                    name=host,
                    domains=_domains(host, schemes[host]),
                    routes=[
                        *(_issuer_routes(settings, topology) if host == issuer else _metadata_routes(settings)),
                        *_service_routes(settings, services, beside_sign_in=host == issuer),
                        _answer(404, "not_found", _ANYTHING),
                        _answer(405, "method_not_allowed", _TUNNELS),
                    ],
                    retry_policy=_retries(),
                )
                for host, services in hosts.items()
            ),
            unknown_hosts(settings),
        ],
        typed_per_filter_config=for_all(settings),
        # These headers name the software behind the gateway.
        response_headers_to_remove=[
            "server",
            "x-powered-by",
            "x-envoy-ratelimited",
            "x-envoy-upstream-service-time",
        ],
    )


def unknown_hosts(settings: EnvoySettings) -> VirtualHost:
    """The virtual host for unknown host names: 421. On paths of services `mcp_replies` names their addresses."""
    description = f"Nothing is served under this host name. The gateway is at {settings.issuer}"
    return VirtualHost(
        name="unknown-hosts",
        domains=["*"],
        routes=[
            _answer(421, "misdirected_request", match, description=description) for match in (_ANYTHING, _TUNNELS)
        ],
    )


def _domains(host: str, schemes: set[str]) -> list[str]:
    """A client may write the default port or leave it out (RFC 9110 section 4.2.3)."""
    if urlsplit(f"//{host}").port is not None:
        return [host]
    return [host, *(f"{host}:{DEFAULT_PORTS[scheme]}" for scheme in sorted(schemes))]


def _issuer_routes(settings: EnvoySettings, topology: Topology) -> Iterator[Route]:
    below = path_of(settings.issuer)
    for path in _CLIENT_PATHS:
        yield _web(RouteMatch(path=f"{below}{path}"), for_clients(settings))
    for tree in _CLIENT_TREES:
        yield _web(_at_or_below(f"{below}{tree}"), for_clients(settings))
    yield _web(_at_or_below(_RESOURCE_METADATA), for_clients(settings))
    if below:
        for document in _DOCUMENTS:
            yield _web(RouteMatch(path=path_of(well_known(settings.issuer, document))), for_clients(settings))
        yield _web(RouteMatch(path=below), for_people(settings))
    for path in _PEOPLE_PATHS:
        yield _web(RouteMatch(path=f"{below}{path}"), for_people(settings))
    yield _web(RouteMatch(path=replicas.HEALTH_PATH), for_people(settings))
    for tree in _PEOPLE_TREES:
        yield _web(_at_or_below(f"{below}{tree}"), for_people(settings))
    if topology.standin is not None:
        yield _web(_at_or_below(_STANDIN), for_people(settings), cluster=STANDIN)


def _metadata_routes(settings: EnvoySettings) -> Iterator[Route]:
    """On a host with services only: the one document that clients look for there (RFC 9728 section 3)."""
    yield _web(_at_or_below(_RESOURCE_METADATA), for_clients(settings))


def _service_routes(
    settings: EnvoySettings, services: Iterable[tuple[Service, Upstream]], *, beside_sign_in: bool
) -> Iterator[Route]:
    def length(pair: tuple[Service, Upstream]) -> int:
        return len(urlsplit(pair[0].resource).path)

    # Envoy takes the first match, so the longest path comes first: as in `oauth_core.policy.resources`.
    for service, upstream in sorted(services, key=length, reverse=True):
        path = urlsplit(service.resource).path
        endpoint = [RouteMatch(path=path or "/"), *([RouteMatch(path=f"{path}/")] if path else [])]
        below = RouteMatch(prefix=f"{path}/")
        filters = checked(service, settings)
        yield from _refusals(filters, *endpoint, *([below] if service.subpaths else []))
        # Cookies of the issuer's host are a person's session with the authorization server: no service may see
        # them.
        withheld = ("cookie",) if beside_sign_in else ()
        for place in endpoint:
            route = _service(service, upstream, place, filters, rewrite=upstream.path or "/", withheld=withheld)
            # An MCP endpoint does not redirect. A framework's `Location` there names the upstream.
            yield replace(route, response_headers_to_remove=["location"])
        if service.subpaths:
            filters = {**filters, LOCATIONS: rewritten(service, upstream)}
            rewrite = f"{upstream.path.rstrip('/')}/"
            yield _service(service, upstream, below, filters, rewrite=rewrite, withheld=withheld)
        else:
            yield _answer(404, "not_found", below)


def _refusals(checked: dict[str, Any], *matches: RouteMatch) -> Iterator[Route]:
    """Routes that refuse requests which no MCP service gets: other methods, and calls that are not JSON.

    The check still comes first, so that a caller without a token gets the 401 only.
    """
    for match in matches:
        other = replace(match, headers=[HeaderMatcher(name=":method", string_match=_METHODS, invert_match=True)])
        allow = overwrite("allow", ", ".join(MCP_METHODS))
        yield _answer(405, "method_not_allowed", other, checked, allow)
        not_json = HeaderMatcher(
            name="content-type", string_match=_JSON, invert_match=True, treat_missing_header_as_empty=True
        )
        call = HeaderMatcher(name=":method", string_match=exactly("POST"))
        yield _answer(415, "unsupported_media_type", replace(match, headers=[call, not_json]), checked)


def _service(
    service: Service,
    upstream: Upstream,
    match: RouteMatch,
    filters: dict[str, Any],
    *,
    rewrite: str,
    withheld: tuple[str, ...],
) -> Route:
    return Route(
        name=service.name,
        match=match,
        route=RouteAction(
            cluster=service_cluster(service),
            prefix_rewrite=rewrite,
            host_rewrite_literal=upstream.host,
            timeout=seconds(0),  # an answer may be a stream that never ends by itself
            idle_timeout=seconds(_STREAM_IDLE_SECONDS),
        ),
        # Envoy has checked the origin already; Python MCP servers would refuse every origin but their own.
        # A client certificate binds a token at the check; the service gets the caller in identity headers only.
        request_headers_to_remove=["origin", "x-forwarded-client-cert", *withheld],
        typed_per_filter_config=filters,
    )


def _web(match: RouteMatch, filters: dict[str, Any], *, cluster: str = WEB) -> Route:
    return Route(
        name=cluster,
        match=match,
        route=RouteAction(
            cluster=cluster,
            timeout=seconds(_WEB_SECONDS),
            # The time above begins when a request is complete. This time begins with its headers, so a body that
            # comes a byte at a time does not keep a connection busy for longer.
            max_stream_duration=RouteActionMaxStreamDuration(max_stream_duration=seconds(_WEB_SECONDS)),
            retry_policy=_retries_elsewhere(),
        ),
        # Headers of the rate limits: the caller's own are removed.
        request_headers_to_remove=[BUSY, caller.NETWORK],
        request_headers_to_add=[] if caller.CALLER in filters else [_PEER],
        typed_per_filter_config=filters,
    )


def _retries() -> RetryPolicy:
    """Retry only a request that was certainly not sent: no tool is ever called twice."""
    return RetryPolicy(retry_on=_NOT_SENT, num_retries=1)


def _retries_elsewhere() -> RetryPolicy:
    """The same, at another process of the authorization server: a code or a form is never used twice either."""
    return RetryPolicy(
        retry_on=_NOT_SENT,
        num_retries=replicas.RETRIES,
        retry_host_predicate=[
            RetryPolicyRetryHostPredicate(name=replicas.PREVIOUS_HOSTS, typed_config=replicas.another_one())
        ],
        host_selection_retry_max_attempts=replicas.ATTEMPTS_TO_FIND_ANOTHER,
    )


def _answer(
    status: int,
    error: str,
    match: RouteMatch,
    filters: dict[str, Any] | None = None,
    *headers: HeaderValueOption,
    description: str | None = None,
) -> Route:
    """A route that Envoy answers itself."""
    said = {"error": error, **({} if description is None else {"error_description": description})}
    return Route(
        name=error,
        match=match,
        direct_response=DirectResponseAction(status=status, body=DataSource(inline_string=json.dumps(said))),
        response_headers_to_add=[
            overwrite("content-type", "application/json"),
            overwrite("cache-control", "no-store"),
            *headers,
        ],
        typed_per_filter_config=for_own_answers() if filters is None else filters,
    )


def _at_or_below(path: str) -> RouteMatch:
    return RouteMatch(path_separated_prefix=path)
