"""Requests in HTTP/1.1 whose end two programs could locate differently: request smuggling."""

from __future__ import annotations

from tests.envoy.edge.case import TIME, Case
from tests.envoy.edge.exchange import Http1, http1

_SECOND = b"GET /time/mcp/smuggled HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer good\r\n\r\n"


def _framing(sent: str, *lines: str, body: bytes, wanted: tuple[str, ...] = ("400",)) -> Case:
    request = http1("POST", "/time/mcp", "Content-Type: application/json", *lines, body=body)
    return Case("Message framing in HTTP/1.1", "One length, said one way", sent, request, wanted)


FRAMING = (
    _framing(
        "Content-Length: 4 and Transfer-Encoding: chunked, a request hidden after the chunks",
        "Content-Length: 4",
        "Transfer-Encoding: chunked",
        body=b"0\r\n\r\n" + _SECOND,
    ),
    _framing(
        "Transfer-Encoding: chunked and Content-Length: 6 (the other order)",
        "Transfer-Encoding: chunked",
        "Content-Length: 6",
        body=b"0\r\n\r\nG" + _SECOND,
    ),
    _framing("Content-Length: 4 and Content-Length: 5", "Content-Length: 4", "Content-Length: 5", body=b"{}{}{"),
    _framing("Content-Length: 2, 2", "Content-Length: 2, 2", body=b"{}"),
    _framing("Content-Length: 2 twice", "Content-Length: 2", "Content-Length: 2", body=b"{}"),
    _framing("Content-Length: -1", "Content-Length: -1", body=b"{}"),
    _framing("Content-Length: +2", "Content-Length: +2", body=b"{}"),
    _framing("Content-Length: 0x2", "Content-Length: 0x2", body=b"{}"),
    _framing(
        "Content-Length: 99999999999999999999", "Content-Length: 99999999999999999999", body=b"{}", wanted=("400",)
    ),
    _framing(
        "Transfer-Encoding: xchunked", "Transfer-Encoding: xchunked", body=b"0\r\n\r\n", wanted=("400", "501")
    ),
    _framing(
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, identity",
        body=b"0\r\n\r\n",
        wanted=("400", "501"),
    ),
    _framing(
        "Transfer-Encoding twice: chunked, then identity",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        body=b"0\r\n\r\n",
        wanted=("400", "501"),
    ),
    _framing("Transfer-Encoding with a space before the colon", "Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    _framing(
        "Transfer-Encoding: \\x0bchunked",
        "Transfer-Encoding: \x0bchunked",
        body=b"0\r\n\r\n",
        wanted=("400", "501"),
    ),
    _framing("a chunk size of ten digits of f", "Transfer-Encoding: chunked", body=b"f" * 40 + b"\r\n{}\r\n"),
    _framing("a chunk size of -1", "Transfer-Encoding: chunked", body=b"-1\r\n{}\r\n0\r\n\r\n"),
    _framing("a NUL in a header", "X-Null: a\0b", "Content-Length: 2", body=b"{}"),
    _framing("a header line without a colon", "Broken", "Content-Length: 2", body=b"{}"),
    _framing("a header without a name", ": x", "Content-Length: 2", body=b"{}"),
    Case(
        "Message framing in HTTP/1.1",
        "A chunk extension is dropped, and the body arrives whole",
        '2;ext=\\"0\\r\\n\\" as a chunk size',
        http1(
            "POST",
            "/time/mcp",
            "Content-Type: application/json",
            "Transfer-Encoding: chunked",
            body=b"2;ext=x\r\n{}\r\n0\r\n\r\n",
        ),
        ("200",),
        TIME,
    ),
    *(
        Case(
            "Message framing in HTTP/1.1",
            "What Envoy forgives it writes anew, so that a service reads it one way",
            sent,
            http1("POST", "/time/mcp", "Content-Type: application/json", *lines, body=body),
            ("200",),
            TIME,
        )
        for sent, lines, body in (
            (
                "a chunk that is longer than it says",
                ["Transfer-Encoding: chunked"],
                b"2\r\n{}GET /forged\r\n0\r\n\r\n",
            ),
            ("a header folded over two lines", ["X-Folded: a", " X-User-Id: b", "Content-Length: 2"], b"{}"),
            ("a bare CR in a header", ["X-Cr: a\rX-User-Id: b", "Content-Length: 2"], b"{}"),
        )
    ),
    Case(
        "Message framing in HTTP/1.1",
        "A request after a refused one is not looked at",
        "a POST with two lengths, and a good request behind it on the same connection",
        Http1(
            b"POST /time/mcp HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}" + _SECOND
        ),
        ("400",),
    ),
    Case(
        "Message framing in HTTP/1.1",
        "Requests in one packet are checked one by one",
        "a good request, then one without a token, on one connection",
        Http1(
            b"GET /time/mcp HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer good\r\n\r\n"
            b"GET /time/mcp HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"
        ),
        ("200, then 401",),
        TIME,
    ),
    Case(
        "Message framing in HTTP/1.1",
        "No other protocol",
        "GET /time/mcp (HTTP/0.9)",
        Http1(b"GET /time/mcp\r\n\r\n"),
        ("426",),
    ),
    Case(
        "Message framing in HTTP/1.1",
        "No other protocol",
        "HTTP/1.0",
        Http1(b"GET /time/mcp HTTP/1.0\r\nHost: HOST\r\nAuthorization: Bearer good\r\n\r\n"),
        ("426",),
    ),
    Case(
        "Message framing in HTTP/1.1",
        "No upgrade",
        "Upgrade: h2c with HTTP2-Settings",
        http1("GET", "/time/mcp", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ("200", "403"),
        TIME,
    ),
    Case(
        "Message framing in HTTP/1.1",
        "No upgrade",
        "Upgrade: websocket",
        Http1(
            b"GET /time/mcp HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer good\r\nConnection: Upgrade, close\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ),
        ("200",),
        TIME,
    ),
    Case(
        "Message framing in HTTP/1.1",
        "No upgrade",
        "Upgrade: TLS/1.2",
        Http1(
            b"GET /time/mcp HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer good\r\nConnection: Upgrade, close\r\n"
            b"Upgrade: TLS/1.2\r\n\r\n"
        ),
        ("200",),
        TIME,
    ),
    Case(
        "Message framing in HTTP/1.1",
        "No tunnel",
        "CONNECT elsewhere.example:443",
        Http1(b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: elsewhere.example:443\r\n\r\n"),
        ("403", "404", "421"),
    ),
)
