"""A client goes on past the end of its access token by refreshing, and nobody has to sign in for it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.authz_process import end_token
from tests.support.gateway import WHOAMI_ALONE, RunningGateway, running_gateway
from tests.support.mcp_clients import McpUser, claims_of, probe, whoami

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2
    from redis import Redis

_LIFETIME = 8
_PATIENCE = 60.0


@pytest.fixture(scope="module")
def short_lived() -> Iterator[RunningGateway]:
    """A gateway whose access tokens live for eight seconds."""
    lifetime = {"ACCESS_TOKEN_LIFETIME": str(_LIFETIME), "ALLOW_SHORT_ACCESS_TOKENS": "true"}
    with running_gateway(config=WHOAMI_ALONE, environ=lifetime) as gateway:
        yield gateway


@pytest.mark.requirement("mcp:invalid-is-401")
async def test_an_expired_token_is_refused_and_the_sdks_client_refreshes(
    short_lived: RunningGateway, http: httpx2.AsyncClient
) -> None:
    user = McpUser(short_lived.resource("whoami"))
    async with user.connected() as client:
        before = await whoami(client)
        expired = user.access_token
        deadline = time.monotonic() + _PATIENCE
        while user.provider.context.is_token_valid():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert (await probe(http, user.resource, expired)).status_code == 401
        after = await whoami(client)
    assert after == before
    assert user.access_token != expired
    assert len(user.visits) == 1, "nobody had to sign in again"
    told = [event["event"] for event in short_lived.audit("oauth_web")]
    assert told.count("token.refreshed") >= 1


async def test_a_client_that_comes_back_later_refreshes_what_it_kept(
    gateway: RunningGateway, redis: Redis
) -> None:
    """What is kept of a sign-in is enough to go on: its access token is long dead, its refresh token is not."""
    user = McpUser(gateway.resource("whoami"))
    async with user.connected() as client:
        before = await whoami(client)
    first = user.access_token
    end_token(redis, claims_of(first)["jti"])
    user.provider.context.token_expiry_time = 1.0  # as a client that looks at its clock would find
    async with user.connected() as client:
        after = await whoami(client)
    assert after == before
    assert user.access_token != first
    assert len(user.visits) == 1, "nobody had to sign in again"
