"""The HTTP connection manager: it reads, cleans and bounds requests before any filter sees them.

First of all it removes the caller's headers that Envoy or a service would trust. It normalizes paths, or refuses
those that two programs could read differently. It bounds sizes, counts and times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation, HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    CidrRange,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerForwardClientCertDetails,
    HttpConnectionManagerInternalAddressConfig,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
    HttpConnectionManagerSetCurrentClientCertDetails,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)

from portcullis.envoy_config.filters import http_filters, router
from portcullis.envoy_config.messages import matching, packed, seconds
from portcullis.envoy_config.overload import IDLE_SECONDS
from portcullis.envoy_config.redirect import redirect_routes
from portcullis.envoy_config.replies import access_log, local_replies, refusals_log
from portcullis.envoy_config.routes import route_configuration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

    from oauth_core.settings import EnvoySettings
    from portcullis.envoy_config.topology import Topology

SAID_BY_PROXIES = ("for", "proto")
"""The two of the `x-forwarded-` family that Envoy itself reads, from a trusted proxy."""

_ANY = "[!-~]"
"""An RE2 class of every character of a header name."""

_NO_WORD = "[!-/:-`{-~]"
"""The same without digits and lower-case letters."""

_NO_HYPHEN = "[!-,.-~]"
_NO_WORD_NOR_HYPHEN = "[!-,./:-`{-~]"

_OF_PROXIES = (
    *("proxy", "x-host", "x-scheme", "x-proto", "x-protocol", "x-port", "x-prefix", "x-server", "x-url-scheme"),
    *("x-script-name", "script-name", "path-info", "request-uri", "x-request-uri", "front-end-https"),
    *("remote-user", "x-remote-user", "remote-addr", "x-remote-addr", "x-remote-ip", "x-real-ip", "client-ip"),
    *("x-client-ip", "true-client-ip", "cf-connecting-ip", "fastly-client-ip", "x-cluster-client-ip"),
)
"""Names that only a proxy may set: a program behind could read the caller's address or request from them.

`Proxy` becomes the variable HTTP_PROXY in programs that read headers as CGI does (CVE-2016-5385, "httpoxy").
"""

_FAMILIES_OF_PROXIES = (
    *("proxy-", "forwarded", "x-original-", "x-rewrite-", "x-override-", "x-http-", "x-real-", "x-envoy-"),
    "x-portcullis-",
)
"""Beginnings of such names. `Proxy-Authorization` has the caller's password for a proxy, which no service may
see; `x-envoy-upstream-rq-timeout-ms` decides how long a stream may stay open."""

_REPLACED = "(method|url|uri|path|host|scheme|proto|port|ip|user)"
_OTHER_METHODS = (
    f"x{_NO_WORD}({_ANY}*{_NO_WORD})?method",
    f"(x{_NO_WORD}?)?http{_NO_WORD}?method",
    "xmethod",
    f"{_ANY}*{_REPLACED}{_NO_WORD}?override{_ANY}*",
    f"{_ANY}*override{_NO_WORD}?{_REPLACED}{_ANY}*",
)
"""Headers with which frameworks let a caller name another method, path or host than the checked one:
X-HTTP-Method, X-Method-Override, XHttpMethodOverride and the like. `Mcp-Method` and
`Access-Control-Request-Method` do not match."""

_EXACT_HYPHENS = 15

_HEADERS_KIB = 32
_HEADER_COUNT = 100
_HEADERS_SECONDS = 5
_REQUEST_SECONDS = 60
_CHECKED_REQUEST_SECONDS = 20
"""The same if a service has tool rules: Envoy holds its bodies until they are complete."""
_STREAM_IDLE_SECONDS = 300


def connection_manager(settings: EnvoySettings, topology: Topology) -> HttpConnectionManager:
    """The HTTP connection manager of the gateway."""
    return _bounded(
        settings,
        stat_prefix="gateway",
        route_config=route_configuration(settings, topology),
        http_filters=http_filters(settings),
        local_reply_config=local_replies(settings.resolved_services),
        **_client_certificates(settings),
    )


def redirect_manager(settings: EnvoySettings) -> HttpConnectionManager:
    """The connection manager of the plain HTTP listener beside TLS: the same limits, with redirects only."""
    return _bounded(
        settings,
        stat_prefix="redirect",
        route_config=redirect_routes(settings),
        http_filters=[router()],
        local_reply_config=local_replies(),
    )


def _client_certificates(settings: EnvoySettings) -> dict[str, Any]:
    """With client certificates: set `x-forwarded-client-cert` to the hash, and drop the caller's header."""
    if settings.tls_client_ca is None:
        return {}
    return {
        "forward_client_cert_details": HttpConnectionManagerForwardClientCertDetails.SANITIZE_SET,
        "set_current_client_cert_details": HttpConnectionManagerSetCurrentClientCertDetails(),
    }


