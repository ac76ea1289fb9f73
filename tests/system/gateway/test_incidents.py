"""An operator's commands in an incident, as a running MCP session through Envoy sees them (rows R65, R66, R69)."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.gateway import operate
from tests.support.mcp_clients import McpUser, claims_of, probe, whoami
from tests.support.oauth_client import Pkce

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from tests.support.gateway import RunningGateway
    from tests.support.oauth_client import OAuthClient


EVERYBODY = ("tokens", "revoke", "--all", "--yes")


async def answered(http: httpx2.AsyncClient, resource: str, token: str | None, status: int) -> httpx2.Response:
    """The first answer of that status: the effect of a command reaches the check service a moment later."""
    async with asyncio.timeout(60):
        while (answer := await probe(http, resource, token)).status_code != status:
            pass
    return answer


@contextmanager
def disabled(gateway: RunningGateway, service: str, reason: str) -> Iterator[None]:
    operate(gateway, "services", "disable", service, "--reason", reason)
    try:
        yield
    finally:
        operate(gateway, "services", "enable", service)


async def test_a_disabled_service_gives_its_reason_and_a_session_continues_when_it_is_enabled(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    user = McpUser(gateway.resource("whoami"))
    async with user.connected() as client:
        before = await whoami(client)
        token = user.access_token
        with disabled(gateway, "whoami", "Being repaired until noon."):
            for presented in (token, None):
                refused = await answered(http, user.resource, presented, 503)
                assert refused.json()["error"]["data"]["error"] == "service_disabled"
                assert "Being repaired until noon." in refused.json()["error"]["message"]
                assert int(refused.headers["retry-after"]) > 0
            (row,) = [row for row in operate(gateway, "services", "list") if row["name"] == "whoami"]
            assert (row["disabled"], row["reason"]) == (True, "Being repaired until noon.")
        await answered(http, user.resource, token, 200)
        assert await whoami(client) == before
    assert user.access_token == token, "its token stayed valid"
    assert len(user.visits) == 1


async def test_a_blocked_person_with_a_session_is_refused_at_once_and_can_return_when_unblocked(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    user, bystander = McpUser(gateway.resource("whoami"), login="tove"), McpUser(gateway.resource("whoami"))
    async with user.connected() as client, bystander.connected() as other:
        assert (await whoami(client))["user_name"] == "tove"
        unaffected = await whoami(other)
        token = user.access_token
        operate(gateway, "users", "block", "tove", "--reason", "test")
        try:
            refused = await answered(http, user.resource, token, 401)
            assert refused.json()["error"]["data"]["error"] == "invalid_token"
            assert await whoami(other) == unaffected
            assert len(bystander.visits) == 1
        finally:
            operate(gateway, "users", "unblock", "tove")
        await asyncio.sleep(1)  # a grant within the second of the block is void as well
        assert (await whoami(client))["user_name"] == "tove", "the client signs in again by itself"
    assert user.access_token != token
    assert len(user.visits) == 2


async def test_after_a_revocation_of_a_client_and_of_everything_the_client_signs_in_again(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    user = McpUser(gateway.resource("whoami"))
    async with user.connected() as client:
        before = await whoami(client)
        for command in (("clients", "revoke", claims_of(user.access_token)["client_id"]), EVERYBODY):
            token = user.access_token
            assert operate(gateway, *command)["grants_ended"] >= 1
            await answered(http, user.resource, token, 401)
            await asyncio.sleep(1)  # a grant within the same second is void as well
            assert await whoami(client) == before
    assert len(user.visits) == 3


async def test_a_disabled_client_with_a_session_is_refused_at_once_and_cannot_sign_in_until_it_is_enabled(
    gateway: RunningGateway, http: httpx2.AsyncClient, oauth: OAuthClient
) -> None:
    resource = gateway.resource("whoami")
    client_id = (await oauth.register(client_name="To be disabled")).client_id
    token = (await oauth.tokens(client_id, resource=resource))["access_token"]
    await answered(http, resource, token, 200)
    assert operate(gateway, "clients", "disable", client_id, "--reason", "test")["grants_ended"] == 1
    try:
        refused = await answered(http, resource, token, 401)
        assert refused.json()["error"]["data"]["error"] == "invalid_token"
        page = await oauth.http.get(oauth.authorize_url(client_id, Pkce.fresh().challenge, resource=resource))
        assert (page.status_code, "disabled this app" in page.text) == (400, True)
    finally:
        operate(gateway, "clients", "enable", client_id)
    await asyncio.sleep(1)  # a grant within the second of the disabling is void as well
    token = (await oauth.tokens(client_id, resource=resource))["access_token"]
    await answered(http, resource, token, 200)
