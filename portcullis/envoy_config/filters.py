"""The HTTP filters in the order in which a request meets them, and what a route may say to each.

CORS answers preflights; the origin rule refuses foreign web pages; ext_authz asks the check service; only what
it allowed is buffered, up to the size limit; then the router. The check stands before the buffer on purpose: a
caller without a token is refused by headers alone and cannot make Envoy hold megabytes for him.

The check is on unless a route turns it off, so a route that somebody forgot is a closed one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.core.v3 import ApiVersion, GrpcService, GrpcServiceEnvoyGrpc
from envoy_data_plane.envoy.config.rbac.v3 import (
    Permission,
    PermissionSet,
    Policy,
    Principal,
    RbacAction,
)
from envoy_data_plane.envoy.config.rbac.v3 import (
    Rbac as RbacRules,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer, BufferPerRoute
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors, CorsPolicy
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    CheckSettings,
    ExtAuthz,
    ExtAuthzPerRoute,
)
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac, RbacPerRoute
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from portcullis.envoy_config.clusters import AUTHZ
from portcullis.envoy_config.messages import exactly, matching, packed, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import betterproto2
    from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
    from envoy_data_plane.google.protobuf import Any

    from oauth_core.settings import EnvoySettings

CORS = "envoy.filters.http.cors"
ORIGINS = "envoy.filters.http.rbac"
CHECK = "envoy.filters.http.ext_authz"
BUFFER = "envoy.filters.http.buffer"
ROUTER = "envoy.filters.http.router"

SERVICE_EXTENSION = "portcullis.service"
"""The context extension by which a route tells the check service which service it leads to."""

CHECK_SECONDS = 2
_WEB_BYTES = 64 * 1024
"""Plenty for a registration or a form. These routes are open to everybody, so they get no more."""

_LOOPBACK_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
_METHODS = "GET, POST, PUT, DELETE, OPTIONS"
_REQUEST_HEADERS = (
    "Authorization, Content-Type, Mcp-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, Last-Event-ID"
)
_RESPONSE_HEADERS = "WWW-Authenticate, Mcp-Session-Id"
_PREFLIGHT_SECONDS = "600"


def http_filters(settings: EnvoySettings) -> list[HttpFilter]:
    """The filters of every request, first to last."""
    return [
        _filter(CORS, Cors()),
        _filter(ORIGINS, Rbac()),
        _filter(CHECK, _check()),
        _filter(BUFFER, Buffer(max_request_bytes=settings.max_request_bytes)),
        _filter(ROUTER, Router(suppress_envoy_headers=True)),
    ]


def allowed_origins(settings: EnvoySettings) -> list[StringMatcher]:
    """The web origins whose pages may call the gateway: those in the settings, and local ones on one machine."""
    local = [matching(_LOOPBACK_ORIGIN)] if settings.is_local else []
    return [*(exactly(origin) for origin in settings.allowed_origins), *local]


def for_service(name: str, origins: Sequence[StringMatcher]) -> dict[str, Any]:
    """Per-route settings of a route to the MCP service `name`: checked, and closed to foreign origins."""
    return {
        CORS: packed(_cors(origins)),
        ORIGINS: packed(RbacPerRoute(rbac=Rbac(rules=_foreign_origins(origins)))),
        CHECK: packed(
            ExtAuthzPerRoute(check_settings=CheckSettings(context_extensions={SERVICE_EXTENSION: name}))
        ),
    }


def for_web(origins: Sequence[StringMatcher] | None) -> dict[str, Any]:
    """Per-route settings of a route to the authorization server; with `origins`, browsers' scripts may call it."""
    cors = {} if origins is None else {CORS: packed(_cors(origins))}
    return {
        **cors,
        **unchecked(),
        BUFFER: packed(BufferPerRoute(buffer=Buffer(max_request_bytes=_WEB_BYTES))),
    }


def unchecked() -> dict[str, Any]:
    """Turn the check off, for the authorization server and for answers that Envoy gives by itself."""
    return {CHECK: packed(ExtAuthzPerRoute(disabled=True))}


def _filter(name: str, config: betterproto2.Message) -> HttpFilter:
    return HttpFilter(name=name, typed_config=packed(config))


def _check() -> ExtAuthz:
    return ExtAuthz(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=AUTHZ), timeout=seconds(CHECK_SECONDS)
        ),
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=False,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        validate_mutations=True,
        clear_route_cache=False,
        include_peer_certificate=False,
        stat_prefix="portcullis",
    )


def _cors(origins: Sequence[StringMatcher]) -> CorsPolicy:
    return CorsPolicy(
        allow_origin_string_match=list(origins),
        allow_methods=_METHODS,
        allow_headers=_REQUEST_HEADERS,
        expose_headers=_RESPONSE_HEADERS,
        max_age=_PREFLIGHT_SECONDS,
        allow_credentials=False,
    )


def _foreign_origins(origins: Sequence[StringMatcher]) -> RbacRules:
    """Refuse a request that says it comes from a page of another origin; programs send no `Origin` at all."""
    present = Permission(header=HeaderMatcher(name="origin", present_match=True))
    allowed = [Permission(header=HeaderMatcher(name="origin", string_match=origin)) for origin in origins]
    foreign = [Permission(not_rule=Permission(or_rules=PermissionSet(rules=allowed)))] if allowed else []
    return RbacRules(
        action=RbacAction.DENY,
        policies={
            "foreign-origin": Policy(
                permissions=[Permission(and_rules=PermissionSet(rules=[present, *foreign]))],
                principals=[Principal(any=True)],
            )
        },
    )