def _bounded(settings: EnvoySettings, **particulars: Any) -> HttpConnectionManager:
    """A connection manager that cleans and bounds; it detects HTTP/1.1 and HTTP/2 by their first bytes."""
    return HttpConnectionManager(
        codec_type=HttpConnectionManagerCodecType.AUTO,
        early_header_mutation_extensions=[_clean_headers(settings)],
        use_remote_address=True,
        xff_num_trusted_hops=settings.trusted_proxies,
        internal_address_config=_nobody(),
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.REJECT_REQUEST,
        max_request_headers_kb=_HEADERS_KIB,
        common_http_protocol_options=HttpProtocolOptions(
            max_headers_count=_HEADER_COUNT,
            idle_timeout=seconds(IDLE_SECONDS),
            # Many servers read `x_user_id` and `x-user-id` as one variable.
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
        ),
        # Envoy ignores an offered upgrade, and the client continues without it (RFC 9110 section 7.8).
        http_protocol_options=Http1ProtocolOptions(ignore_http_11_upgrade=[matching(".*")]),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=100,
            initial_stream_window_size=64 * 1024,
            initial_connection_window_size=1024 * 1024,
        ),
        request_headers_timeout=seconds(_HEADERS_SECONDS),
        request_timeout=seconds(_until_complete(settings)),  # not for answers, which may be streams
        stream_idle_timeout=seconds(_STREAM_IDLE_SECONDS),
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        access_log=[access_log(), refusals_log()],
        **particulars,
    )


def _until_complete(settings: EnvoySettings) -> int:
    """Seconds within which a complete request must come. Envoy has one limit for all routes of a listener."""
    has_rules = any(service.rules is not None for service in settings.resolved_services)
    return _CHECKED_REQUEST_SECONDS if has_rules else _REQUEST_SECONDS


def _clean_headers(settings: EnvoySettings) -> TypedExtensionConfig:
    guarded = settings.identity_headers.guarded
    patterns = removed_names(SAID_BY_PROXIES if settings.trusted_proxies else ())
    removals = [
        *(HeaderMutation(remove=name) for name in guarded),
        *(
            HeaderMutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=matcher))
            for matcher in (
                *(_lookalikes(name) for name in guarded if "-" in name),
                *map(matching, patterns),
            )
        ),
    ]
    return TypedExtensionConfig(
        name="portcullis.clean_headers", typed_config=packed(EarlyHeaderMutation(mutations=removals))
    )


def removed_names(kept: Sequence[str]) -> tuple[str, ...]:
    """RE2 patterns of the header names that are removed besides those of identity headers.

    `x-forwarded-` with a word of `kept` stays, because Envoy reads it. The examples for other control planes have
    the same patterns.
    """
    return (
        *map(_in_any_spelling, _OF_PROXIES),
        *(f"{_in_any_spelling(family)}{_ANY}*" for family in _FAMILIES_OF_PROXIES),
        *_forwarded(kept),
        *_OTHER_METHODS,
    )


def _in_any_spelling(name: str) -> str:
    """An RE2 pattern of `name` in which each hyphen may be any sign, or absent."""
    return f"{_NO_WORD}?".join(name.split("-"))


def _forwarded(kept: Sequence[str]) -> tuple[str, ...]:
    """RE2 patterns of the family `x-forwarded` in any spelling but `x-forwarded-` with a word of `kept`."""
    if not kept:
        return (f"{_in_any_spelling('x-forwarded')}{_ANY}*",)
    return (
        f"x{_NO_WORD_NOR_HYPHEN}?forwarded{_ANY}*",
        f"x-forwarded({_NO_HYPHEN}{_ANY}*)?",
        f"x-forwarded-{_other_than(kept)}",
    )


def _lookalikes(name: str) -> StringMatcher:
    """Match names that a service could read as `name`: CGI and similar read `x.user.id` and `x-user-id` as one.

    Each name has a separate pattern, because Envoy limits the size of one compiled pattern to 100 instructions.
    Envoy converts header names to lower-case ASCII before it compares them, so the patterns cover only that: a
    negated class would compile to many instructions for UTF-8. For a name of very many words, whose pattern would
    still be too large, any character counts as a hyphen from the 16th word on.
    """
    first, *words = name.split("-")
    exact, loose = words[:_EXACT_HYPHENS], words[_EXACT_HYPHENS:]
    return matching(
        first + "".join(f"{_NO_WORD}{word}" for word in exact) + "".join(f"{_ANY}{word}" for word in loose)
    )


def _other_than(words: Sequence[str]) -> str:
    """An RE2 pattern of every header name but `words` and the empty name; RE2 has no negation of words."""
    first = sorted({word[0] for word in words if word})
    branches = [f"{_other_letters(first)}{_ANY}*"]
    for letter in first:
        rest = [word[1:] for word in words if word.startswith(letter)]
        longer = _other_than([word for word in rest if word]) if any(rest) else f"{_ANY}+"
        branches.append(f"{letter}(?:{longer}){'' if '' in rest else '?'}")
    return f"(?:{'|'.join(branches)})"


def _other_letters(letters: Sequence[str]) -> str:
    """A class of every character of header names except these sorted lower-case `letters`."""
    ranges, start = "", "!"
    for letter in letters:
        if start < letter:
            ranges += f"{start}-{chr(ord(letter) - 1)}"
        start = chr(ord(letter) + 1)
    return f"[{ranges}{start}-~]"


def _nobody() -> HttpConnectionManagerInternalAddressConfig:
    """An address that no caller can have, so that Envoy trusts no caller's headers as internal."""
    return HttpConnectionManagerInternalAddressConfig(
        cidr_ranges=[CidrRange(address_prefix="255.255.255.255", prefix_len=32)]
    )
