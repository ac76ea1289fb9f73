"""A client continues after its access token has expired by refreshing, without a new sign-in."""

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
    """A gateway whose access tokens expire after eight seconds."""
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
    assert len(user.visits) == 1, "no person had to sign in again"
    told = [event["event"] for event in short_lived.audit("oauth_web")]
    assert told.count("token.refreshed") >= 1


async def test_a_client_that_starts_again_later_uses_its_stored_refresh_token(
    gateway: RunningGateway, redis: Redis
) -> None:
    """The stored tokens are enough to continue: the access token has expired long ago, the refresh
    token has not.
    """
    user = McpUser(gateway.resource("whoami"))
    async with user.connected() as client:
        before = await whoami(client)
    first = user.access_token
    end_token(redis, claims_of(first)["jti"])
    user.provider.context.token_expiry_time = 1.0  # as a client would find that checks its clock
    async with user.connected() as client:
        after = await whoami(client)
    assert after == before
    assert user.access_token != first
    assert len(user.visits) == 1, "no person had to sign in again"
