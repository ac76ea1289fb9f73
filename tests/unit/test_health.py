"""When a worker that is about to leave must be heard first: when somebody asks for its health again and again."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from ext_authz.service.health import Health


@pytest.mark.parametrize(
    ("asked_at", "now", "is_heard"),
    [
        ((), 100.0, False),
        ((99.0,), 100.0, False),  # once, as whoever waits for a start
        ((98.0, 98.1, 98.2), 99.0, False),  # several at once, once each
        ((98.0, 99.0), 99.5, True),
        ((90.0, 91.0, 92.0), 100.0, False),  # not any more
        ((1.0,), 1.5, False),  # the clock has just begun
        ((0.2, 1.2), 1.5, True),
    ],
)
def test_who_asks_again_and_again_is_to_hear_that_it_leaves(
    monkeypatch: pytest.MonkeyPatch, asked_at: tuple[float, ...], now: float, is_heard: bool
) -> None:
    assert all(one <= other for one, other in pairwise(asked_at))
    times = iter((*asked_at, now))
    monkeypatch.setattr("ext_authz.service.health.monotonic", lambda: next(times))
    health = Health()
    for _ in asked_at:
        health.record_health_check()
    assert (health.seconds_to_be_heard > 1) == is_heard


async def test_whoever_waits_for_it_to_be_able_hears_of_it() -> None:
    health = Health()
    waiting = asyncio.create_task(health.wait_until_able())
    health.report(able=False)
    await asyncio.sleep(0)
    assert not waiting.done()
    health.report(able=True)
    await asyncio.wait_for(waiting, 60)
    await asyncio.wait_for(health.wait_until_able(), 60)
