"""Envoy's own answers on routes to MCP services: JSON-RPC errors, because the callers are MCP clients.

Envoy cannot read a body. If a check has read one, it leaves the id of the request in metadata, and these
answers repeat it; otherwise the id is null. The refusals of the check service are not changed.
`oauth_core.policy.jsonrpc_errors` explains why clients need this.
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

from oauth_core.policy.jsonrpc_errors import error_body
from portcullis.envoy_config.checks import DECISIONS, REQUEST_ID, decision_is, has_request_id
from portcullis.envoy_config.messages import add_if_absent, exactly, overwrite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
_AFTER_THE_BODY = frozenset({408, 413, 500, 502, 503, 504})
"""Statuses of failures after a check has read the body: of the rest of the body, or of the service."""
_MISDIRECTED = 421
_COMES_BACK = frozenset({429, 503})


def mcp_replies(services: Sequence[Service]) -> list[ResponseMapper]:
    """Mappers for each status of Envoy's own answers: with the id if it is known, and without."""
    reached = _any(map(_is_for, services))
    # Not for refusals of the check service, which have this form already, with more details.
    own = AccessLogFilter(
        # An access log filter ignores `invert`, so every decision but "denied" is named.
        metadata_filter=MetadataFilter(
            matcher=decision_is("allowed|undecided|refused"), match_if_key_not_found=True
        )
    )
    with_id = AccessLogFilter(
        metadata_filter=MetadataFilter(matcher=has_request_id(), match_if_key_not_found=False)
    )
    mappers = []
    for status, answer in _ANSWERS.items():
        conditions = [_has_status(status), own, reached]
        if status in _AFTER_THE_BODY:
            mappers.append(_mapper(status, [*conditions, with_id], _with_id(status, *answer)))
        mappers.append(_mapper(status, conditions, error_body(status, *answer)))
    return [*mappers, *_misdirected(services)]


def _misdirected(services: Sequence[Service]) -> Iterator[ResponseMapper]:
    """Mappers for calls under a wrong host name, such as `127.0.0.1` for `localhost`: they name the right one."""
    by_path: dict[str, list[Service]] = {}
    for service in services:
        if path := urlsplit(service.resource).path:
            by_path.setdefault(path, []).append(service)
    for alike in by_path.values():
        places = " or ".join(service.resource for service in alike)
        message = f"Nothing is served under this host name. The service is at {places}"
        conditions = [_has_status(_MISDIRECTED), _is_written(alike[0])]
        yield _mapper(_MISDIRECTED, conditions, error_body(_MISDIRECTED, "misdirected_request", message))


def _mapper(status: int, conditions: list[AccessLogFilter], body: str) -> ResponseMapper:
    return ResponseMapper(
        filter=AccessLogFilter(and_filter=AndFilter(filters=conditions)),
        body_format_override=SubstitutionFormatString(
            text_format_source=DataSource(inline_string=body), content_type="application/json"
        ),
        headers_to_add=[
            overwrite("cache-control", "no-store"),
            *([add_if_absent("retry-after", RETRY_SECONDS)] if status in _COMES_BACK else []),
        ],
    )


def _with_id(status: int, error: str, message: str) -> str:
    """The body as Envoy's format: the id in the metadata is JSON already."""
    before, null, after = error_body(status, error, message).partition('"id": null')
    return before + null.replace("null", f"%DYNAMIC_METADATA({DECISIONS}:{REQUEST_ID})%") + after


def _is_for(service: Service) -> AccessLogFilter:
    """Whether a request is for `service`, by the path as the client wrote it."""
    url = urlsplit(service.resource)
    written = _is_written(service)
    if url.path:
        return written
    host = _any(_header(name, exactly(url.netloc)) for name in (":authority", "x-envoy-original-host"))
    return AccessLogFilter(and_filter=AndFilter(filters=[host, written]))


def _is_written(service: Service) -> AccessLogFilter:
    """Whether a request has the path of `service`, on any host."""
    path = urlsplit(service.resource).path
    begins = [StringMatcher(prefix=f"{path}{mark}") for mark in "/?"]
    # Once the request is routed, its path and host are those of the upstream.
    names = (":path", "x-envoy-original-path")
    return _any(_header(name, text) for name in names for text in (exactly(path or "/"), *begins))


def _header(name: str, text: StringMatcher) -> AccessLogFilter:
    return AccessLogFilter(header_filter=HeaderFilter(header=HeaderMatcher(name=name, string_match=text)))


def _has_status(status: int) -> AccessLogFilter:
    value = RuntimeUInt32(default_value=status, runtime_key=f"portcullis.status.{status}")
    comparison = ComparisonFilter(op=ComparisonFilterOp.EQ, value=value)
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=comparison))


def _any(filters: Iterable[AccessLogFilter]) -> AccessLogFilter:
    first, *others = filters
    return AccessLogFilter(or_filter=OrFilter(filters=[first, *others])) if others else first
