"""Requests that the authorization server itself refuses, sent through the Envoy of a whole gateway."""

from __future__ import annotations

from tests.envoy.edge.case import Case
from tests.envoy.edge.exchange import Http1, http1, posted

_FORM = "Content-Type: application/x-www-form-urlencoded"


def _sent(method: str, path: str, *lines: str, body: bytes = b"") -> Http1:
    return http1(method, path, f"Content-Length: {len(body)}", *lines, body=body, token=False)


def _type(path: str, kind: str, body: bytes = b"{}") -> Case:
    request = _sent("POST", path, *([f"Content-Type: {kind}"] if kind else []), body=body)
    rule = "Registrations are JSON" if path == "/register" else "The other endpoints take forms"
    return Case(
        "Types at the authorization server",
        rule,
        f"POST {path}, Content-Type: {kind or '(none)'}",
        request,
        ("415",),
        gate="whole",
    )


CASES = (
    _type("/register", "text/plain"),
    _type("/register", "application/x-www-form-urlencoded"),
    _type("/register", ""),
    *(
        _type(path, kind)
        for path in ("/token", "/revoke", "/introspect", "/device_authorization", "/device", "/authorize/consent")
        for kind in ("application/json", "multipart/form-data; boundary=x", "")
    ),
    *(
        Case(
            "Methods at the authorization server",
            "Each endpoint has its methods",
            f"{method} {path}",
            _sent(method, path),
            ("405",),
            gate="whole",
        )
        for method, path in (
            ("GET", "/token"),
            ("PUT", "/token"),
            ("GET", "/register"),
            ("PATCH", "/register/x"),
            ("GET", "/revoke"),
            ("GET", "/introspect"),
            ("GET", "/device_authorization"),
            ("GET", "/authorize/consent"),
            ("POST", "/authorize"),
            ("POST", "/callback"),
            ("DELETE", "/.well-known/jwks.json"),
            ("TRACE", "/token"),
        )
    ),
    Case(
        "Credentials at the authorization server",
        "One credential",
        "Authorization twice",
        _sent("GET", "/register/x", "Authorization: Bearer a", "Authorization: Bearer b"),
        ("401",),
        gate="whole",
    ),
    Case(
        "Credentials at the authorization server",
        "A parameter is said once",
        "POST /token, grant_type twice",
        _sent("POST", "/token", _FORM, body=b"grant_type=refresh_token&grant_type=authorization_code"),
        ("400",),
        gate="whole",
    ),
    Case(
        "Credentials at the authorization server",
        "Forms of pages are sent by our pages only",
        "POST /device, Origin: https://evil.example",
        _sent("POST", "/device", _FORM, "Origin: https://evil.example", body=b"user_code=BCDF-GHJK"),
        ("400",),
        gate="whole",
    ),
    Case(
        "Credentials at the authorization server",
        "Nothing is read twice: JSON names are unique",
        'POST /register {"client_name": "a", "client_name": "b"}',
        posted("/register", body=b'{"client_name": "a", "client_name": "b"}', token=False),
        ("400",),
        gate="whole",
    ),
)
