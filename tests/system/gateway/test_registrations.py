"""Registrations through the complete gateway: a client that registers at each start, and the quotas in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from redis import Redis

    from tests.support.gateway import RunningGateway
    from tests.support.oauth_client import OAuthClient


@pytest.mark.requirement("complaints:mcphub-1174")
async def test_a_client_that_registers_at_each_start_continues_to_call(
    gateway: RunningGateway, oauth: OAuthClient
) -> None:
    """As mcporter and clients of the Go SDK do: they store the refresh token and not the registration."""
    same = {"client_name": "Registers at each start", "software_version": "1"}
    first = await oauth.register(**same)
    token = (await oauth.tokens(first.client_id))["refresh_token"]
    for _ in range(3):
        again = await oauth.register(**same)
        assert again.client_id != first.client_id
        answer = await oauth.refresh(again.client_id, token)
        assert answer.status_code == 200, answer.text
        token = answer.json()["refresh_token"]
    kinds = [event["event"] for event in gateway.audit("oauth_web") if event.get("client_id") == first.client_id]
    assert kinds.count("grant.continued") == 3


async def test_the_authorization_server_reads_the_memory_usage_of_redis_and_counts_registrations(
    gateway: RunningGateway, oauth: OAuthClient, redis: Redis
) -> None:
    await oauth.register()
    assert redis.hlen("stored:{registrations}") >= 1
    # One total of all callers, and one for the address that Envoy sent.
    assert len(redis.keys("stored:{registrations}*")) >= 2
    assert "cannot see how full Redis is" not in gateway.log("oauth_web")
