"""Credentials, and headers that only a proxy or only Portcullis may set."""

from __future__ import annotations

from tests.envoy.edge.case import FORGED, TIME, Case
from tests.envoy.edge.exchange import Http1, http1

CREDENTIALS = tuple(
    Case("Credentials", rule, sent, request, wanted, reaches)
    for rule, sent, request, wanted, reaches in (
        (
            "One credential",
            "Authorization twice: the good one, another",
            http1("GET", "/time/mcp", "Authorization: Bearer other"),
            ("401",),
            (),
        ),
        (
            "One credential",
            "Authorization: Bearer good, Bearer good",
            http1("GET", "/time/mcp", "Authorization: Bearer good, Bearer good", token=False),
            ("401",),
            (),
        ),
        (
            "The service never sees the token",
            "Authorization: Bearer good",
            http1("GET", "/time/mcp"),
            ("200",),
            TIME,
        ),
        (
            "No token in a header of another name",
            "Proxy-Authorization: Bearer good, and no Authorization",
            http1("GET", "/time/mcp", "Proxy-Authorization: Bearer good", token=False),
            ("401",),
            (),
        ),
        (
            "No token in a cookie",
            "Cookie: access_token=good",
            http1("GET", "/time/mcp", "Cookie: access_token=good", token=False),
            ("401",),
            (),
        ),
        (
            "No token in the URL",
            "GET /time/mcp?access_token=good, and no Authorization",
            http1("GET", "/time/mcp?access_token=good", token=False),
            ("401",),
            (),
        ),
    )
)

_ONLY_A_PROXY = (
    *("X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Client-Cert", "X-Forwarded-User"),
    *("Forwarded", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Original-Host"),
    *("X-Method-Override", "X-Http-Method", "X-Method", "Method-Override", "X-Override-Url"),
    *("X-Envoy-Upstream-Rq-Timeout-Ms", "X-Envoy-Retry-On", "X-Envoy-Original-Path", "X-Envoy-External-Address"),
    *("X-Envoy-Auth-Partial-Body", "X-Envoy-Decorator-Operation", "X-Portcullis-Address", "X-Forwarded-For"),
)
_IDENTITY = ("X-User-Id", "X-User-Name", "X-Client-Id", "X-Token-Scope", "X-User-Groups", "X-Portcullis-Assertion")

HEADERS = (
    *(
        Case(
            "Headers from outside",
            "What only a proxy may say is removed",
            f"{name}: {FORGED}",
            http1("GET", "/time/mcp", f"{name}: {FORGED}"),
            ("200",),
            TIME,
        )
        for name in _ONLY_A_PROXY
    ),
    *(
        Case(
            "Headers from outside",
            "Who is calling is ours to say",
            f"{name}: {FORGED}",
            http1("GET", "/time/mcp", f"{name}: {FORGED}"),
            ("200",),
            TIME,
        )
        for name in (*_IDENTITY, "X.User.Id", "X~User~Name")
    ),
    *(
        Case(
            "Headers from outside",
            "No header with an underscore",
            f"{name}: {FORGED}",
            http1("GET", "/time/mcp", f"{name}: {FORGED}"),
            ("400",),
        )
        for name in ("X_User_Id", "Any_Header")
    ),
    Case(
        "Headers from outside",
        "Our headers cannot be declared those of the connection",
        "Connection: close, x-user-id",
        Http1(
            b"GET /time/mcp HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer good\r\n"
            b"Connection: close, x-user-id\r\n\r\n"
        ),
        ("200", "400"),
        TIME,
    ),
    Case(
        "Headers from outside",
        "The authorization server is told the address that Envoy sees",
        f"GET /token, X-Portcullis-Address: {FORGED}",
        http1("GET", "/token", f"X-Portcullis-Address: {FORGED}"),
        ("200",),
        ("oauth_web /token",),
    ),
)
