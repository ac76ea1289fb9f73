"""GitHub is unreachable during the sessions of members of an organisation, and returns (row R10).

Tokens stay valid until they expire, no new ones are issued, and no grant ends. Afterwards all continues, and
people who left meanwhile lose their access (`docs/adr/0019`).
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.service.oauth_web.issued_tokens import alive
from tests.support.oauth_client import OAuthClient, Pkce, answered
from tests.support.programs import until
from tests.support.web_process import running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.web_process import WebServer

HTTPS = "https://app.example/cb"


class Relay:
    """Stands before GitHub's API. While it is away, every connection is closed, also the open ones."""

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self._is_away = False
        self._open: set[asyncio.Task[Any]] = set()

    def go_away(self) -> None:
        self._is_away = True
        for task in self._open:
            task.cancel()

    async def end(self) -> None:
        self.go_away()
        if self._open:
            await asyncio.wait(self._open)

    def come_back(self) -> None:
        self._is_away = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._pass_on(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer = None
        try:
            if self._is_away:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pass(reader, far_writer))
                ways.create_task(_pass(far_reader, writer))
        finally:
            for end in (writer, far_writer):
                if end is not None:
                    end.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()  # and so the other direction ends too


@asynccontextmanager
async def relay() -> AsyncIterator[Relay]:
    passing = Relay()
    server = await asyncio.start_server(passing.serve, "127.0.0.1", 0)
    passing.port = server.sockets[0].getsockname()[1]
    try:
        yield passing
    finally:
        server.close()
        await passing.end()


@dataclass
class App:
    """A web app that a person connected with a remembered consent."""

    client_id: str
    url: str
    tokens: dict[str, Any]


async def connected(browser: OAuthClient, login: str) -> App:
    registration, pkce = await browser.register(redirect_uris=[HTTPS]), Pkce.fresh()
    url = browser.authorize_url(registration.client_id, pkce.challenge, redirect_uri=HTTPS)
    code = (await browser.authorize(url, login))["code"]
    tokens = await browser.redeem(registration.client_id, code, pkce.verifier, redirect_uri=HTTPS)
    form = {**await browser.consent_form(url), "decision": "allow", "remember": "yes"}
    await browser.http.post(f"{browser.issuer}/authorize/consent", data=form)
    app = App(registration.client_id, url, tokens.json())
    assert "code" in await silently(browser, app)
    return app


async def silently(browser: OAuthClient, app: App, **parameters: str) -> dict[str, str]:
    """The app's answer when it sends its user, who has a remembered consent."""
    asked = "".join(f"&{name}={value}" for name, value in parameters.items())
    answer = await browser.http.get(f"{app.url}{asked}")
    assert answer.status_code == 302, answer.text
    return answered(answer.headers["Location"])


async def account(browser: OAuthClient) -> str:
    return (await browser.http.get(f"{browser.issuer}/account")).text


async def checks(web: WebServer, number: int = 1) -> None:
    """`number` rounds of the scheduled check have ended since the call."""

    def done() -> int:
        return web.log.read_text(encoding="utf-8").count("membership.checked")

    before = done()
    # One more, since the first may have begun before the call.
    await asyncio.to_thread(until, lambda: done() > before + number, "the scheduled check has come round")


async def check_outage(web: WebServer, browser: OAuthClient, app: App, login: str) -> None:
    """`login` gets nothing new, and loses nothing."""
    for _ in range(3):
        refused = await browser.refresh(app.client_id, app.tokens["refresh_token"])
        assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
        assert refused.headers["Retry-After"]
        assert "access_token" not in refused.json()
    for asked in ({}, {"prompt": "none"}):
        told = await silently(browser, app, **asked)
        told.pop("error_description")
        assert told == {
            "error": "temporarily_unavailable", "state": "state-of-the-client", "iss": web.issuer,
        }  # fmt: skip
    another = await browser.register()
    allowed = await browser.consent(browser.authorize_url(another.client_id, Pkce.fresh().challenge))
    assert answered(allowed.headers["Location"])["error"] == "temporarily_unavailable"
    assert f"<strong>{login}</strong>" in await account(browser), "the session stays, and its page works"
    assert alive(web, app.tokens["access_token"])


async def test_during_an_outage_of_github_nothing_new_is_granted_and_nothing_ends_until_it_is_over() -> None:
    admits = {"ALLOWED_GITHUB_USERS": "", "ALLOWED_GITHUB_ORGS": "acme", "MEMBERSHIP_CHECK_INTERVAL": "1"}
    async with relay() as github:
        api = {"GITHUB_API_URL": f"http://127.0.0.1:{github.port}/_github/api/v3"}
        with running_web({**admits, **api}) as web:
            github.target = urlsplit(web.environment["GITHUB_URL"]).port or 0
            async with OAuthClient(web.issuer) as stays, OAuthClient(web.issuer) as leaves:
                kept, lost = await connected(stays, "octavia"), await connected(leaves, "marek")
                github.go_away()
                await check_outage(web, stays, kept, "octavia")
                await check_outage(web, leaves, lost, "marek")
                web.now_at_github({"marek": {}})
                await checks(web)
                await check_outage(web, stays, kept, "octavia")
                assert alive(web, lost.tokens["access_token"]), "it cannot be found out yet that he left"
                assert "grant.revoked" not in web.log.read_text(encoding="utf-8")

                github.come_back()
                await checks(web)
                fresh = await stays.refresh(kept.client_id, kept.tokens["refresh_token"])
                assert fresh.status_code == 200, "the refusal did not consume it"
                assert "code" in await silently(stays, kept)
                assert not alive(web, lost.tokens["access_token"])
                ended = await leaves.refresh(lost.client_id, lost.tokens["refresh_token"])
                assert (ended.status_code, ended.json()["error"]) == (400, "invalid_grant")
                assert (await leaves.http.get(lost.url)).status_code == 200, (
                    "he must sign in again, so GitHub is asked"
                )
                assert "Sign in with GitHub" in await account(leaves)
