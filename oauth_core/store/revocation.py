"""Ending all that a person, a client or everybody holds, whatever is being issued at the same moment.

What lives is found and ended grant by grant; `oauth_core.store.grants` says why no token outlives its grant. What
does not live yet, a code on its way or a device that was allowed, would become a grant afterwards. So first of all
a *cut* is made: what was allowed up to that second becomes nothing any more. Whoever makes a grant looks for cuts
after it exists. So either the grant was there to be found, or its maker finds the cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from oauth_core.store import consents, cuts, keyspace, sessions
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from redis.asyncio import Redis

    from oauth_core.model import Grant
    from oauth_core.store.grants import GrantStore


class Revocation:
    """Every method raises `StoreUnavailableError`; what one that failed left undone, it does when called again."""

    def __init__(self, redis: Redis, grants: GrantStore) -> None:
        self._redis = redis
        self._grants = grants

    async def is_cut_off(self, grant: Grant, *, allowed_at: int) -> bool:
        """Whether `grant`, which a person or an operator allowed at that second, must not be."""
        github_id = None if grant.user is None else grant.user.github_id
        return await cuts.reach(self._redis, at=allowed_at, github_id=github_id, client_id=grant.client_id)

    async def reached_person(self, github_id: int, *, at: int) -> bool:
        """Whether what a person had at second `at` was taken back since."""
        return await cuts.reach(self._redis, at=at, github_id=github_id)

    async def of_user(self, github_id: int) -> tuple[Grant, ...]:
        """End all that a person allowed up to now; answers the grants that ended.

        Their sessions end too, in every browser, and what they did not want to be asked again is asked again.
        """
        await cuts.make(self._redis, keyspace.cut_of_user(github_id))
        await sessions.end_all(self._redis, github_id)
        await consents.forget_person(self._redis, github_id)
        return await self._end(await self._grants.of_user(github_id))

    async def of_client(self, client_id: str) -> tuple[Grant, ...]:
        """End all that a client was allowed up to now, and leave its registration; answers the grants.

        Everybody is asked about it again.
        """
        await cuts.make(self._redis, keyspace.cut_of_client(client_id))
        await consents.forget_client(self._redis, client_id)
        key = keyspace.client_grants(client_id)
        async with guarded():
            noted = await cast("Awaitable[list[str]]", self._redis.zrange(key, 0, -1))
        found = [await self._grants.get(grant_id) for grant_id in noted]
        ended = await self._end(grant for grant in found if grant is not None)
        async with guarded():
            if noted:
                await self._redis.zrem(key, *noted)
        return ended

    async def of_everybody(self) -> int:
        """End all that was allowed to anybody up to now; answers how many grants that were.

        Everybody's sessions end too, and everybody is asked about every client again.
        """
        await cuts.make(self._redis, keyspace.CUT_OF_ALL)
        await sessions.end_everybodys(self._redis)
        await consents.forget_everybody(self._redis)
        ended = 0
        async for grant_id in self._grants.all_ids():
            ended += await self._grants.end(grant_id)
        async with guarded():
            # What is left belongs to no grant.
            async for key in self._redis.scan_iter(match=keyspace.token("*"), count=1000):
                await self._redis.delete(key)
        return ended

    async def _end(self, grants: Iterable[Grant]) -> tuple[Grant, ...]:
        return tuple([grant for grant in grants if await self._grants.end(grant.grant_id)])
