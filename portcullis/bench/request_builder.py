"""One request with one token, as HTTP/2 frames, with everything but the token encoded beforehand.

A check is the `CheckRequest` that Envoy sends for a real client's call: 1.1 KB with one of our tokens. Through
Envoy it is that call itself. The call's body is present where tool rules need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.limits import LARGEST_FRAME

if TYPE_CHECKING:
    from portcullis.bench.pool import Entry

Kind = Literal["check", "http"]

CHECK_PATH = "/envoy.service.auth.v3.Authorization/Check"
_AUTHORITY = "authz.local"
_CLIENT = {
    "accept": "application/json, text/event-stream",
    "accept-encoding": "gzip, deflate",
    "accept-language": "*",
    "content-type": "application/json",
    "mcp-protocol-version": "2025-11-25",
    "user-agent": "portcullis-bench",
}
_BODY = (
    b'{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"get_page","arguments":'
    b'{"url":"https://example.com/docs/index.html","max_length":5000}}}'
)
"""A call of a tool, as clients send it."""

_LIST_BODY = b'{"jsonrpc":"2.0","id":17,"method":"tools/list","params":{}}'
Body = Literal["", "call", "list"]
_BODIES: dict[Body, bytes] = {"": b"", "call": _BODY, "list": _LIST_BODY}

_GRPC_HEAD_BYTES = 5
_SCHEME = b"Bearer "


class RequestBuilder(Protocol):
    """Builds requests for tokens."""

    def frames(self, stream: int, entry: Entry) -> bytes:
        """Everything to send for one request on `stream`. Raises `ValueError` if it does not fit a frame."""

    def weight(self, entry: Entry) -> int:
        """The bytes of the request that count against the windows of flow control."""


def request_builder_for(kind: Kind, url: str, *, body: Body = "") -> RequestBuilder:
    """The request builder for the MCP service whose public URL is `url`."""
    return (CheckRequestBuilder if kind == "check" else HttpRequestBuilder)(url, body=body)


class CheckRequestBuilder:
    """A gRPC call of `Check` (github.com/grpc/grpc, PROTOCOL-HTTP2)."""

    def __init__(self, url: str, *, body: Body = "") -> None:
        self._url = url
        self._body = _BODIES[body]
        self._block = _block(
            (":method", "POST"),
            (":scheme", "http"),
            (":path", CHECK_PATH),
            (":authority", _AUTHORITY),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "portcullis-bench"),
        )
        self._around: dict[int, tuple[bytes, bytes]] = {}

    def message(self, entry: Entry) -> bytes:
        """The `CheckRequest`, with the five bytes that gRPC puts before a message."""
        before, after = self._parts(len(entry.token))
        return before + entry.token + after

    def frames(self, stream: int, entry: Entry) -> bytes:
        """HEADERS and DATA."""
        before, after = self._parts(len(entry.token))
        size = len(before) + len(entry.token) + len(after)
        return b"".join(
            (
                http2_codec.head(len(self._block), http2_codec.HEADERS, http2_codec.END_HEADERS, stream),
                self._block,
                http2_codec.head(size, http2_codec.DATA, http2_codec.END_STREAM, stream),
                before,
                entry.token,
                after,
            )
        )

    def weight(self, entry: Entry) -> int:
        """The size of the message."""
        before, after = self._parts(len(entry.token))
        return len(before) + len(entry.token) + len(after)

    def _parts(self, token_length: int) -> tuple[bytes, bytes]:
        """The bytes before and after a token of this length; the lengths inside depend on it."""
        if token_length not in self._around:
            blank = b"\x01" * token_length
            message = _check_request(self._url, blank.decode(), self._body)
            if _GRPC_HEAD_BYTES + len(message) > LARGEST_FRAME:
                raise ValueError(f"a token of {token_length} bytes makes a Check that fits no HTTP/2 frame")
            before, scheme, after = message.partition(_SCHEME + blank)
            head = b"\x00" + len(message).to_bytes(4, "big")
            self._around[token_length] = head + before + scheme[: len(_SCHEME)], after
        return self._around[token_length]


class HttpRequestBuilder:
    """A client's POST. Without tool rules there is no body: Envoy asks before it reads one."""

    def __init__(self, url: str, *, body: Body = "") -> None:
        parts = urlsplit(url)
        self._body = _BODIES[body]
        self._block = _block(
            (":method", "POST"),
            (":scheme", parts.scheme),
            (":path", parts.path or "/"),
            (":authority", parts.netloc),
            *_CLIENT.items(),
            *([("content-length", str(len(self._body)))] if body else ()),
        )
        self._name = b"\x00" + http2_codec.text(b"authorization")

    def frames(self, stream: int, entry: Entry) -> bytes:
        """HEADERS, and DATA if there is a body."""
        block = self._block + self._name + http2_codec.text(_SCHEME + entry.token)
        if len(block) > LARGEST_FRAME:
            raise ValueError(f"a token of {len(entry.token)} bytes makes headers that fit no HTTP/2 frame")
        if not self._body:
            return http2_codec.frame(
                http2_codec.HEADERS, http2_codec.END_HEADERS | http2_codec.END_STREAM, stream, block
            )
        return http2_codec.frame(http2_codec.HEADERS, http2_codec.END_HEADERS, stream, block) + http2_codec.frame(
            http2_codec.DATA, http2_codec.END_STREAM, stream, self._body
        )

    def weight(self, entry: Entry) -> int:  # noqa: ARG002 - headers are not under flow control
        """The size of the body."""
        return len(self._body)


def _check_request(url: str, token: str, body: bytes = b"") -> bytes:
    # Imported here: generator processes of an HTTP run have no use for it.
    from ext_authz.generated import envoy_ext_authz_pb2 as pb  # noqa: PLC0415

    parts = urlsplit(url)
    headers = {
        ":authority": parts.netloc,
        ":method": "POST",
        ":path": parts.path or "/",
        ":scheme": parts.scheme,
        **_CLIENT,
        "authorization": f"Bearer {token}",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-proto": parts.scheme,
        "x-request-id": "5f0c6d3e-8f0e-4a52-9f8d-3f1f0f3a7c11",
    }
    if body:
        headers |= {"content-length": str(len(body)), "x-envoy-auth-partial-body": "false"}
    request = pb.CheckRequest()
    attributes = request.attributes
    attributes.source.address.socket_address.address = "203.0.113.7"
    attributes.source.address.socket_address.port_value = 50_512
    attributes.destination.address.socket_address.address = "10.0.0.12"
    attributes.destination.address.socket_address.port_value = 8080
    http = attributes.request.http
    http.id = "1234567890123456789"
    http.method = "POST"
    http.headers.update(headers)
    http.path = parts.path or "/"
    http.host = parts.netloc
    http.scheme = parts.scheme
    http.protocol = "HTTP/1.1"
    http.size = len(body) or -1
    http.raw_body = body
    return request.SerializeToString()


def _block(*headers: tuple[str, str]) -> bytes:
    return http2_codec.header_block((name.encode(), value.encode()) for name, value in headers)
