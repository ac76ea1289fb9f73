"""What Envoy says by itself: its answers when something behind it fails, and one log line for each request."""

from __future__ import annotations

import json

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import DataSource, RuntimeUInt32, SubstitutionFormatString
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.google.protobuf import Struct

from portcullis.envoy_config.messages import add_if_absent, overwrite, packed

_RETRY_SECONDS = "5"
# No healthy upstream; connection failed, ended or reset; too much load; no such cluster; broken HTTP.
_UPSTREAM_FAULTS = ["UH", "UF", "UC", "UR", "LR", "UO", "NC", "UPE"]

_LINE = {
    "time": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "protocol": "%PROTOCOL%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY):256%",
    # Without the query, where authorization codes travel.
    "path": "%PATH(NQ:ORIG_OR_PATH):512%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "route": "%ROUTE_NAME%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "milliseconds": "%DURATION%",
    # What the check service decided and why; absent where nothing was checked.
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
}


def access_log() -> AccessLog:
    """One line of JSON on standard output for each request: no `Authorization`, no cookie, no query."""
    return AccessLog(
        name="envoy.access_loggers.stdout",
        typed_config=packed(
            StdoutAccessLog(log_format=SubstitutionFormatString(json_format=Struct.from_dict(_LINE)))
        ),
    )


def local_replies() -> LocalReplyConfig:
    """Every 503 says when to come back, and none says what broke where behind the gateway."""
    return LocalReplyConfig(
        mappers=[
            ResponseMapper(
                filter=AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=_UPSTREAM_FAULTS)),
                body=DataSource(inline_string=json.dumps({"error": "temporarily_unavailable"})),
                headers_to_add=[
                    overwrite("content-type", "application/json"),
                    add_if_absent("retry-after", _RETRY_SECONDS),
                ],
            ),
            ResponseMapper(
                filter=AccessLogFilter(
                    status_code_filter=StatusCodeFilter(
                        comparison=ComparisonFilter(
                            op=ComparisonFilterOp.EQ,
                            value=RuntimeUInt32(default_value=503, runtime_key="portcullis.unavailable"),
                        )
                    )
                ),
                headers_to_add=[add_if_absent("retry-after", _RETRY_SECONDS)],
            ),
        ]
    )
