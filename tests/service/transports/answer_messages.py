"""The messages of Envoy about an answer with a list, and the filter that gets them."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from ext_authz.answers.answer_filter import AnswerFilter
from ext_authz.generated import envoy_ext_authz_pb2 as auth
from ext_authz.generated import envoy_ext_proc_pb2 as pb
from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.grpc_services import PROCESS
from oauth_core.audit import AuditRecorder
from oauth_core.policy.resources import ServiceIndex
from tests.service.ext_authz.authorizers import Recorder
from tests.service.ext_authz.ruled_services import READ, RULED
from tests.service.transports.wire import HEAD

OPENING = http2_codec.header_block([(name, PROCESS if name == b":path" else value) for name, value in HEAD])
LIST = json.dumps(
    {"jsonrpc": "2.0", "id": 7, "result": {"tools": [{"name": "get_a"}, {"name": "set_a"}]}}
).encode()
SEEN = json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"tools": [{"name": "get_a"}]}})


def answer_filter() -> AnswerFilter:
    """A filter for the service `RULED`."""
    return AnswerFilter(ServiceIndex((RULED,)), AuditRecorder(Recorder()))


def headers(content_type: str = "application/json", *, subject: str = "583231", checked: bool = True) -> bytes:
    """The headers of an answer to a caller that may read."""
    decision = {"decision": "allowed", "service": RULED.name, "user_id": subject, "user": "octocat"}
    fields = {
        "portcullis": _struct({name: Value(string_value=text) for name, text in decision.items()}),
        "portcullis.request_id": Value(string_value="7"),
        "portcullis.lists": _struct(
            {
                "held": Value(list_value=ListValue(values=[Value(string_value=READ)])),
                "resumed": Value(bool_value=True),
            }
        ),
    }
    values = {":status": "200", "content-type": content_type}
    request = pb.ProcessingRequest(
        response_headers=pb.HttpHeaders(
            headers=auth.HeaderMap(
                headers=[auth.HeaderValue(key=name, raw_value=text.encode()) for name, text in values.items()]
            )
        )
    )
    if checked:
        request.metadata_context.filter_metadata["envoy.filters.http.ext_authz"].CopyFrom(Struct(fields=fields))
    encoded: bytes = request.SerializeToString()
    return encoded


def part(data: bytes, *, is_last: bool = False) -> bytes:
    """A part of the body."""
    encoded: bytes = pb.ProcessingRequest(
        response_body=pb.HttpBody(body=data, end_of_stream=is_last)
    ).SerializeToString()
    return encoded


def trailers() -> bytes:
    """The trailers of an answer."""
    encoded: bytes = pb.ProcessingRequest(response_trailers=pb.HttpTrailers()).SerializeToString()
    return encoded


def read(data: bytes) -> list[Any]:
    """The messages in the DATA of a stream."""
    found = []
    while data:
        end = 5 + int.from_bytes(data[1:5], "big")
        found.append(pb.ProcessingResponse.FromString(data[5:end]))
        data = data[end:]
    return found


def body_of(messages: list[Any]) -> tuple[bytes, bool]:
    """The body in these messages, and whether it ends."""
    parts = [
        message.response_body.response.body_mutation.streamed_response
        for message in messages
        if message.WhichOneof("response") == "response_body"
    ]
    return b"".join(one.body for one in parts), bool(parts) and parts[-1].end_of_stream


def _struct(fields: dict[str, Value]) -> Value:
    return Value(struct_value=Struct(fields=fields))
