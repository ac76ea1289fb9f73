"""The HTTP filters in the order in which they see a request, and the configuration of each on a route.

The first two change answers, whichever filter or service gave them. CORS answers preflights; the origin rule
refuses foreign web pages; three rate limits keep floods from the authorization server; the checks ask the check
service (`portcullis.envoy_config.checks`); only allowed requests are buffered, up to the size limit; then the
router. The first check is before every filter that holds a body: a caller without a token is refused by headers
alone, so Envoy holds no body for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
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
from envoy_data_plane.envoy.config.route.v3 import FilterConfig, HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer, BufferPerRoute
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors, CorsPolicy
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any

from oauth_core.net.public_urls import origin_of
from portcullis.envoy_config.answers import answer_filters
from portcullis.envoy_config.caller import CALLER, caller_filter, named_by
from portcullis.envoy_config.checks import UNCHECKED, check_filters
from portcullis.envoy_config.cross_origin import VARY, cross_origin_filter
from portcullis.envoy_config.locations import locations_filter
from portcullis.envoy_config.messages import exactly, matching, overwrite, packed
from portcullis.envoy_config.rate_limit import limited, marking, per_address, unlimited

if TYPE_CHECKING:
    from collections.abc import Sequence

    import betterproto2
    from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

    from oauth_core.settings import EnvoySettings

TRANSPORT_SECURITY = "envoy.filters.http.header_mutation"
CORS = "envoy.filters.http.cors"
ORIGINS = "envoy.filters.http.rbac"
ADDRESSES = "portcullis.addresses"
SHARES = "portcullis.shares"
RATE = "envoy.filters.http.local_ratelimit"
BUFFER = "envoy.filters.http.buffer"
ROUTER = "envoy.filters.http.router"

_WEB_BYTES = 64 * 1024
"""Enough for a registration or a form. Callers need no token on these routes, so they get no more."""

_LOOPBACK_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
_METHODS = "GET, POST, PUT, DELETE, OPTIONS"
_REQUEST_HEADERS = (
    "Authorization, Content-Type, Mcp-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, Last-Event-ID, "
    "DPoP, traceparent, tracestate, baggage"
)
"""`cross_origin` adds names that begin with `Mcp-Param-`: a list has no patterns, and `*` does not cover
`Authorization` (Fetch Standard, CORS-preflight fetch).
"""
_RESPONSE_HEADERS = "WWW-Authenticate, Mcp-Session-Id, Mcp-Protocol-Version, Retry-After"
_PREFLIGHT_SECONDS = "600"

_OFF = packed(FilterConfig(disabled=True))
_ON = packed(FilterConfig(config=Any()))
"""Turns on a filter that is off by default in the listener."""


def http_filters(settings: EnvoySettings) -> list[HttpFilter]:
    """The filters of every request, first to last."""
    return [
        *([_filter(TRANSPORT_SECURITY, _only_https(settings.hsts_max_age))] if _is_https(settings) else []),
        cross_origin_filter(),
        _filter(CORS, Cors()),
        _filter(ORIGINS, Rbac(rules=_cross_origins(_allowed_origins(settings)))),
        *([caller_filter()] if settings.trusted_proxies else []),
        replace(_filter(ADDRESSES, per_address(settings)), disabled=True),
        _filter(SHARES, unlimited()),
        _filter(RATE, unlimited()),
        *check_filters(settings),
        *answer_filters(settings),
        _filter(BUFFER, Buffer(max_request_bytes=settings.max_request_bytes)),
        locations_filter(),
        router(),
    ]


def router() -> HttpFilter:
    """The last filter: it sends the request to its upstream."""
    return _filter(ROUTER, Router())


def for_all(settings: EnvoySettings) -> dict[str, Any]:
    """The default of all routes: scripts of allowed origins may call and read (CORS)."""
    return {CORS: packed(_cors(_allowed_origins(settings)))}


def for_clients(settings: EnvoySettings) -> dict[str, Any]:
    """For the endpoints of the authorization server that OAuth clients call, also from scripts in web pages."""
    return {
        **({CALLER: named_by(settings.trusted_proxies)} if settings.trusted_proxies else {}),
        ADDRESSES: _ON,
        SHARES: packed(marking(settings)),
        RATE: packed(limited(settings)),
        **UNCHECKED,
        BUFFER: packed(BufferPerRoute(buffer=Buffer(max_request_bytes=_WEB_BYTES))),
    }


def for_people(settings: EnvoySettings) -> dict[str, Any]:
    """For the pages of the authorization server: no script of another origin may read them.

    The origin rule is off: a browser sends the origin `null` for a page that hides its address, and the
    authorization server protects its forms itself.
    """
    return {CORS: _OFF, VARY: _OFF, ORIGINS: _OFF, **for_clients(settings)}


def for_own_answers() -> dict[str, Any]:
    """For Envoy's own answers, which need no check."""
    return {CORS: _OFF, VARY: _OFF, ORIGINS: _OFF, **UNCHECKED, BUFFER: _OFF}


def _is_https(settings: EnvoySettings) -> bool:
    # Not on loopback: a browser would from then on refuse plain http to all programs on this machine.
    return settings.issuer.startswith("https://") and settings.hsts_max_age > 0 and not settings.is_local


def _only_https(seconds: int) -> HeaderMutation:
    """HSTS (RFC 6797) on every answer of any filter or service: this filter is the last to see an answer."""
    header = overwrite("strict-transport-security", f"max-age={seconds}")
    return HeaderMutation(mutations=Mutations(response_mutations=[Mutation(append=header)]))


def _allowed_origins(settings: EnvoySettings) -> list[StringMatcher]:
    local = [matching(_LOOPBACK_ORIGIN)] if settings.is_local else []
    return [*(exactly(origin) for origin in (origin_of(settings.issuer), *settings.allowed_origins)), *local]


def _filter(name: str, config: betterproto2.Message) -> HttpFilter:
    return HttpFilter(name=name, typed_config=packed(config))


def _cors(origins: Sequence[StringMatcher]) -> CorsPolicy:
    return CorsPolicy(
        allow_origin_string_match=list(origins),
        allow_methods=_METHODS,
        allow_headers=_REQUEST_HEADERS,
        expose_headers=_RESPONSE_HEADERS,
        max_age=_PREFLIGHT_SECONDS,
        allow_credentials=False,
    )


def _cross_origins(allowed: Sequence[StringMatcher]) -> RbacRules:
    """Refuse a request whose `Origin` is a page of another origin; programs send no `Origin`."""
    present = Permission(header=HeaderMatcher(name="origin", present_match=True))
    known = [Permission(header=HeaderMatcher(name="origin", string_match=origin)) for origin in allowed]
    foreign = Permission(not_rule=Permission(or_rules=PermissionSet(rules=known)))
    return RbacRules(
        action=RbacAction.DENY,
        policies={
            "cross-origin": Policy(
                permissions=[Permission(and_rules=PermissionSet(rules=[present, foreign]))],
                principals=[Principal(any=True)],
            )
        },
    )
