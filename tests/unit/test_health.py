"""When a draining worker must report NOT_SERVING first: if a client checks its health repeatedly."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from ext_authz.service.health import Health


@pytest.mark.parametrize(
    ("asked_at", "now", "is_heard"),
    [
        ((), 100.0, False),
        ((99.0,), 100.0, False),  # once, like a client that waits for the start
        ((98.0, 98.1, 98.2), 99.0, False),  # several clients at once, once each
        ((98.0, 99.0), 99.5, True),
        ((90.0, 91.0, 92.0), 100.0, False),  # no longer
        ((1.0,), 1.5, False),  # the clock has just begun
        ((0.2, 1.2), 1.5, True),
    ],
)
def test_a_client_that_checks_health_repeatedly_must_see_the_drain(
    monkeypatch: pytest.MonkeyPatch, asked_at: tuple[float, ...], now: float, is_heard: bool
) -> None:
    assert all(one <= other for one, other in pairwise(asked_at))
    times = iter((*asked_at, now))
    monkeypatch.setattr("ext_authz.service.health.monotonic", lambda: next(times))
    health = Health()
    for _ in asked_at:
        health.record_health_check()
    assert (health.seconds_to_be_heard > 1) == is_heard


async def test_waiting_for_the_serving_state_ends_when_it_is_reported() -> None:
    health = Health()
    waiting = asyncio.create_task(health.wait_until_able())
    health.report(able=False)
    await asyncio.sleep(0)
    assert not waiting.done()
    health.report(able=True)
    await asyncio.wait_for(waiting, 60)
    await asyncio.wait_for(health.wait_until_able(), 60)
