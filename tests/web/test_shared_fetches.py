"""Callers who share one fetch of a client's document do not share each other's quotas."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from redis.asyncio import Redis

from oauth_core.quotas import NoRoomError, own_share_used
from oauth_core.store.documents import DocumentStore
from oauth_web.client_documents.cache import DocumentCache
from oauth_web.client_documents.fetch import Fetched
from tests.support.published_keys import RECORD_KEY
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oauth_core.store.quotas import QuotaStore
    from oauth_web.client_documents.budgets import FetchBudgets
    from oauth_web.client_documents.fetch import GuardedFetcher

URL = "https://app.example/client.json"


class Publisher:
    """Answers when a test lets it."""

    def __init__(self) -> None:
        self.asked = 0
        self.was_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def fetch(self, _url: str) -> Fetched:
        self.asked += 1
        self.was_asked.set()
        await self.may_answer.wait()
        return Fetched(b"{}", 60)


class Quotas:
    """Has room for everybody but for `hostile`."""

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


@pytest.fixture
async def store() -> AsyncIterator[DocumentStore]:
    with running_redis(password="of-tests") as server:
        async with Redis.from_url(server.url(), decode_responses=True, password="of-tests") as redis:
            yield DocumentStore(redis, RECORD_KEY, lifetime=600)


async def test_a_caller_without_room_who_asks_first_is_refused_alone(store: DocumentStore) -> None:
    publisher, quotas = Publisher(), Quotas()
    cache = DocumentCache(
        cast("GuardedFetcher", publisher),
        store,
        cast("FetchBudgets", Budgets()),
        cast("QuotaStore", quotas),
        clock=lambda: 1000,
        max_age=600,
    )
    callers = ("hostile", "first", "hostile", "second")
    reading = [asyncio.create_task(cache.read("name", URL, bytes.decode, caller=caller)) for caller in callers]
    await publisher.was_asked.wait()
    publisher.may_answer.set()
    answers = await asyncio.gather(*reading, return_exceptions=True)
    assert isinstance(answers[0], NoRoomError)
    assert [answers[1], answers[3]] == ["{}", "{}"]
    assert quotas.taken == ["first"], "one of them has it, and it counts once"
    assert publisher.asked == 1
    assert await cache.read("name", URL, bytes.decode, caller="hostile") == "{}"
