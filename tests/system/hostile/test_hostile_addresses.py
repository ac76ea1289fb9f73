"""At each door hostile addresses send all they can, and then others come; see `docs/generated/hostile.md`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, cast

import pytest
from redis.asyncio import Redis

from ext_authz.decision.fair_queue import FairQueue
from ext_authz.decision.resolver import MOST_WAITING
from oauth_core.audit import AuditRecorder
from oauth_core.crypto.credentials import hash_secret
from oauth_core.limits.rate_limits import Limit
from oauth_core.settings import EnvoySettings
from oauth_core.settings.rates import RateSettings
from oauth_core.store.records.client_documents import DocumentStore
from oauth_core.store.records.devices import DeviceStore
from oauth_core.store.records.rate_limits import RateLimitStore
from oauth_web.client_documents.budgets import DocumentHeldBackError, FetchBudgets, FetchSlots
from portcullis.envoy_config import overload
from portcullis.envoy_config.connection_limit import PART
from tests.envoy.connections_module import Host
from tests.envoy.process import never_refill
from tests.envoy.world import World, world_of
from tests.support.master_key import RECORD_KEY
from tests.support.redis_server import RedisServer, running_redis
from tests.system.hostile import table
from tests.system.hostile.table import COUNTS, HONEST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from oauth_core.store.records.quotas import QuotaStore

HOST = "app.example"
_UNUSED = cast("QuotaStore", None)
"""Nothing is kept here that has a quota."""
SEEN: dict[str, dict[int, int]] = {}
WANTED = {
    "connections to Envoy": (20, 20, 20),
    "requests to a path of the authorization server": (20, 20, 0),
    "first uses of tokens, while forged ones are sent": (20, 20, 0),
    "user codes of devices": (20, 20, 0),
    "documents of clients never seen before, at a host that is named in made-up URLs": (20, 20, 0),
    "documents of clients known already, at such a host": (20, 20, 20),
    "fetches, while silent hosts are named": (20, 20, 0),
}
"""Door -> how many of the others are served, for each number of hostile addresses."""


def saw(door: str, hostile: int, served: int) -> None:
    """Note what was seen, and hold it against what must be."""
    SEEN.setdefault(door, {})[hostile] = served
    assert served == WANTED[door][COUNTS.index(hostile)]


@pytest.fixture(scope="module", autouse=True)
def _page() -> Iterator[None]:
    """Write the page after a run of everything."""
    yield
    rows = {door: [SEEN[door][n] for n in COUNTS if n in SEEN.get(door, {})] for door in WANTED if door in SEEN}
    if rows.keys() == WANTED.keys() and all(len(served) == len(COUNTS) for served in rows.values()):
        table.RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        table.PAGE.write_text(table.page(rows), encoding="utf-8")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis(password="of-tests") as server:
        yield server


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url(), decode_responses=True, password="of-tests") as client:
        await client.flushall()
        yield client


@pytest.mark.parametrize("hostile", COUNTS)
def test_connections(hostile: int) -> None:
    """At the module that counts them, with the numbers of the settings. `tests/envoy` shows it inside Envoy."""
    most = EnvoySettings.model_fields["connections_per_address"].default
    module = Host(f"{most} {overload.MOST_CONNECTIONS} {PART}".encode())
    for peer in (f"10.0.{number // 250}.{number % 250}:1" for number in range(hostile)):
        while module.opened(peer):
            pass
        module.ended(peer)
    served = sum(module.opened(f"192.0.2.{number}:1") for number in range(HONEST))
    saw("connections to Envoy", hostile, served if module.counted() <= overload.MOST_CONNECTIONS else 0)


@pytest.mark.parametrize("hostile", COUNTS)
def test_requests(hostile: int) -> None:
    """With a tenth of the usual rates, and without time passing."""
    with world_of(
        issuer="https://gate.example.com",
        local=False,
        change=never_refill,
        trusted_proxies=1,
        web_rate=50,
        web_rate_per_address=10,
        web_rate_reserved=1,
    ) as world:
        for number in range(hostile):
            for _ in range(max(1, min(60, 1000 // hostile))):
                _asked(world, f"10.{number // 250}.{number % 250}.1")
        served = sum(_asked(world, f"198.51.100.{number}") == 200 for number in range(HONEST))
    saw("requests to a path of the authorization server", hostile, served)


def _asked(world: World, address: str) -> int:
    return world.ask("/token", method="POST", headers={"X-Forwarded-For": address}, body=b"x").status


@pytest.mark.parametrize("hostile", COUNTS)
async def test_first_uses(hostile: int) -> None:
    turns = FairQueue(MOST_WAITING)
    flood = [asyncio.create_task(turns.wait(f"hostile-{n % hostile}")) for n in range(3 * MOST_WAITING)]
    # All of the flood is there before the first of the others, and before anybody has a turn.
    others = [asyncio.create_task(turns.wait(f"other-{number}")) for number in range(HONEST)]
    served = sum(await asyncio.gather(*others))
    await asyncio.gather(*flood)
    saw("first uses of tokens, while forged ones are sent", hostile, served)


@pytest.mark.parametrize("hostile", COUNTS)
async def test_user_codes(store: Redis, hostile: int) -> None:
    devices, most = (
        DeviceStore(store, RECORD_KEY, _UNUSED),
        RateSettings().rate_of(Limit.USER_CODES_PER_ADDRESS).count,
    )
    for number in range(hostile):
        for attempt in range(most if hostile < 1000 else 5):
            await devices.may_try(hash_secret(f"browser {number} {attempt}"), hash_secret(f"hostile {number}"))
    served = [
        await devices.may_try(hash_secret(f"browser of {number}"), hash_secret(f"other {number}"))
        for number in range(HONEST)
    ]
    saw("user codes of devices", hostile, sum(served))


@pytest.mark.parametrize("hostile", COUNTS)
async def test_documents(store: Redis, hostile: int) -> None:
    rate = RateSettings().rate_of(Limit.DOCUMENT_FETCHES_PER_ADDRESS)
    budgets = FetchBudgets(
        DocumentStore(store, RECORD_KEY, lifetime=60),
        RateLimitStore(store),
        AuditRecorder(_Silent()),
        per_address=rate,
    )
    for number in range(hostile):
        for _ in range(20 if hostile < 1000 else 1):
            await _may_fetch(budgets, f"hostile {number}", known=False)
    new = [await _may_fetch(budgets, f"other {number}", known=False) for number in range(HONEST)]
    known = [await _may_fetch(budgets, f"another {number}", known=True) for number in range(HONEST)]
    saw("documents of clients never seen before, at a host that is named in made-up URLs", hostile, sum(new))
    saw("documents of clients known already, at such a host", hostile, sum(known))


async def _may_fetch(budgets: FetchBudgets, caller: str, *, known: bool) -> bool:
    try:
        await budgets.spend(caller, HOST, known=known)
    except DocumentHeldBackError:
        return False
    return True


class _Silent:
    """An audit log that nobody reads."""

    def record(self, event: object) -> None:
        """Do nothing."""


@pytest.mark.parametrize("hostile", COUNTS)
def test_slots(hostile: int) -> None:
    slots = FetchSlots()
    for number in range(hostile):
        for _ in range(20):
            slots.take(f"hostile {number}")
    saw("fetches, while silent hosts are named", hostile, sum(slots.take(f"other {n}") for n in range(HONEST)))


def test_the_page_says_what_the_last_run_saw() -> None:
    rows = json.loads(table.RESULTS.read_text(encoding="utf-8"))
    assert table.PAGE.read_text(encoding="utf-8") == table.page(rows)
    assert rows == {door: list(served) for door, served in WANTED.items()}
