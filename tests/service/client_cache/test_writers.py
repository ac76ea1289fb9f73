"""Writes of the authorization server and the command line, on real Sentinels and on a real cluster."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from oauth_core.crypto.credentials import new_identifier, new_secret
from oauth_core.limits.rate_limits import Limit, Rate
from oauth_core.model import AccessClaims, Block, Client, Grant, KnownUser, User
from oauth_core.policy.decision import Disabled
from oauth_core.store.connection import connect
from oauth_core.store.records.clients import ClientStore
from oauth_core.store.records.disabled_services import DisabledServiceStore
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.rate_limits import RateLimitStore
from oauth_core.store.records.refresh_rotation import ReplayDetected, RotationSucceeded
from oauth_core.store.records.revocation import Revocation
from oauth_core.store.records.users import UserStore, store_block
from oauth_core.tokens.refresh_tokens import RefreshToken
from tests.service.client_cache.caches import ADMIN_PASSWORD, redis_settings
from tests.support.master_key import RECORD_KEY
from tests.support.redis_groups import SentinelGroup, running_cluster, running_sentinels

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from redis.asyncio import Redis

    from tests.support.redis_groups import ClusterGroup


@pytest.fixture(scope="module", params=[running_sentinels, running_cluster])
def group(request: pytest.FixtureRequest) -> Iterator[SentinelGroup | ClusterGroup]:
    """One of each, for all these tests."""
    with request.param(password=ADMIN_PASSWORD) as servers:
        yield servers


@asynccontextmanager
async def connected(group: SentinelGroup | ClusterGroup) -> AsyncIterator[Redis]:
    """A connection with every right, as the authorization server has it."""
    client = connect(redis_settings(group.url(), password=ADMIN_PASSWORD))
    try:
        yield client
    finally:
        await client.aclose()


def grant_of(user: int) -> Grant:
    now = int(time.time())
    return Grant(new_identifier(), "client", ("alpha",), ("https://alpha",), now, now + 600, User(user, "octo"))


async def test_a_grant_goes_through_all_its_steps(group: SentinelGroup | ClusterGroup) -> None:
    async with connected(group) as redis:
        grants = GrantStore(redis, RECORD_KEY)
        grant = grant_of(7)
        token = RefreshToken(grant.grant_id, new_identifier(), new_secret())
        await grants.create(grant, token)
        assert isinstance(
            await grants.rotate(
                token, token.successor(), now=grant.created_at, grace=0, retry_window=0, source="x"
            ),
            RotationSucceeded,
        )
        assert isinstance(
            await grants.rotate(
                token, token.successor(), now=grant.created_at + 9, grace=0, retry_window=0, source="x"
            ),
            ReplayDetected,
        )
        for number in range(5):
            claims = AccessClaims(
                "https://auth",
                "7",
                ("https://alpha",),
                grant.expires_at,
                grant.created_at,
                f"{grant.grant_id}-{number}",
                "client",
                "alpha",
                "octo",
                7,
            )
            assert await grants.add_token(grant, claims)
        assert len(await grants.tokens_of(grant.grant_id)) == 5
        assert await grants.regroup(grant, ("octo-org",)) is not None
        assert await grants.tokens_of(grant.grant_id) == {}
        assert await grants.end(grant.grant_id)
        assert await grants.of_user(7) == ()


async def test_records_of_every_node_are_found_and_all_grants_are_revoked(
    group: SentinelGroup | ClusterGroup,
) -> None:
    async with connected(group) as redis:
        grants, users, clients = (
            GrantStore(redis, RECORD_KEY),
            UserStore(redis, RECORD_KEY, lifetime=600),
            ClientStore(redis, RECORD_KEY),
        )
        made = [grant_of(100 + number) for number in range(20)]
        for number, grant in enumerate(made):
            await grants.create(grant, None)
            assert grant.user is not None
            await users.record_user(KnownUser(grant.user, grant.created_at))
            await store_block(redis, Block(grant.user.github_id, grant.created_at))
            await clients.add(Client(new_identifier(), number, "hash", "none", (), (), ()))
        assert {grant.grant_id for grant in made} <= {grant_id async for grant_id in grants.all_ids()}
        ids = {100 + number for number in range(20)}
        assert ids <= {user async for user in grants.all_user_ids()}
        assert ids == {known.user.github_id for known in await users.all()}
        assert ids == {block.github_id for block in await users.blocks()}
        assert [client.issued_at for client in await clients.all()] == list(range(20))
        assert await Revocation(redis, grants).revoke_all() == 20
        assert [grant_id async for grant_id in grants.all_ids()] == []
        assert await Revocation(redis, grants).is_revoked(made[0], allowed_at=made[0].created_at)


async def test_a_rate_limit_counts(group: SentinelGroup | ClusterGroup) -> None:
    async with connected(group) as redis:
        limits, rate = RateLimitStore(redis), Rate(2, 3600)
        waits = [await limits.take(Limit.REQUESTS_PER_CLIENT, rate, "somebody") for _ in range(3)]
        assert waits[:2] == [0, 0]
        assert waits[2] > 0
        assert await limits.take(Limit.REQUESTS_PER_CLIENT, rate, "somebody else") == 0


async def test_a_service_is_disabled_and_enabled_again(group: SentinelGroup | ClusterGroup) -> None:
    async with connected(group) as redis:
        store = DisabledServiceStore(redis)
        await store.disable("alpha", Disabled(since=1, reason="a test"))
        assert list(await store.read()) == ["alpha"]
        assert await store.enable("alpha")
        assert not await store.read()


async def test_writers_follow_a_failover() -> None:
    with running_sentinels(password=ADMIN_PASSWORD) as group:
        async with connected(group) as redis:
            grants, grant = GrantStore(redis, RECORD_KEY), grant_of(7)
            await grants.create(grant, None)
            old = group.primary()
            with old.client() as client:
                assert client.wait(1, 60_000) == 1
            old.kill()
            group.wait_for_failover(old)
            assert await grants.end(grant.grant_id)
