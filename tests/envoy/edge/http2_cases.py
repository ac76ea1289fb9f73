"""Malformed requests in HTTP/2, and valid ones that must follow the same rules as in HTTP/1.1."""

from __future__ import annotations

from tests.envoy.edge.case import FORGED, TIME, Case
from tests.envoy.edge.exchange import CLOSED, RESET, Http2, http2_fields


def _h2(
    rule: str,
    sent: str,
    request: Http2,
    wanted: tuple[str, ...] = (RESET, CLOSED, "400"),
    reaches: tuple[str, ...] = (),
) -> Case:
    return Case("HTTP/2", rule, sent, request, wanted, reaches)


_MALFORMED = "A malformed request is not guessed at"

HTTP2 = (
    _h2("The same rules as in HTTP/1.1", "a good request", Http2(http2_fields()), ("200",), TIME),
    _h2(
        "The same rules as in HTTP/1.1",
        "no token",
        Http2(http2_fields([("authorization", None)])),
        ("401",),
    ),
    _h2(_MALFORMED, ":path twice", Http2(((":path", "/token"), *http2_fields()))),
    _h2(_MALFORMED, ":authority twice", Http2(((":authority", "evil.example"), *http2_fields()))),
    _h2(_MALFORMED, ":method twice", Http2(((":method", "POST"), *http2_fields()))),
    _h2(_MALFORMED, "no :path", Http2(http2_fields([(":path", None)]))),
    _h2(_MALFORMED, "an empty :path", Http2(http2_fields([(":path", "")]))),
    _h2(_MALFORMED, "no :method", Http2(http2_fields([(":method", None)]))),
    _h2(
        _MALFORMED,
        ":path of another form: time/mcp",
        Http2(http2_fields([(":path", "time/mcp")])),
        (RESET, CLOSED, "400", "404"),
    ),
    _h2(_MALFORMED, ":path with a space", Http2(http2_fields([(":path", "/time/mcp HTTP/1.1")]))),
    _h2(_MALFORMED, ":path with CR and LF", Http2(http2_fields([(":path", "/time/mcp\r\nx-user-id: forged")]))),
    _h2(_MALFORMED, ":method with CR and LF", Http2(http2_fields([(":method", "GET\r\nx-user-id: forged")]))),
    _h2(_MALFORMED, "an unknown pseudo-header :status", Http2(http2_fields((), (":status", "200")))),
    _h2(
        _MALFORMED,
        "a pseudo-header after the others",
        Http2(http2_fields([(":path", None)], (":path", "/time/mcp"))),
    ),
    _h2(_MALFORMED, "a name in capitals", Http2(http2_fields((), ("X-User-Id", FORGED)))),
    _h2(_MALFORMED, "a value with CR and LF", Http2(http2_fields((), ("x-a", "b\r\nx-user-id: forged")))),
    _h2(_MALFORMED, "a value with NUL", Http2(http2_fields((), ("x-a", "b\0c")))),
    _h2(_MALFORMED, "a name with a colon", Http2(http2_fields((), ("x-a: b\r\nx-user-id", FORGED)))),
    _h2(_MALFORMED, "transfer-encoding: chunked", Http2(http2_fields((), ("transfer-encoding", "chunked")))),
    _h2(_MALFORMED, "connection: close", Http2(http2_fields((), ("connection", "close")))),
    _h2(
        _MALFORMED,
        "content-length: 9 with two bytes of body",
        Http2(
            http2_fields([(":method", "POST")], ("content-type", "application/json"), ("content-length", "9")),
            b"{}",
        ),
    ),
    _h2(
        _MALFORMED,
        "content-length: 1 with two bytes of body",
        Http2(
            http2_fields([(":method", "POST")], ("content-type", "application/json"), ("content-length", "1")),
            b"{}",
        ),
    ),
    _h2(
        ":authority counts, and both are not believed",
        "host: evil.example beside a good :authority",
        Http2(http2_fields((), ("host", "evil.example"))),
        ("200", "400", RESET),
        TIME,
    ),
    _h2(
        ":authority counts, and both are not believed",
        "a good host beside :authority evil.example",
        Http2(http2_fields([(":authority", "evil.example")], ("host", "HOST"))),
        ("421", "400", RESET),
    ),
    _h2(
        "One credential",
        "authorization twice",
        Http2(http2_fields((), ("authorization", "Bearer other"))),
        ("401",),
    ),
    _h2(
        "Who is calling is ours to say",
        f"x-user-id: {FORGED}",
        Http2(http2_fields((), ("x-user-id", FORGED))),
        ("200",),
        TIME,
    ),
    _h2(
        "No tunnel",
        "CONNECT with :protocol websocket",
        Http2(http2_fields([(":method", "CONNECT")], (":protocol", "websocket"))),
        (RESET, CLOSED, "400", "403", "405"),
    ),
)
