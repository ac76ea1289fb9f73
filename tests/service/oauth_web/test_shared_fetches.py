"""Callers that share one fetch of a client's document do not share each other's quotas."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from redis.asyncio import Redis

from oauth_core.limits.quotas import NoRoomError, own_share_used
from oauth_core.store.records.client_documents import DocumentStore
from oauth_web.client_documents.cache import DocumentCache
from oauth_web.client_documents.fetch import Fetched
from tests.support.master_key import RECORD_KEY
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oauth_core.store.records.client_documents import Copy
    from oauth_core.store.records.quotas import QuotaStore
    from oauth_web.client_documents.budgets import FetchBudgets
    from oauth_web.client_documents.fetch import GuardedFetcher

URL = "https://app.example/client.json"


class Publisher:
    """Answers when the test allows it."""

    def __init__(self) -> None:
        self.asked = 0
        self.was_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def fetch(self, _url: str) -> Fetched:
        self.asked += 1
        self.was_asked.set()
        await self.may_answer.wait()
        return Fetched(b"{}", 60)


class Quotas:
    """Has room for every caller except `hostile`."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def take(self, *_: object, caller: str, **__: object) -> None:
        if caller == "hostile":
            raise own_share_used(60)
        self.taken.append(caller)


class Budgets:
    """No limit of fetches."""

    async def spend(self, *_: Any, **__: Any) -> None:
        pass

    def slots(self, **_: Any) -> Budgets:
        return self

    def take(self, _caller: str) -> bool:
        return True

    def release(self, _caller: str) -> None:
        pass


class LateBudgets(Budgets):
    """No limit of fetches. `late` gets its answer only when a test allows it."""

    def __init__(self) -> None:
        self.late_has_asked, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def spend(self, caller: str, *_: Any, **__: Any) -> None:
        if caller == "late":
            self.late_has_asked.set()
            await self.may_go_on.wait()


class Store(DocumentStore):
    """Reports when three callers have found that there is no copy. From then on they wait for the fetch."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, RECORD_KEY, lifetime=600)
        self.all_have_read = asyncio.Event()
        self._reads = 0

    async def get(self, name: str) -> Copy | None:
        copy = await super().get(name)
        self._reads += 1
        if self._reads == 3:
            self.all_have_read.set()
        return copy


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    with running_redis(password="of-tests") as server:
        async with Redis.from_url(server.url(), decode_responses=True, password="of-tests") as redis:
            yield Store(redis)


async def test_a_first_caller_without_quota_is_refused_and_the_others_are_served(store: Store) -> None:
    publisher, quotas = Publisher(), Quotas()
    cache = DocumentCache(
        cast("GuardedFetcher", publisher),
        store,
        cast("FetchBudgets", Budgets()),
        cast("QuotaStore", quotas),
        clock=lambda: 1000,
        max_age=600,
    )
    hostile = asyncio.create_task(cache.read("name", URL, bytes.decode, caller="hostile"))
    await publisher.was_asked.wait()
    honest = [asyncio.create_task(cache.read("name", URL, bytes.decode, caller=name)) for name in ("a", "b")]
    await store.all_have_read.wait()
    publisher.may_answer.set()
    with pytest.raises(NoRoomError):
        await hostile
    assert await asyncio.gather(*honest) == ["{}", "{}"]
    assert len(quotas.taken) == 1, "one of them has it, and it counts once"
    assert publisher.asked == 1
    assert await cache.read("name", URL, bytes.decode, caller="hostile") == "{}"


async def test_a_caller_that_checked_before_the_fetch_and_asks_after_it_fetches_nothing(
    store: Store,
) -> None:
    publisher, budgets = Publisher(), LateBudgets()
    cache = DocumentCache(
        cast("GuardedFetcher", publisher),
        store,
        cast("FetchBudgets", budgets),
        cast("QuotaStore", Quotas()),
        clock=lambda: 1000,
        max_age=600,
    )
    late = asyncio.create_task(cache.read("name", URL, bytes.decode, caller="late"))
    await budgets.late_has_asked.wait()
    publisher.may_answer.set()
    assert await cache.read("name", URL, bytes.decode, caller="a") == "{}"
    budgets.may_go_on.set()
    assert await late == "{}"
    assert publisher.asked == 1
