"""When the log is the audit record and cannot be written, theft still ends a grant."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.process.audit_output import AuditOutput
from oauth_core.settings import WebSettings, load
from oauth_web.app import create_app
from oauth_web.grants.catalog import GRANT_TYPES
from oauth_web.runtime.deps import wire
from tests.support.oauth_client import REDIRECT_URI, Pkce

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart.typing import TestClientProtocol

    from oauth_core.audit import AuditEvent
    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer


class FullLog:
    """A log on a full disk."""

    def record(self, event: AuditEvent) -> None:
        del event
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
async def unlogged(web: WebServer) -> AsyncIterator[TestClientProtocol]:
    """The same server again, in this process, with a full log."""
    settings = load(WebSettings, None, web.environment)
    app = create_app(await wire(settings, GRANT_TYPES, AuditOutput(None, FullLog())))
    async with app.test_app():
        yield app.test_client()


async def ended(client: OAuthClient, client_id: str, tokens: dict[str, Any]) -> bool:
    """Whether the newest refresh token of a grant is no longer valid."""
    answer = await client.refresh(client_id, tokens["refresh_token"])
    return bool(answer.json().get("error") == "invalid_grant")


async def test_a_replayed_code_ends_its_grant(
    web: WebServer, client: OAuthClient, unlogged: TestClientProtocol
) -> None:
    client_id, pkce = (await client.register()).client_id, Pkce.fresh()
    code = await client.code(client_id, pkce)
    tokens = (await client.redeem(client_id, code, pkce.verifier)).json()
    form = {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "code": code,
        "redirect_uri": REDIRECT_URI,
        "code_verifier": pkce.verifier,
    }
    assert (await unlogged.post("/token", form=form)).status_code >= 400
    assert await ended(client, client_id, tokens)


async def test_a_reused_refresh_token_ends_its_grant(
    web: WebServer, client: OAuthClient, unlogged: TestClientProtocol
) -> None:
    client_id = (await client.register()).client_id
    first = await client.tokens(client_id)
    second = (await client.refresh(client_id, first["refresh_token"])).json()
    third = (await client.refresh(client_id, second["refresh_token"])).json()
    web.let_pass_since_refreshes(first["refresh_token"], 11)
    form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": first["refresh_token"]}
    assert (await unlogged.post("/token", form=form)).status_code >= 400
    assert await ended(client, client_id, third)


async def test_the_record_is_closed_even_if_a_connection_cannot_be(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, closed = AuditOutput(None, FullLog()), []
    monkeypatch.setattr(output, "close", lambda: closed.append(True))
    deps = await wire(load(WebSettings, None, web.environment), GRANT_TYPES, output)
    close = deps.redis.aclose

    async def failing() -> None:
        await close()
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(deps.redis, "aclose", failing)
    with pytest.raises(OSError, match="no"):
        await deps.aclose()
    assert closed
