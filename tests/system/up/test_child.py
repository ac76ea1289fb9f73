"""The life of one child, with small programs that crash, hang and refuse."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path  # noqa: TC003 - dataclasses read it
from typing import TYPE_CHECKING

from portcullis.supervisor.child import Child, ChildSpec, Event, Timing
from tests.support.processes import alive, children_of
from tests.support.programs import plain_environment, until
from tests.system.up.children import QUICK, SLEEPER, FileProbe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"


@dataclass
class ReportedEvents:
    """The reported events, and a way to wait for them."""

    events: list[tuple[Event, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, _name: str, event: Event, text: str) -> None:
        self.events.append((event, text))
        self.changed.set()

    async def count(self, event: Event, at_least: int) -> list[str]:
        async with asyncio.timeout(60):
            while len(texts := [text for found, text in self.events if found is event]) < at_least:
                self.changed.clear()
                await self.changed.wait()
        return texts


@asynccontextmanager
async def a_child(
    tmp_path: Path, code: str, timing: Timing = QUICK, *, essential: bool = True
) -> AsyncIterator[tuple[Child, ReportedEvents]]:
    marker = tmp_path / "ready"
    spec = ChildSpec(
        "kid", (sys.executable, "-c", code, str(marker)), plain_environment(), FileProbe(marker), essential
    )
    told = ReportedEvents()
    child = Child(spec, tmp_path / "kid.log", told, timing)
    try:
        yield child, told
    finally:
        await child.stop()


async def test_a_child_counts_as_started_once_it_answers(tmp_path: Path) -> None:
    async with a_child(tmp_path, SLEEPER) as (child, _):
        assert await child.start() is None
        assert child.pid is not None


async def test_a_killed_child_is_reported_and_restarted(tmp_path: Path) -> None:
    async with a_child(tmp_path, SLEEPER) as (child, told):
        await child.start()
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert await told.count(Event.READY, 1) == ["ready again"]
        assert (await told.count(Event.DIED, 1))[0].startswith("killed by SIGKILL; starting again in 0.05 s")
        assert child.pid not in {None, first}


async def test_a_child_that_crashes_repeatedly_is_restarted_with_growing_delays_up_to_a_limit(
    tmp_path: Path,
) -> None:
    code = (
        "import sys; open(sys.argv[1], 'w').close(); sys.stdin.read(); import time; time.sleep(0.1); sys.exit(3)"
    )
    async with a_child(tmp_path, code) as (child, told):
        await child.start()
        texts = await told.count(Event.DIED, 4)
    waits = [float(text.rpartition(" in ")[2].removesuffix(" s")) for text in texts[:4]]
    assert waits == [0.05, 0.1, 0.2, 0.2]


async def test_a_child_that_ran_for_long_is_restarted_soon(tmp_path: Path) -> None:
    async with a_child(tmp_path, SLEEPER, replace(QUICK, stable_seconds=0)) as (child, told):
        await child.start()
        for count in (1, 2, 3):
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            await told.count(Event.READY, count)
        assert {text.rpartition(" in ")[2] for text in await told.count(Event.DIED, 3)} == {"0.05 s"}


async def test_a_child_that_ends_at_once_fails_with_its_last_lines(tmp_path: Path) -> None:
    code = "import sys; sys.stderr.write('first\\nthe reason\\n'); sys.exit(5)"
    async with a_child(tmp_path, code) as (child, _):
        failure = await child.start()
        assert failure is not None
        assert failure.why == "ended with exit code 5"
        assert failure.last_lines == ("first", "the reason")
        assert not failure.wrong_settings


async def test_exit_code_2_counts_as_wrong_settings(tmp_path: Path) -> None:
    async with a_child(tmp_path, "raise SystemExit(2)") as (child, _):
        failure = await child.start()
        assert failure is not None
        assert failure.wrong_settings


async def test_a_child_that_never_answers_is_given_up_and_ended(tmp_path: Path) -> None:
    async with a_child(tmp_path, "import time; time.sleep(600)", replace(QUICK, start=0.5)) as (child, _):
        failure = await child.start()
        assert failure is not None
        assert failure.why == "not ready after 0.5 seconds (no file)"
        assert child.pid is None


async def test_a_command_that_does_not_exist_is_a_failure_that_names_it(tmp_path: Path) -> None:
    spec = ChildSpec("kid", ("no-such-program",), plain_environment(), FileProbe(tmp_path / "x"))
    child = Child(spec, tmp_path / "kid.log", ReportedEvents(), QUICK)
    failure = await child.start()
    assert failure is not None
    assert failure.last_lines == ("no-such-program: No such file or directory",)


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    async with a_child(tmp_path, STUBBORN) as (child, _):
        await child.start()
        pid = child.pid
        assert pid is not None
        await child.stop()
        assert not alive(pid)


async def test_processes_that_a_child_started_end_with_it(tmp_path: Path) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}, sys.argv[1]]).wait()"
    async with a_child(tmp_path, code) as (child, _):
        await child.start()
        assert child.pid is not None
        (grandchild,) = children_of(child.pid)
        await child.stop()
        await asyncio.to_thread(until, lambda: not alive(grandchild), "the grandchild to go")


async def test_a_stopped_child_stays_stopped(tmp_path: Path) -> None:
    async with a_child(tmp_path, SLEEPER) as (child, told):
        await child.start()
        await child.stop()
        assert told.events == []
        assert child.pid is None


async def test_an_unessential_child_is_retried_after_a_failed_start(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    code = f"import os, sys, time\nif not os.path.exists({str(flag)!r}): sys.exit(1)\n{SLEEPER}"
    async with a_child(tmp_path, code, essential=False) as (child, told):
        assert await child.start() is not None
        flag.touch()
        assert await told.count(Event.READY, 1) == ["ready again"]


async def test_a_child_gets_exactly_the_environment_of_its_description(tmp_path: Path) -> None:
    marker, seen = tmp_path / "ready", tmp_path / "seen"
    code = f"import os, sys; open({str(seen)!r}, 'w').write(repr(sorted(os.environ))); {SLEEPER}"
    spec = ChildSpec("kid", (sys.executable, "-c", code, str(marker)), {"ONLY": "this"}, FileProbe(marker))
    child = Child(spec, tmp_path / "kid.log", ReportedEvents(), QUICK)
    assert await child.start() is None
    await child.stop()
    assert set(eval(seen.read_text())) - {"LC_CTYPE"} == {"ONLY"}  # noqa: S307 - our own child wrote it


async def test_a_slow_unessential_child_is_neither_waited_for_nor_ended(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    code = f"import os, sys, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.02)\n{SLEEPER}"
    async with a_child(tmp_path, code, replace(QUICK, wait=0.1), essential=False) as (child, told):
        failure = await child.start()
        assert failure is not None
        assert failure.why == "still starting"
        first = child.pid
        assert first is not None
        flag.touch()
        assert await told.count(Event.READY, 1) == ["up at last"]
        assert child.pid == first
