"""A token that is being stored while its grant changes or ends: every order of the steps is tested, none by
chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.flows.token_requests import claims_for
from oauth_core.model import Grant, User
from oauth_core.store import keyspace
from oauth_core.store.records.grants import GrantStore
from tests.support.master_key import RECORD_KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from oauth_core.model import AccessClaims

NOW = 1_900_000_000
USER = User(7_000_001, "racer")
STEPS = ("before the note", "before it lives", "before the last look", "afterwards")


class Interrupted:
    """Redis, with an action that runs just before one step of storing a token."""

    def __init__(self, redis: Redis, step: str, event: Callable[[], Awaitable[Any]]) -> None:
        self._redis = redis
        self._step = step
        self._event = event

    def register_script(self, text: str) -> Any:
        script = self._redis.register_script(text)

        async def run(keys: list[str], arguments: list[Any]) -> Any:
            if "ZADD" in text:
                await self._happen("before the note")
            return await script(keys, arguments)

        return run

    async def set(self, *arguments: Any, **options: Any) -> Any:
        await self._happen("before it lives")
        return await self._redis.set(*arguments, **options)

    async def hget(self, *arguments: Any) -> Any:
        await self._happen("before the last look")
        return await self._redis.hget(*arguments)

    async def delete(self, *arguments: Any) -> Any:
        return await self._redis.delete(*arguments)

    async def _happen(self, step: str) -> None:
        if step == self._step:
            self._step = ""
            await self._event()


def grant_for(step: str) -> Grant:
    name = f"race-{STEPS.index(step)}"
    return Grant(name, "client", ("mcp.time",), ("r",), NOW, NOW + 600, USER, groups=("acme",))


def claims_of(grant: Grant) -> AccessClaims:
    return claims_for(
        grant, issuer="i", jti=f"jti-{grant.grant_id}", audience=("r",), scope=(), now=NOW, lifetime=60
    )


@pytest.mark.parametrize("step", STEPS)
async def test_no_token_with_former_groups_is_left_at_whatever_step_they_change(redis: Redis, step: str) -> None:
    store, grant = GrantStore(redis, RECORD_KEY), grant_for(step)
    await store.create(grant, None)
    claims = claims_of(grant)
    interrupted: Any = Interrupted(redis, step, lambda: store.regroup(grant, ()))
    came_to_life = await GrantStore(interrupted, RECORD_KEY).add_token(grant, claims)
    assert came_to_life is (step == "afterwards")
    if step == "afterwards":
        await store.regroup(grant, ())
    assert not await redis.exists(keyspace.token(claims.jti))
    current = await store.get(grant.grant_id)
    assert current is not None
    assert current.groups == ()
    assert await store.add_token(current, claims_of(current)), "and a token with the current groups is stored"
    await store.end(grant.grant_id)


@pytest.mark.parametrize("step", STEPS)
async def test_no_token_outlives_a_grant_at_whatever_step_it_ends(redis: Redis, step: str) -> None:
    store, grant = GrantStore(redis, RECORD_KEY), grant_for(step)
    await store.create(grant, None)
    claims = claims_of(grant)
    interrupted: Any = Interrupted(redis, step, lambda: store.end(grant.grant_id))
    came_to_life = await GrantStore(interrupted, RECORD_KEY).add_token(grant, claims)
    assert came_to_life is (step == "afterwards")
    if step == "afterwards":
        await store.end(grant.grant_id)
    assert not await redis.exists(keyspace.token(claims.jti))
    assert not await store.add_token(grant, claims)
    assert await store.regroup(grant, ()) is None, "and a change does not restore it"
    assert not await redis.exists(keyspace.grant(grant.grant_id))
