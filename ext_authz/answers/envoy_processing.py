"""The messages of Envoy's external processing: decoding what it sends of an answer, and encoding ours.

Envoy sends the headers of an answer and, for lists, its body in parts and its trailers. In the mode of the body
(FULL_DUPLEX_STREAMED) our messages need not follow these one by one, and the headers can wait for the body.
`context_of` reads what the check of the request left in metadata. A caller cannot set these.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from ext_authz.decision.answer_metadata import LISTS, SESSION
from ext_authz.decision.envoy_messages import METADATA, REQUEST_ID
from ext_authz.generated import envoy_ext_authz_pb2 as auth
from ext_authz.generated import envoy_ext_proc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oauth_core.policy.jsonrpc_errors import RequestId

PROCESSOR = "envoy.service.ext_proc.v3.ExternalProcessor"
"""The gRPC service whose method `Process` gets the answers."""

SESSION_ID = "mcp-session-id"

_NAMESPACE = "envoy.filters.http.ext_authz"
_LARGEST_PART = 64 * 1024
"""Bytes of a body in one message: what Envoy recommends."""

_Strings = tuple[str, ...]


class UnreadableError(Exception):
    """The message is none of an answer."""


class Context(NamedTuple):
    """The facts that the check of the request left.

    `service` is its name. `subject` is that of the token, `login` that of the person, if it is one. `held` are the
    permissions of the caller at the service, or `None` if the answer has no list to filter. `is_resumed` is true
    for an event stream that a client opened again. A session that begins with the answer is bound to
    `session_subject`.
    """

    service: str
    subject: str
    login: str | None
    client_id: str | None
    request_id: RequestId | None
    held: frozenset[str] | None
    method: str | None
    is_resumed: bool
    session_subject: str | None


class Headers(NamedTuple):
    """The headers of an answer. With `is_whole` it has no body."""

    status: int
    content_type: str | None
    content_encoding: str | None
    session_ids: _Strings
    is_whole: bool


class Part(NamedTuple):
    """A part of the body of an answer."""

    data: bytes
    is_last: bool


class Trailers:
    """The end of an answer that has trailers."""


def decode(message: bytes) -> tuple[Headers | Part | Trailers, pb.ProcessingRequest]:
    """Return what Envoy sent of an answer, and the whole message, for `context_of`. Raises `UnreadableError`."""
    try:
        request = pb.ProcessingRequest.FromString(message)
    except DecodeError:
        raise UnreadableError from None
    match request.WhichOneof("request"):
        case "response_headers":
            return _headers(request.response_headers), request
        case "response_body":
            return Part(request.response_body.body, request.response_body.end_of_stream), request
        case "response_trailers":
            return Trailers(), request
        case _:
            raise UnreadableError


def context_of(request: pb.ProcessingRequest) -> Context | None:
    """Return what the check left for this answer; `None` if the message does not show that there was a check."""
    namespace = request.metadata_context.filter_metadata.get(_NAMESPACE)
    if namespace is None:
        return None
    fields = namespace.fields
    decision = _struct(fields.get(METADATA))
    service, subject = _text(decision.get("service")), _text(decision.get("user_id"))
    if _text(decision.get("decision")) != "allowed" or service is None or subject is None:
        return None
    lists = fields.get(LISTS)
    members = _struct(lists)
    held = None
    if lists is not None:
        held = frozenset(value.string_value for value in members["held"].list_value.values)
    return Context(
        service,
        subject,
        _text(decision.get("user")),
        _text(decision.get("client_id")),
        _request_id(_text(fields.get(REQUEST_ID))),
        held,
        _text(members.get("method")),
        is_resumed="resumed" in members and members["resumed"].bool_value,
        session_subject=_text(fields.get(SESSION)),
    )


def pass_headers(removed: _Strings = (), set_headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return the message that sends the headers on, with these changes."""
    mutation = pb.HeaderMutation(
        remove_headers=removed, set_headers=[_overwrite(name, value) for name, value in set_headers]
    )
    return pb.ProcessingResponse(
        response_headers=pb.HeadersResponse(response=pb.CommonResponse(header_mutation=mutation))
    ).SerializeToString()


def pass_body(data: bytes, *, is_last: bool) -> list[bytes]:
    """Return the messages that send this part of the body on; none for nothing."""
    if not data and not is_last:
        return []
    starts = range(0, max(1, len(data)), _LARGEST_PART)
    return [
        pb.ProcessingResponse(
            response_body=pb.BodyResponse(
                response=pb.CommonResponse(
                    body_mutation=pb.BodyMutation(
                        streamed_response=pb.StreamedBodyResponse(
                            body=data[start : start + _LARGEST_PART],
                            end_of_stream=is_last and start + _LARGEST_PART >= len(data),
                        )
                    )
                )
            )
        ).SerializeToString()
        for start in starts
    ]


def pass_trailers() -> bytes:
    """Return the message that sends the trailers on."""
    return pb.ProcessingResponse(response_trailers=pb.TrailersResponse()).SerializeToString()


def refuse(status: int, headers: Iterable[tuple[str, str]], body: bytes, reason: str) -> bytes:
    """Return the message that sends another answer in place of this one, of which nothing was sent on.

    The metadata make Envoy's access log show the refusal, and leave the body as it is.
    """
    told = {"decision": Value(string_value="denied"), "reason": Value(string_value=reason)}
    found = Struct(fields={METADATA: Value(struct_value=Struct(fields=told))})
    return pb.ProcessingResponse(
        immediate_response=pb.ImmediateResponse(
            status=auth.HttpStatus(code=auth.StatusCode.Name(status)),
            headers=pb.HeaderMutation(set_headers=[_overwrite(name, value) for name, value in headers]),
            body=body,
            details=f"portcullis_{reason}",
        ),
        dynamic_metadata=Struct(fields={_NAMESPACE: Value(struct_value=found)}),
    ).SerializeToString()


def _headers(message: pb.HttpHeaders) -> Headers:
    values: dict[str, list[str]] = {}
    for header in message.headers.headers:
        value = header.raw_value.decode("latin-1") if header.raw_value else header.value
        values.setdefault(header.key, []).append(value)
    status = values.get(":status", [""])[0]
    return Headers(
        int(status) if status.isdecimal() and len(status) == 3 else 0,  # noqa: PLR2004 - RFC 9110 section 15
        _joined(values.get("content-type")),
        _joined(values.get("content-encoding")),
        tuple(values.get(SESSION_ID, ())),
        message.end_of_stream,
    )


def _joined(values: list[str] | None) -> str | None:
    """Return several values as one, which is then no valid type or encoding."""
    return None if values is None else ", ".join(values)


def _struct(value: Value | None) -> dict[str, Value]:
    return {} if value is None else dict(value.struct_value.fields)


def _text(value: Value | None) -> str | None:
    return None if value is None else value.string_value or None


def _request_id(text: str | None) -> RequestId | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


def _overwrite(name: str, value: str) -> auth.HeaderValueOption:
    return auth.HeaderValueOption(
        # Envoy reads this field here, and the other one in answers to checks.
        header=auth.HeaderValue(key=name, raw_value=value.encode("latin-1", "replace")),
        append_action=auth.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
