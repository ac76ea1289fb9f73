"""No endpoint answers any request with a stack trace or a 500."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.settings import WebSettings
from oauth_web.app import create_app
from tests.support.oauth_client import SESSION, OAuthClient, form_value
from tests.support.property_tests import examples

if TYPE_CHECKING:
    from tests.support.web_process import WebServer


def _every_path() -> list[str]:
    """Every path that the application reports, and some that do not exist."""
    settings = WebSettings.model_construct(issuer="http://localhost:8080", session_timeout=600)
    rules = (
        rule.rule
        for rule in create_app(
            MagicMock(settings=settings, documents=MagicMock(are_offered=True))
        ).url_map.iter_rules()
    )
    filled = {rule.replace("<client_id>", "x").replace("<path:path>", "time/mcp") for rule in rules}
    return sorted(filled | {"/account/", "/account/x", "/register/", "/.well-known/x", "/static/x"})


PATHS = _every_path()
NAMES = st.sampled_from(
    [
        "client_id", "redirect_uri", "state", "code", "scope", "resource", "grant_type", "refresh_token", "handle",
        "form_token", "grant", "client", "done", "decision", "remember", "user_code", "token", "assertion", "x",
    ]
)  # fmt: skip
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
HEADERS = st.dictionaries(
    st.sampled_from(["Authorization", "Cookie", "Origin", "Content-Type", "Accept", "X-Forwarded-Host"]),
    st.sampled_from(
        [
            "Basic eDp5", "Basic =", "Bearer x", "portcullis=x", "null", "application/json", "*/*", "=;=;",
            f"{SESSION}={'x' * 43}", "application/x-www-form-urlencoded", "text/html; charset=nonsense",
        ]
    ),
)  # fmt: skip


@examples(300)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    path=st.sampled_from(PATHS),
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


def test_every_page_of_the_account_is_among_the_tested_paths() -> None:
    assert {path for path in PATHS if path.startswith("/account/sign-out")} == {
        "/account/sign-out",
        "/account/sign-out-everywhere",
    }
    assert {"/account", "/account/disconnect", "/account/forget-all", "/account/registration-token"} <= set(PATHS)


@pytest.fixture
async def signed_in(web: WebServer) -> tuple[dict[str, str], str]:
    """The cookie of a session, and the token of its forms."""
    async with OAuthClient(web.issuer) as browser:
        to_github = await browser.http.post(f"{web.issuer}/account/sign-in")
        await browser.http.get(await browser.from_github(to_github))
        page = await browser.http.get(f"{web.issuer}/account")
        return {"Cookie": f"{SESSION}={browser.http.cookies[SESSION]}"}, form_value(page.text, "form_token")


@examples(60)
@given(
    action=st.sampled_from(["disconnect", "forget", "registration-token", "disconnect-all", "forget-all"]),
    form=st.dictionaries(st.sampled_from(["grant", "client", "x"]), TEXT | st.text("{}*:\x00/%", max_size=20)),
    twice=st.booleans(),
    done=TEXT,
)
def test_no_request_of_a_signed_in_person_is_answered_with_a_server_error(
    *,
    web: WebServer,
    signed_in: tuple[dict[str, str], str],
    action: str,
    form: dict[str, str],
    twice: bool,
    done: str,
) -> None:
    headers, token = signed_in
    sent: dict[str, str | list[str]] = {**form, "form_token": [token, token] if twice else token}
    answer = httpx2.post(f"{web.issuer}/account/{action}", data=sent, headers=headers)
    assert answer.status_code < 500, answer.text
    told = httpx2.get(f"{web.issuer}/account", params={"done": done}, headers=headers)
    assert told.status_code in {200, 400}, "400 for characters that no text may contain"
    page = httpx2.get(f"{web.issuer}/account", headers=headers)
    assert page.status_code == 200
    assert "<strong>octocat</strong>" in page.text, "no request ends the session"
