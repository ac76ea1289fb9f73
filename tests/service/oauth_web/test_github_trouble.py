"""GitHub slow, half open, rate limited or with invalid answers: a clear result in bounded time, and no false
refusal.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from oauth_core.model import User
from oauth_core.process.metrics import labelled
from oauth_web.login_providers.github import GitHub, GitHubRefusedError, GitHubUnavailableError, Result, Step
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.web_process import running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

import httpx2

ANNA = User(7, "anna")


def _http(status: str, body: str = "", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", body]
    return "\r\n".join(lines).encode()


class Trouble:
    """A server that gives each path the answer that the test set, and counts requests."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | str] = {}
        self.asked: list[str] = []
        self.was_asked = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readline()).split(b" ")[1].decode()
            again = f"{path} again"
            answer = self.answers[again if path in self.asked and again in self.answers else path]
            self.asked.append(path)
            self.was_asked.set()
            if isinstance(answer, bytes):
                writer.write(answer)
            elif answer == "silent":
                await reader.read()
            elif answer == "trickle":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not reader.at_eof():
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


SOON, LONG = 1.0, 60.0
"""Deadlines: one that a test waits for, and one that no test reaches."""


def deadline_for(answer: bytes | str) -> float:
    return SOON if answer in {"silent", "trickle"} else LONG


@asynccontextmanager
async def troubled(deadline: float = LONG) -> AsyncIterator[tuple[Trouble, GitHub, str]]:
    trouble = Trouble()
    server = await asyncio.start_server(trouble.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, httpx2.AsyncClient() as http:
        yield trouble, GitHub("id", "secret", url, url, url, f"{url}/callback", http, deadline), url


TOKEN = "/login/oauth/access_token"
GIVEN = _http("200 OK", json.dumps({"access_token": "t", "token_type": "bearer"}))
WHO = _http("200 OK", json.dumps({"id": 7, "login": "anna"}))
HTML = _http("200 OK", "<html>We are having trouble</html>", "Content-Type: text/html")
MOVED = _http("302 Found", "", "Location: http://169.254.169.254/")
REFUSAL = json.dumps({"message": "No", "documentation_url": "https://docs.github.com/rest"})
"""The body of every error of GitHub."""
LIMITED = [
    _http("403 Forbidden", "{}", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 4000000000"),
    _http("403 Forbidden", "{}", "Retry-After: 60"),
    _http("429 Too Many Requests", "{}", "Retry-After: 60"),
    _http("429 Too Many Requests", "{}"),
]
NOT_GITHUB = [
    _http("404 Not Found", "default backend - 404"),
    _http("404 Not Found", json.dumps({"message": "no Route matched with those values"})),
    _http("403 Forbidden", "<html>Blocked by your company's proxy</html>"),
    _http("401 Unauthorized", "", "WWW-Authenticate: Basic realm=proxy"),
]
"""Answers of a proxy, or of a server in GitHub's place during maintenance: no user lost a membership."""
STATELESS = [_http("200 OK", body) for body in ("[]", "null", "{}")]
"""JSON without the requested data."""
TROUBLES = [
    "silent", "trickle", "closed", HTML, MOVED, _http("500 Internal Server Error", "x"),
    _http("503 Service Unavailable", "x"), *STATELESS,
    *LIMITED, *NOT_GITHUB,
]  # fmt: skip


@pytest.mark.parametrize("answer", TROUBLES)
async def test_a_faulty_token_endpoint_is_unavailable_and_gets_one_request(answer: bytes | str) -> None:
    async with troubled(deadline_for(answer)) as (trouble, github, _):
        trouble.answers[TOKEN] = answer
        with pytest.raises(GitHubUnavailableError):
            await asyncio.wait_for(github.sign_in(code="c", code_verifier="v" * 43), 60)
        assert trouble.asked.count(TOKEN) <= 1, "a code that was sent may have been consumed"


@pytest.mark.parametrize("answer", TROUBLES)
async def test_a_faulty_user_endpoint_is_unavailable_and_gets_at_most_two_requests(answer: bytes | str) -> None:
    async with troubled(deadline_for(answer)) as (trouble, github, _):
        trouble.answers = {TOKEN: GIVEN, "/user": answer}
        with pytest.raises(GitHubUnavailableError):
            await asyncio.wait_for(github.sign_in(code="c", code_verifier="v" * 43), 60)
        assert trouble.asked.count("/user") <= 2


@pytest.mark.parametrize("answer", TROUBLES)
async def test_a_faulty_membership_endpoint_does_not_count_as_no_member(answer: bytes | str) -> None:
    async with troubled(deadline_for(answer)) as (trouble, github, _):
        trouble.answers = {"/user": WHO, "/user/memberships/orgs/acme": answer}
        with pytest.raises(GitHubUnavailableError):
            await asyncio.wait_for(github.groups("t", ANNA, lambda _: ["acme"]), 60)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("silent", Result.TIMED_OUT),
        ("trickle", Result.TIMED_OUT),
        ("closed", Result.UNAVAILABLE),
        (HTML, Result.UNAVAILABLE),
        (LIMITED[0], Result.UNAVAILABLE),
        (_http("403 Forbidden", REFUSAL), Result.REFUSED),
        (_http("404 Not Found", REFUSAL), Result.ANSWERED),
    ],
)
@pytest.mark.parametrize(
    ("step", "path", "group"),
    [
        (Step.ORGANIZATION, "/user/memberships/orgs/acme", "acme"),
        (Step.TEAM, "/orgs/acme/teams/ops/memberships/anna", "acme/ops"),
    ],
)
async def test_metrics_report_the_result_of_each_step(
    answer: bytes | str, result: Result, step: Step, path: str, group: str
) -> None:
    async with troubled(deadline_for(answer)) as (trouble, github, _):
        trouble.answers = {"/user": WHO, path: answer}
        with suppress(GitHubRefusedError, GitHubUnavailableError):
            await asyncio.wait_for(github.groups("t", ANNA, lambda _: [group]), 60)
        figures = github.timings.figures()
        counted = {name for name, value in figures.items() if "_count{" in name and value}
        name = "portcullis_github_requests_seconds_count"
        expected = {labelled(name, step=step, result=result)}
        if path in trouble.asked:  # otherwise the deadline was over during the request for the person
            assert counted == expected | {labelled(name, step=Step.USER, result=Result.ANSWERED)}
        assert all(figures[one] == 1 for one in counted)


