"""Envoy's own answers, for failures behind it or by itself, and its access log, one line for each request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    MetadataFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    DataSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RuntimeUInt32,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import CommonGrpcAccessLogConfig
from envoy_data_plane.envoy.extensions.access_loggers.open_telemetry.v3 import OpenTelemetryAccessLogConfig
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import MetadataMatcher, MetadataMatcherPathSegment, ValueMatcher
from envoy_data_plane.google.protobuf import Struct
from envoy_data_plane.opentelemetry.proto.common.v1 import AnyValue, KeyValue, KeyValueList

from portcullis.envoy_config.clusters import AUTHZ
from portcullis.envoy_config.mcp_replies import RETRY_SECONDS, mcp_replies
from portcullis.envoy_config.messages import (
    add_if_absent,
    exactly,
    fields_of_older_envoys,
    overwrite,
    packed,
    seconds,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.model import Service

# No healthy upstream; connection failed, ended or reset; too much load; no such cluster; broken HTTP.
_UPSTREAM_FAULTS = ["UH", "UF", "UC", "UR", "LR", "UO", "NC", "UPE"]

_SAID_BY_ENVOY = {
    400: ("invalid_request", "The request is not well-formed HTTP."),
    403: ("invalid_request", "Pages of this origin may not call this address."),
    408: ("invalid_request", "The request took too long to arrive."),
    413: ("invalid_request", "The body is too large."),
    426: ("invalid_request", "The request must be HTTP/1.1 or HTTP/2."),
    429: ("too_many_requests", "Too many requests. Try again in a moment."),
    431: ("invalid_request", "The header fields are too large or too many."),
    504: ("temporarily_unavailable", "No answer came in time. Try again in a moment."),
}
"""Statuses of Envoy's answers with plain text or no body: the error and its description."""

_NOT_OF_THE_CHECK = AccessLogFilter(
    metadata_filter=MetadataFilter(
        matcher=MetadataMatcher(
            filter="envoy.filters.http.ext_authz",
            path=[MetadataMatcherPathSegment(key="portcullis"), MetadataMatcherPathSegment(key="decision")],
            value=ValueMatcher(string_match=exactly("")),
        ),
        match_if_key_not_found=True,
    )
)
"""Match answers other than refusals of the check service, which have a body already, and name their decision."""

_LINE = {
    "time": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "protocol": "%PROTOCOL%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY):256%",
    # Without the query, which can have an authorization code.
    "path": "%PATH(NQ:ORIG_OR_PATH):512%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "route": "%ROUTE_NAME%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "milliseconds": "%DURATION%",
    # The decision of the check service and its reason; absent without a check.
    **{
        name: f"%DYNAMIC_METADATA(envoy.filters.http.ext_authz:portcullis:{key})%"
        for name, key in (
            ("decision", "decision"),
            ("reason", "reason"),
            ("service", "service"),
            ("user", "user"),
            ("user_id", "user_id"),
            ("oauth_client", "client_id"),
        )
    },
    # The MCP method and name of the request; with `mcp_claimed` they are only claims in the caller's headers.
    **{
        name: f"%DYNAMIC_METADATA(envoy.filters.http.ext_authz:portcullis.{name})%"
        for name in ("mcp_method", "mcp_name", "mcp_claimed")
    },
}

_OWN_REFUSALS = ["RL", "DPE", "OM"]
"""Flags of answers by Envoy itself: a rate limit; HTTP that is broken or too large; the overload manager."""

_REFUSAL = {
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "source": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "peer": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "method": "%REQ(:METHOD):64%",
    "path": "%PATH(NQ:ORIG_OR_PATH):256%",
    "user_agent": "%REQ(USER-AGENT):256%",
    "request_id": "%REQ(X-REQUEST-ID):64%",
}
"""The attributes of a reported refusal. `ext_authz.decision.envoy_refusals` reads them."""

_REPORT_SECONDS = 1


def access_log() -> AccessLog:
    """One line of JSON on standard output for each request: no `Authorization`, no cookie, no query."""
    return AccessLog(
        name="envoy.access_loggers.stdout",
        typed_config=packed(
            StdoutAccessLog(log_format=SubstitutionFormatString(json_format=Struct.from_dict(_LINE)))
        ),
    )


def refusals_log() -> AccessLog:
    """Reports Envoy's own refusals to the check service, which records them: a rate limit, broken HTTP, overload.

    It is OTLP, because that is the one report of Envoy in which each message has an answer. Reports that the check
    service does not take are lost, and no request waits for them.
    """
    with fields_of_older_envoys():
        # Envoy 1.36 knows no other field for the service.
        logger = packed(
            OpenTelemetryAccessLogConfig(
                common_config=CommonGrpcAccessLogConfig(
                    log_name="portcullis.refusals",
                    transport_api_version=ApiVersion.V3,
                    grpc_service=GrpcService(
                        envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=AUTHZ), timeout=seconds(_REPORT_SECONDS)
                    ),
                    buffer_flush_interval=seconds(_REPORT_SECONDS),
                ),
                disable_builtin_labels=True,
                attributes=KeyValueList(
                    values=[KeyValue(key=key, value=AnyValue(string_value=form)) for key, form in _REFUSAL.items()]
                ),
            )
        )
    return AccessLog(
        name="envoy.access_loggers.open_telemetry",
        filter=AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=_OWN_REFUSALS)),
        typed_config=logger,
    )


def local_replies(services: Sequence[Service] = ()) -> LocalReplyConfig:
    """Answers in JSON instead of Envoy's plain text, as OAuth clients read them (RFC 6749 section 5.2).

    Every 503 has `Retry-After`, and none names the failed upstream. On routes to `services`
    the answers are those of `portcullis.envoy_config.mcp_replies`.
    """
    return LocalReplyConfig(
        mappers=[
            *(mcp_replies(services) if services else ()),
            ResponseMapper(
                filter=AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=_UPSTREAM_FAULTS)),
                body=DataSource(inline_string=json.dumps({"error": "temporarily_unavailable"})),
                headers_to_add=[
                    overwrite("content-type", "application/json"),
                    add_if_absent("retry-after", RETRY_SECONDS),
                ],
            ),
            ResponseMapper(
                filter=_has_status(503),
                headers_to_add=[add_if_absent("retry-after", RETRY_SECONDS)],
            ),
            *(
                ResponseMapper(
                    filter=AccessLogFilter(and_filter=AndFilter(filters=[_has_status(status), _NOT_OF_THE_CHECK])),
                    body=DataSource(inline_string=json.dumps({"error": error, "error_description": description})),
                    headers_to_add=[
                        overwrite("content-type", "application/json"),
                        overwrite("cache-control", "no-store"),
                    ],
                )
                for status, (error, description) in _SAID_BY_ENVOY.items()
            ),
        ]
    )


def _has_status(status: int) -> AccessLogFilter:
    return AccessLogFilter(
        status_code_filter=StatusCodeFilter(
            comparison=ComparisonFilter(
                op=ComparisonFilterOp.EQ,
                value=RuntimeUInt32(default_value=status, runtime_key=f"portcullis.status_{status}"),
            )
        )
    )
