"""Checks answers. Only an answer that lets the right caller through counts.

A server that refuses quickly, or lets a caller through as another person, must not look fast. So every answer is
read: its gRPC status, the status inside the message, and the identity that it carries. Few answers are distinct,
so each distinct one is decoded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from hpack import Decoder
from hpack.exceptions import HPACKError

if TYPE_CHECKING:
    from portcullis.bench.request_builder import Kind

T = TypeVar("T")

ALLOWED = "allowed"
USER_HEADER = "x-user-id"
REFLECTED_USER = "x-bench-user"
"""Response header in which Envoy returns the `x-user-id` that a service behind it would have received."""

_MOST_CACHED = 65_536


class AnswerChecker(Protocol):
    """Decides whether an answer counts."""

    def __call__(self, block: bytes, data: bytes, subject: bytes) -> str:
        """`ALLOWED`, or what was wrong in a few words.

        `block` is the last header block of the answer, `data` its body, `subject` the caller of the request.
        """


def checker_for(kind: Kind, *, identity: bool) -> AnswerChecker:
    """The checker for a kind of request; with `identity` the answer must name the caller."""
    return CheckAnswerChecker(identity=identity) if kind == "check" else HttpAnswerChecker(identity=identity)


class CheckAnswerChecker:
    """Reads the answer to a gRPC `Check`."""

    def __init__(self, *, identity: bool) -> None:
        self._identity = identity
        self._statuses: dict[bytes, str] = {}
        self._answers: dict[bytes, tuple[str, str]] = {}

    def __call__(self, block: bytes, data: bytes, subject: bytes) -> str:
        """See `AnswerChecker`."""
        status = self._statuses.get(block)
        if status is None:
            status = _cache(self._statuses, block, _grpc_status(block))
        if status != "0":
            return f"gRPC status {status}" if status else "no gRPC status"
        answer = self._answers.get(data)
        if answer is None:
            answer = _cache(self._answers, data, _check_answer(data))
        verdict, user = answer
        if self._identity and verdict == ALLOWED and user != subject.decode():
            return "allowed as another person"
        return verdict


class HttpAnswerChecker:
    """Reads Envoy's answer to a client."""

    def __init__(self, *, identity: bool) -> None:
        self._identity = identity
        self._blocks: dict[bytes, tuple[str, str]] = {}

    def __call__(self, block: bytes, data: bytes, subject: bytes) -> str:  # noqa: ARG002 - see `AnswerChecker`
        """See `AnswerChecker`."""
        answer = self._blocks.get(block)
        if answer is None:
            headers = _headers(block)
            status = headers.get(":status", "unreadable")
            verdict = ALLOWED if status == "200" else f"HTTP status {status}"
            answer = _cache(self._blocks, block, (verdict, headers.get(REFLECTED_USER, "")))
        verdict, user = answer
        if self._identity and verdict == ALLOWED and user != subject.decode():
            return "allowed as another person"
        return verdict


def _cache(cache: dict[bytes, T], key: bytes, value: T) -> T:
    if len(cache) >= _MOST_CACHED:  # a date in every answer must not fill memory
        cache.clear()
    cache[key] = value
    return value


def _headers(block: bytes) -> dict[str, str]:
    try:
        return {str(name): str(value) for name, value in Decoder().decode(block)}
    except (HPACKError, UnicodeDecodeError):
        return {}


def _grpc_status(block: bytes) -> str:
    return _headers(block).get("grpc-status", "")


def _check_answer(data: bytes) -> tuple[str, str]:
    """The verdict and the user id in a gRPC message."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - only where checks are asked

    from ext_authz.generated import envoy_ext_authz_pb2 as pb  # noqa: PLC0415

    if len(data) < 5 or data[0] or int.from_bytes(data[1:5], "big") != len(data) - 5:  # noqa: PLR2004 - gRPC framing
        return "not one gRPC message", ""
    try:
        answer = pb.CheckResponse.FromString(data[5:])
    except DecodeError:
        return "not a CheckResponse", ""
    if answer.status.code or answer.WhichOneof("http_response") not in {None, "ok_response"}:
        code = answer.denied_response.status.code
        return f"refused with {code or answer.status.code}", ""
    user = next((h.header.value for h in answer.ok_response.headers if h.header.key.lower() == USER_HEADER), "")
    return ALLOWED, user
