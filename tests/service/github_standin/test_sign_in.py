"""The stand-in's sign-in page and token endpoint, over real HTTP."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from portcullis.github_standin import memory, people
from tests.service.github_standin.standin_client import (
    CLIENT_ID,
    CLIENT_SECRET,
    ISSUER,
    JSON,
    SIGN_IN,
    TOKEN,
    VERIFIER,
)

if TYPE_CHECKING:
    from tests.service.github_standin.standin_client import StandinClient


def test_every_page_says_that_this_is_not_github(standin: StandinClient) -> None:
    pages = [
        standin.show(),
        standin.show(client_id="another"),
        standin.choose("not a login"),
        standin.http.get("/_github/nowhere", headers={"Accept": "text/html"}),
    ]
    assert all("This is not GitHub" in page.text for page in pages)
    assert [page.status_code for page in pages] == [200, 400, 422, 404]


def test_the_page_offers_the_prepared_people_and_a_field(standin: StandinClient) -> None:
    page = standin.show().text
    assert all(f'value="{person.login}"' in page for person in people.READY)
    assert 'name="login"' in page


def test_a_choice_redirects_back_with_a_code_and_the_same_state(standin: StandinClient) -> None:
    answer = standin.choose("marek")
    location = urlsplit(answer.headers["Location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == f"{ISSUER}/callback"
    assert parse_qs(location.query)["state"] == ["a state & more"]


def test_cancelling_redirects_back_with_access_denied(standin: StandinClient) -> None:
    answer = standin.choose(cancel="1")
    assert parse_qs(urlsplit(answer.headers["Location"]).query)["error"] == ["access_denied"]


def test_a_callback_with_a_query_keeps_it(standin: StandinClient) -> None:
    answer = standin.choose(redirect_uri="http://127.0.0.1:1234/back?a=1")
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query["a"] == ["1"]
    assert "code" in query


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://evil.example/callback",
        "http://localhost:8080.evil.example/callback",
        "http://localhost:8080@evil.example/callback",
        "http://evil.example/?http://localhost:8080/",
        "//evil.example/callback",
        "javascript:alert(1)",
        "http://localhost:8080/callback#fragment",
        "http://[::1",
        "http://127.0.0.1:99999/",
    ],
)
def test_no_redirect_goes_to_another_machine(standin: StandinClient, uri: str) -> None:
    for answer in (standin.show(redirect_uri=uri), standin.choose(redirect_uri=uri)):
        assert answer.status_code == 400
        assert "Location" not in answer.headers


def test_parameters_are_escaped_on_the_page(standin: StandinClient) -> None:
    page = standin.show(state='"><script>alert(1)</script>').text
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_page_cannot_be_framed_runs_no_script_and_may_redirect_after_the_form(
    standin: StandinClient,
) -> None:
    policy = standin.show().headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action" not in policy


def test_a_form_posted_from_another_site_is_refused(standin: StandinClient) -> None:
    data = standin.asked | {"login": "octavia"}
    answer = standin.http.post(SIGN_IN, data=data, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert standin.http.post(SIGN_IN, data=data, headers={"Origin": ISSUER}).status_code == 302


@pytest.mark.parametrize("login", ["", "-x", "x-", "a--b", "a b", "x" * 40, "ünal", "../etc", "x\n"])
def test_only_a_well_formed_login_signs_in(login: str) -> None:
    assert people.find(login) is None


def test_a_login_keeps_its_account_id_in_any_case() -> None:
    first, again, other = people.find("Some-Body"), people.find("some-body"), people.find("somebody")
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.id == again.id != other.id


def test_a_code_is_exchanged_for_a_token_with_the_requested_scopes(standin: StandinClient) -> None:
    answer = standin.redeem(standin.code())
    assert answer["access_token"].startswith("gho_")
    assert answer["token_type"] == "bearer"
    assert answer["scope"] == "read:user,user:email,read:org"


def test_the_token_answer_is_form_encoded_unless_json_is_requested(standin: StandinClient) -> None:
    answer = standin.http.post(TOKEN, data=standin.token_request(standin.code()))
    assert answer.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
    assert parse_qs(answer.text)["token_type"] == ["bearer"]


def test_the_token_request_may_be_json_or_use_basic(standin: StandinClient) -> None:
    as_json = standin.http.post(TOKEN, headers=JSON, json=standin.token_request(standin.code()))
    assert "access_token" in as_json.json()
    body = {k: v for k, v in standin.token_request(standin.code()).items() if not k.startswith("client")}
    credentials = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    basic = standin.http.post(TOKEN, headers=JSON | {"Authorization": f"Basic {credentials}"}, data=body)
    assert "access_token" in basic.json()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "another"}, "incorrect_client_credentials"),
        ({"client_secret": ""}, "incorrect_client_credentials"),
        ({"client_secret": "wröng"}, "incorrect_client_credentials"),
        ({"code": "made-up"}, "bad_verification_code"),
        ({"code_verifier": "w" * 43}, "bad_verification_code"),
        ({"code_verifier": ""}, "bad_verification_code"),
        ({"redirect_uri": f"{ISSUER}/callback/"}, "redirect_uri_mismatch"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_an_invalid_token_request_is_answered_as_github_does(
    standin: StandinClient, changes: dict[str, str], error: str
) -> None:
    answer = standin.redeem(standin.code(), **changes)
    assert answer["error"] == error
    assert set(answer) == {"error", "error_description", "error_uri"}


def test_a_code_works_once_and_a_wrong_attempt_consumes_it(standin: StandinClient) -> None:
    code = standin.code()
    assert "access_token" in standin.redeem(code)
    assert standin.redeem(code)["error"] == "bad_verification_code"
    spoiled = standin.code()
    assert standin.redeem(spoiled, code_verifier="w" * 43)["error"] == "bad_verification_code"
    assert standin.redeem(spoiled)["error"] == "bad_verification_code"


def test_a_wrong_secret_does_not_consume_the_code(standin: StandinClient) -> None:
    code = standin.code()
    assert standin.redeem(code, client_secret="guess")["error"] == "incorrect_client_credentials"
    assert "access_token" in standin.redeem(code)


def test_a_code_without_a_challenge_needs_no_verifier(standin: StandinClient) -> None:
    code = standin.code(code_challenge="", code_challenge_method="")
    assert "access_token" in standin.redeem(code, code_verifier="")


@pytest.mark.parametrize(("method", "challenge"), [("plain", VERIFIER), ("", VERIFIER), ("S256", "short")])
def test_only_s256_challenges_are_accepted(standin: StandinClient, method: str, challenge: str) -> None:
    assert standin.show(code_challenge_method=method, code_challenge=challenge).status_code == 400


@pytest.mark.parametrize("body", [b"[", b"[1]", b'"text"', b'{"code": 1}', b"\xff\xfe", b"a&" * 1000])
def test_a_malformed_token_request_gets_an_error_and_not_a_crash(standin: StandinClient, body: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        answer = standin.http.post(TOKEN, content=body, headers=JSON | {"Content-Type": kind})
        assert answer.status_code == 200
        assert "error" in answer.json()


def test_an_oversized_request_is_refused(standin: StandinClient) -> None:
    answer = standin.http.post(TOKEN, data={"code": "x" * 100_000})
    assert answer.status_code == 413


def test_an_old_code_is_refused() -> None:
    now = 0.0
    kept = memory.Memory(clock=lambda: now)
    person = people.READY[0]
    fresh, old = (kept.new_code(person, "http://localhost/", (), None) for _ in range(2))
    now = memory.CODE_SECONDS - 1.0
    assert kept.take_code(fresh) is not None
    now = float(memory.CODE_SECONDS)
    assert kept.take_code(old) is None
