"""Whatever is sent, no endpoint answers with a stack trace or a 500."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.support.web_process import WebServer

PATHS = st.sampled_from(
    [
        "/", "/authorize", "/authorize/consent", "/callback", "/token", "/register", "/register/x", "/healthz",
        "/.well-known/jwks.json", "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource/time/mcp",
    ]
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "client_id",
        "redirect_uri",
        "state",
        "code",
        "scope",
        "resource",
        "grant_type",
        "refresh_token",
        "handle",
        "x",
    ]
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
HEADERS = st.dictionaries(
    st.sampled_from(["Authorization", "Cookie", "Origin", "Content-Type", "Accept", "X-Forwarded-Host"]),
    st.sampled_from(
        [
            "Basic eDp5", "Basic =", "Bearer x", "portcullis=x", "null", "application/json", "*/*", "=;=;",
            "application/x-www-form-urlencoded", "text/html; charset=nonsense",
        ]
    ),
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    path=PATHS,
    query=st.lists(st.tuples(NAMES, TEXT), max_size=6),
    headers=HEADERS,
    body=st.binary(max_size=200) | TEXT.map(str.encode),
)
def test_no_request_is_answered_with_a_server_error(
    *, web: WebServer, method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str], body: bytes
) -> None:
    url = httpx2.URL(f"{web.issuer}{path}", params=query)
    answer = httpx2.request(method, url, headers=headers, content=body)
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