async def test_a_cancelled_request_does_not_count_in_the_metrics() -> None:
    async with troubled() as (trouble, github, _):
        trouble.answers[TOKEN] = "silent"
        signing_in = asyncio.ensure_future(github.sign_in(code="c", code_verifier="v" * 43))
        await asyncio.wait_for(trouble.was_asked.wait(), 60)
        signing_in.cancel()
        with pytest.raises(asyncio.CancelledError):
            await signing_in
        assert not any(github.timings.figures().values())


async def test_a_short_fault_is_retried() -> None:
    async with troubled() as (trouble, github, _):
        trouble.answers = {TOKEN: GIVEN, "/user": _http("502 Bad Gateway"), "/user again": WHO}
        assert (await github.sign_in(code="c", code_verifier="v" * 43)).user == ANNA


async def test_a_refusal_by_github_stays_a_refusal() -> None:
    async with troubled() as (trouble, github, _):
        trouble.answers[TOKEN] = _http("200 OK", json.dumps({"error": "bad_verification_code"}))
        with pytest.raises(GitHubRefusedError):
            await github.sign_in(code="c", code_verifier="v" * 43)
        trouble.answers["/user"] = WHO
        for status in ("401 Unauthorized", "403 Forbidden"):
            trouble.answers["/user/memberships/orgs/acme"] = _http(status, REFUSAL)
            with pytest.raises(GitHubRefusedError):
                await github.groups("t", ANNA, lambda _: ["acme"])
        trouble.answers["/user/memberships/orgs/acme"] = _http("404 Not Found", REFUSAL)
        assert await github.groups("t", ANNA, lambda _: ["acme"]) == (ANNA, frozenset())


async def test_a_slow_github_is_temporarily_unavailable_for_the_client_and_on_the_page() -> None:
    async with troubled() as (trouble, _, url):
        trouble.answers[TOKEN] = "trickle"
        with running_web({"GITHUB_BACKCHANNEL_URL": url, "GITHUB_TIMEOUT": "1"}) as server:
            async with OAuthClient(server.issuer) as client:
                registration = await client.register()
                came_back = await client.authorize(
                    client.authorize_url(registration.client_id, Pkce.fresh().challenge)
                )
                assert came_back["error"] == "temporarily_unavailable"
                assert (came_back["state"], came_back["iss"]) == ("state-of-the-client", server.issuer)
                to_github = await client.http.post(f"{server.issuer}/account/sign-in")
                page = await client.http.get(await client.from_github(to_github))
                assert (page.status_code, page.headers["Retry-After"]) == (503, "2")
                assert "Sign-in is not available right now" in page.text
