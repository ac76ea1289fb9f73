"""Requests that break a rule for the origin, host, method, type, size, duration or number of requests."""

from __future__ import annotations

from tests.envoy.edge.case import TIME, Case
from tests.envoy.edge.exchange import Http1, Http2, http1, http2_fields, posted
from tests.envoy.world import APP, FILES, REQUEST_LIMIT

_EVIL = "https://evil.example"
_SMALL = 64 * 1024
_PREFLIGHT = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization, mcp-name")

ORIGIN = (
    *(
        Case("Origin", "Scripts of foreign pages are refused", sent, request, ("403",))
        for sent, request in (
            (f"POST /time/mcp, Origin: {_EVIL}", posted("/time/mcp", f"Origin: {_EVIL}")),
            ("POST /time/mcp, Origin: null", posted("/time/mcp", "Origin: null")),
            ("POST /time/mcp, Origin: (empty)", posted("/time/mcp", "Origin:")),
            (f"POST /time/mcp, Origin: {APP}.evil.example", posted("/time/mcp", f"Origin: {APP}.evil.example")),
            (f"POST /time/mcp, Origin: {APP}:444", posted("/time/mcp", f"Origin: {APP}:444")),
            ("POST /time/mcp, two Origins", posted("/time/mcp", f"Origin: {APP}", f"Origin: {_EVIL}")),
            (
                "POST /time/mcp, Origin: http://localhost:6274",
                posted("/time/mcp", "Origin: http://localhost:6274"),
            ),
            (f"GET /time/mcp (HTTP/2), origin: {_EVIL}", Http2(http2_fields((), ("origin", _EVIL)))),
            (f"POST /token, Origin: {_EVIL}", posted("/token", f"Origin: {_EVIL}", token=False)),
            (f"POST /register, Origin: {_EVIL}", posted("/register", f"Origin: {_EVIL}", token=False)),
        )
    ),
    Case(
        "Origin", "Allowed pages may call", f"Origin: {APP}", posted("/time/mcp", f"Origin: {APP}"), ("200",), TIME
    ),
    Case("Origin", "Programs send none", "no Origin", posted("/time/mcp"), ("200",), TIME),
)

CORS = (
    *(
        Case(
            "CORS",
            "A preflight of an allowed page needs no token",
            f"OPTIONS {path}, Origin: {APP}",
            http1("OPTIONS", path, f"Origin: {APP}", *_PREFLIGHT, token=False),
            ("200",),
            says=(f"access-control-allow-origin: {APP}",),
        )
        for path in (
            "/time/mcp",
            "/register",
            "/token",
            "/revoke",
            "/.well-known/oauth-protected-resource/time/mcp",
        )
    ),
    *(
        Case(
            "CORS",
            "A preflight of a foreign page is refused",
            f"OPTIONS {path}, Origin: {_EVIL}",
            http1("OPTIONS", path, f"Origin: {_EVIL}", *_PREFLIGHT, token=False),
            ("403",),
        )
        for path in ("/time/mcp", "/register", "/token")
    ),
    Case(
        "CORS",
        "A page can read the challenge",
        f"POST /time/mcp without a token, Origin: {APP}",
        posted("/time/mcp", f"Origin: {APP}", token=False),
        ("401",),
        says=(
            "access-control-expose-headers: WWW-Authenticate, Mcp-Session-Id, Mcp-Protocol-Version, Retry-After",
        ),
    ),
)

HOST = (
    *(
        Case(
            "Host",
            "Unknown hosts are refused",
            f"Host: {host or '(empty)'}",
            http1("GET", "/time/mcp", host=host),
            wanted,
        )
        for host, wanted in (
            ("evil.example", ("421",)),
            ("127.0.0.1", ("421",)),
            ("HOST.evil.example", ("421",)),
            ("HOST:8443", ("421",)),
            ("HOST.", ("421",)),
            ("evil.example#HOST", ("421", "400")),
            ("HOST@evil.example", ("421", "400")),
            ("", ("421", "400")),
        )
    ),
    Case("Host", "One host", "Host twice", http1("GET", "/time/mcp", "Host: evil.example"), ("400", "421")),
    Case(
        "Host",
        "One host",
        "no Host",
        Http1(b"GET /time/mcp HTTP/1.1\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n"),
        ("400",),
    ),
    Case(
        "Host",
        "An absolute target counts, and is checked",
        f"GET http://{FILES}/time/mcp, Host: of the gateway",
        http1("GET", f"http://{FILES}/time/mcp"),
        ("200",),
        ("root /time/mcp",),
    ),
    Case(
        "Host",
        "An absolute target counts, and is checked",
        "GET http://evil.example/time/mcp, Host: of the gateway",
        http1("GET", "http://evil.example/time/mcp"),
        ("421",),
    ),
    Case(
        "Host",
        "A host may be written with its default port and in capitals",
        "Host: GATE.EXAMPLE.COM:443",
        http1("GET", "/time/mcp", host="GATE.EXAMPLE.COM:443"),
        ("200", "421"),
        TIME,
    ),
)

