"""The fair queue: quick work runs between costly work, sources alternate, and callers beyond the limit are
rejected.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_authz.decision.fair_queue import FairQueue


def test_waiting_callers_are_served_in_order() -> None:
    async def scenario() -> list[int]:
        turns, done = FairQueue(100), []

        async def work(number: int) -> None:
            assert await turns.wait("192.0.2.1")
            done.append(number)

        await asyncio.gather(*(work(number) for number in range(20)))
        assert turns.waiting == 0
        return done

    assert asyncio.run(scenario()) == list(range(20))


def test_quick_work_runs_between_two_turns() -> None:
    async def scenario() -> str:
        turns, order = FairQueue(100), []

        async def costly() -> None:
            assert await turns.wait(None)
            order.append("C")

        async def quick() -> None:
            for _ in range(8):
                order.append("q")
                await asyncio.sleep(0)

        await asyncio.gather(*(costly() for _ in range(4)), quick())
        return "".join(order)

    order = asyncio.run(scenario())
    assert "CC" not in order.rstrip("C") + "C"
    assert order.index("C") < order.rindex("q")


def test_after_a_back_off_the_next_turn_waits_for_that_time_up_to_a_limit() -> None:
    async def scenario() -> tuple[float, float]:
        turns, loop = FairQueue(100), asyncio.get_running_loop()
        begun = loop.time()
        for _ in range(4):
            assert await turns.wait(None)
            turns.back_off(0.004)
        rested = loop.time() - begun
        assert await turns.wait(None)
        turns.back_off(3600.0)
        begun = loop.time()
        assert await turns.wait(None)
        return rested, loop.time() - begun

    rested, longest = asyncio.run(scenario())
    assert rested >= 0.012
    assert longest < 3600, "a machine that was suspended is no reason for a long pause"


def test_sources_alternate_however_many_tokens_one_of_them_sends() -> None:
    async def scenario() -> list[str]:
        turns, done = FairQueue(1000), []

        async def work(source: str) -> None:
            assert await turns.wait(source)
            done.append(source)

        flood = [asyncio.create_task(work("flood")) for _ in range(200)]
        await asyncio.sleep(0)
        await work("other")
        seen = len(done)
        await asyncio.gather(*flood)
        return done[:seen]

    assert len(asyncio.run(scenario())) <= 4


def test_callers_beyond_the_limit_are_rejected_at_once() -> None:
    async def scenario() -> tuple[int, int]:
        turns = FairQueue(8)
        first = await asyncio.gather(*(turns.wait(f"192.0.2.{number}") for number in range(20)))
        return first.count(True), first.count(False)

    assert asyncio.run(scenario()) == (8, 12)


def test_one_source_cannot_take_every_place() -> None:
    async def scenario() -> tuple[int, bool]:
        turns = FairQueue(8)
        flood = [asyncio.create_task(turns.wait("flood")) for _ in range(20)]
        await asyncio.sleep(0)
        other = await turns.wait("other")
        return (await asyncio.gather(*flood)).count(True), other

    served, other = asyncio.run(scenario())
    assert served == 2
    assert other


@pytest.mark.parametrize("flooding", [4, 8, 40])
def test_a_flood_from_some_sources_rejects_no_other_source(flooding: int) -> None:
    async def scenario() -> tuple[list[bool], int]:
        turns = FairQueue(1000)
        flood = [asyncio.create_task(turns.wait(f"flood-{number % flooding}")) for number in range(flooding * 300)]
        await asyncio.sleep(0)
        assert turns.waiting == 1000
        others = await asyncio.gather(*(turns.wait(f"honest-{number}") for number in range(40)))
        served = [await each for each in flood]
        assert turns.waiting == 0
        return others, served.count(True)

    others, served = asyncio.run(scenario())
    assert others == [True] * 40
    assert served >= 960, "each of the others took at most one place of the flood"


def test_places_are_shared_evenly_and_a_source_never_displaces_one_with_as_few() -> None:
    async def scenario() -> tuple[bool, bool, int]:
        turns = FairQueue(8)
        waiting = [asyncio.create_task(turns.wait(f"source-{number}")) for number in range(8)]
        await asyncio.sleep(0)
        newcomer, again = await turns.wait("newcomer"), await turns.wait("source-3")
        return newcomer, again, (await asyncio.gather(*waiting)).count(True)

    assert asyncio.run(scenario()) == (False, False, 8)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=80))
def test_all_callers_are_answered_and_no_place_is_leaked_in_any_order_of_arrival(
    callers: list[tuple[int, bool]],
) -> None:
    async def scenario() -> None:
        turns, tasks = FairQueue(12), []
        for source, gives_up in callers:
            tasks.append(asyncio.create_task(turns.wait(str(source))))
            if gives_up:
                await asyncio.sleep(0)
                tasks[len(tasks) // 2].cancel()
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks, return_exceptions=True)
            assert await turns.wait("last")
            while turns.waiting:  # the places of cancelled callers come after the last
                assert await turns.wait("last")

    asyncio.run(scenario())


def test_a_cancelled_caller_uses_no_turn() -> None:
    async def scenario() -> list[int]:
        turns, done = FairQueue(100), []

        async def work(number: int) -> None:
            await turns.wait(None)
            done.append(number)

        tasks = [asyncio.create_task(work(number)) for number in range(6)]
        await asyncio.sleep(0)
        for task in tasks[1:5]:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        assert turns.waiting == 0
        return done

    assert asyncio.run(scenario()) == [0, 5]
