"""What Envoy itself answers on routes to MCP services: errors of JSON-RPC, since the callers are MCP clients.

Envoy cannot read a body, so these have no id; the refusals of the check service, which have one where it was read,
are left as they are. `oauth_core.jsonrpc` says why clients need this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    HeaderFilter,
    MetadataFilter,
    OrFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import DataSource, RuntimeUInt32, SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import ResponseMapper
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from oauth_core import jsonrpc
from portcullis.envoy_config.checks import decision_is
from portcullis.envoy_config.messages import add_if_absent, exactly, overwrite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from oauth_core.model import Service

RETRY_SECONDS = "5"

_ANSWERS = {
    400: ("invalid_request", "The request could not be understood."),
    403: ("forbidden_origin", "Pages of this origin may not call this service."),
    404: ("not_found", "There is no such service here."),
    405: (
        "method_not_allowed",
        "A call is a POST; an event stream is opened with GET and a session ended with DELETE.",
    ),
    408: ("timeout", "The request did not come in time."),
    413: ("too_large", "The body is larger than this service takes."),
    415: ("unsupported_media_type", "The body must be application/json."),
    426: ("upgrade_required", "The request needs another version of HTTP."),
    429: ("too_many_requests", "There are too many requests right now. Try again later."),
    431: ("headers_too_large", "The headers are larger than the gateway takes."),
    500: ("server_error", "The gateway could not answer."),
    502: ("bad_gateway", "The service could not be understood."),
    503: ("temporarily_unavailable", "The service cannot be reached right now. Try again later."),
    504: ("timeout", "The service did not answer in time."),
}
_COMES_BACK = frozenset({429, 503})
_AS_JSON = SubstitutionFormatString(
    text_format_source=DataSource(inline_string="%LOCAL_REPLY_BODY%"), content_type="application/json"
)


def mcp_replies(services: Sequence[Service]) -> list[ResponseMapper]:
    """A mapper for each status that Envoy answers with by itself."""
    reached = _any(map(_is_for, services))
    # The check service has answered already, in this form and with more to say.
    own = AccessLogFilter(
        # An access log filter takes no notice of `invert`, so every decision but "denied" is named.
        metadata_filter=MetadataFilter(
            matcher=decision_is("allowed|undecided|refused"), match_if_key_not_found=True
        )
    )
    return [
        ResponseMapper(
            filter=AccessLogFilter(and_filter=AndFilter(filters=[_has_status(status), own, reached])),
            body=DataSource(inline_string=jsonrpc.error_body(status, error, message)),
            body_format_override=_AS_JSON,
            headers_to_add=[
                overwrite("cache-control", "no-store"),
                *([add_if_absent("retry-after", RETRY_SECONDS)] if status in _COMES_BACK else []),
            ],
        )
        for status, (error, message) in _ANSWERS.items()
    ]


def _is_for(service: Service) -> AccessLogFilter:
    """Whether a request is for `service`, by the path as the client wrote it."""
    url = urlsplit(service.resource)
    begins = [StringMatcher(prefix=f"{url.path}{mark}") for mark in "/?"]
    # Once the request is routed, its path and host are those of the upstream.
    names = (":path", "x-envoy-original-path")
    written = _any(_header(name, text) for name in names for text in (exactly(url.path or "/"), *begins))
    if url.path:
        return written
    host = _any(_header(name, exactly(url.netloc)) for name in (":authority", "x-envoy-original-host"))
    return AccessLogFilter(and_filter=AndFilter(filters=[host, written]))


def _header(name: str, text: StringMatcher) -> AccessLogFilter:
    return AccessLogFilter(header_filter=HeaderFilter(header=HeaderMatcher(name=name, string_match=text)))


def _has_status(status: int) -> AccessLogFilter:
    value = RuntimeUInt32(default_value=status, runtime_key=f"portcullis.status.{status}")
    comparison = ComparisonFilter(op=ComparisonFilterOp.EQ, value=value)
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=comparison))


def _any(filters: Iterable[AccessLogFilter]) -> AccessLogFilter:
    first, *others = filters
    return AccessLogFilter(or_filter=OrFilter(filters=[first, *others])) if others else first