METHODS = (
    *(
        Case(
            "Methods",
            "A service gets GET, POST and DELETE",
            f"{method} /time/mcp",
            http1(method, "/time/mcp"),
            wanted,
        )
        for method, wanted in (
            ("PUT", ("405",)),
            ("PATCH", ("405",)),
            ("HEAD", ("405",)),
            ("TRACE", ("405",)),
            ("PROPFIND", ("405",)),
            ("get", ("405", "400")),
            ("FOO", ("405", "400")),
        )
    ),
    *(
        Case(
            "Methods",
            "No method opens a service without a token",
            f"{method} /time/mcp, no token",
            http1(method, "/time/mcp", "Content-Length: 0", token=False),
            ("401",),
        )
        for method in ("GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "TRACE")
    ),
    Case(
        "Methods",
        "A service gets GET, POST and DELETE",
        "DELETE /time/mcp",
        http1("DELETE", "/time/mcp"),
        ("200",),
        TIME,
    ),
)

_TYPED = (
    ("text/plain", "415"),
    ("application/x-www-form-urlencoded", "415"),
    ("multipart/form-data; boundary=x", "415"),
    ("application/jsonx", "415"),
    ("text/plain, application/json", "415"),
    ("", "415"),
    ("application/json; charset=utf-8", "200"),
    ("Application/JSON", "200"),
)
TYPES = tuple(
    Case(
        "Content-Type",
        "A call to a service is JSON",
        f"POST /time/mcp, Content-Type: {kind or '(none)'}",
        http1("POST", "/time/mcp", *([f"Content-Type: {kind}"] if kind else []), "Content-Length: 2", body=b"{}"),
        (status,),
        TIME,
    )
    for kind, status in _TYPED
)

SIZES = (
    Case(
        "Sizes",
        "A body has a limit",
        "a body of one byte more than max_request_bytes, by Content-Length",
        posted("/time/mcp", body=b"x" * (REQUEST_LIMIT + 1)),
        ("413",),
    ),
    Case(
        "Sizes",
        "A body has a limit",
        "a body of one byte more, in one chunk without a length",
        http1(
            "POST",
            "/time/mcp",
            "Content-Type: application/json",
            "Transfer-Encoding: chunked",
            body=b"%x\r\n%s\r\n0\r\n\r\n" % (REQUEST_LIMIT + 1, b"x" * (REQUEST_LIMIT + 1)),
        ),
        ("413",),
    ),
    Case(
        "Sizes",
        "A body has a limit",
        "POST /register with 64 KiB and one byte",
        posted("/register", body=b"x" * (_SMALL + 1), token=False),
        ("413",),
    ),
    Case(
        "Sizes",
        "Who has no token is refused before his body is awaited",
        "POST /time/mcp without a token, Content-Length: 100000 and ten bytes",
        http1(
            "POST",
            "/time/mcp",
            "Content-Type: application/json",
            "Content-Length: 100000",
            body=b"x" * 10,
            token=False,
        ),
        ("401",),
    ),
    Case(
        "Sizes",
        "100 headers",
        "101 headers",
        http1("GET", "/time/mcp", *(f"X-{n}: 1" for n in range(98))),
        ("431",),
    ),
    Case(
        "Sizes",
        "32 KiB of headers",
        "a header of 33 KiB",
        http1("GET", "/time/mcp", "X-Long: " + "x" * 33 * 1024),
        ("431",),
    ),
    Case(
        "Sizes",
        "32 KiB of headers",
        "a path of 33 KiB",
        http1("GET", "/time/mcp/" + "x" * 33 * 1024),
        ("431", "414", "400"),
    ),
)


SLOW = (
    Case(
        "Slow requests",
        "Headers have five seconds (here: half a second)",
        "half a head, and silence",
        Http1(b"GET /time/mcp HTTP/1.1\r\nHost: HOST\r\n"),
        ("408", "connection closed"),
        gate="hasty",
    ),
    Case(
        "Slow requests",
        "A request has a minute (here: half a second)",
        "POST with Content-Length: 10 and one byte, and silence",
        http1("POST", "/time/mcp", "Content-Type: application/json", "Content-Length: 10", body=b"{"),
        ("408",),
        gate="hasty",
    ),
)
_BEYOND = b"POST /token HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n" * 5
RATES = (
    Case(
        "Rate limits at Envoy",
        "One address has five seconds' worth at once, here five; a page can read that it must wait",
        f"six requests to /token on one connection, the last with Origin: {APP}",
        Http1(_BEYOND + http1("POST", "/token", "Content-Length: 0", f"Origin: {APP}", token=False).data),
        ("200, then 200, then 200, then 200, then 200, then 429",),
        ("oauth_web /token",) * 5,
        says=("retry-after: 1", f"access-control-allow-origin: {APP}"),
        gate="strict",
    ),
)
