"""The gateway continues and restarts crashed children whatever happens to the terminal, or ends with an error."""

from __future__ import annotations

import asyncio
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.process.supervision import SupervisionError
from portcullis.supervisor.child import Child, ChildSpec, Event, Failure
from portcullis.supervisor.console import Console
from portcullis.supervisor.log_files import LogFiles
from portcullis.supervisor.process_group import ProcessGroup, StartFailedError
from tests.support.gateway import WHOAMI_ALONE
from tests.support.processes import alive, children_of, command_line
from tests.support.programs import PORTCULLIS, plain_environment, until
from tests.system.up.children import QUICK, SLEEPER, FileProbe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def up_with(folder: Path, output: int) -> subprocess.Popen[bytes]:
    """`portcullis up` that prints to `output`; its own log file has its lines."""
    config = folder / "portcullis.toml"
    config.write_text(WHOAMI_ALONE)
    arguments = ["up", "--config", str(config), "--state-dir", f"{folder}/state", "--port", "0"]
    return subprocess.Popen(
        [*PORTCULLIS, *arguments],
        env=plain_environment(AUTHZ_WORKERS="1"),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )


def said(folder: Path) -> str:
    record = folder / "state/logs/up.log"
    return record.read_text() if record.exists() else ""


def _came_back(folder: Path, count: int) -> bool:
    return said(folder).count("ready again") == count


def killed_children_come_back(folder: Path, process: subprocess.Popen[bytes]) -> None:
    for count, what in enumerate(("-m oauth_web", "-m oauth_web", "-m ext_authz"), 1):
        (pid,) = [pid for pid in children_of(process.pid) if what in command_line(pid)]
        os.kill(pid, signal.SIGKILL)
        until(partial(_came_back, folder, count), f"{what} to come back", 110)


def test_a_closed_terminal_does_not_end_supervision(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    process = up_with(tmp_path, writing)
    os.close(writing)
    try:
        until(lambda: " ready http" in said(tmp_path), "the gateway to be ready", 110)
        os.close(reading)  # as when `tee` of `up | tee` is killed
        killed_children_come_back(tmp_path, process)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_stalled_terminal_does_not_block_supervision(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)  # full, and without a reader
    process = up_with(tmp_path, writing)
    os.close(writing)
    try:
        until(lambda: " ready http" in said(tmp_path), "the gateway to be ready", 110)
        killed_children_come_back(tmp_path, process)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        os.close(reading)
        process.kill()
        process.wait()


def test_lines_are_logged_with_their_time_even_if_they_cannot_be_printed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from portcullis.supervisor.console import Console\n"
        "from oauth_core.process import standard_streams\n"
        "os.close(1); os.close(2); standard_streams.open_closed_ones()\n"
        "console = Console(Path(sys.argv[1])); console.say('a\\nb'); console.say('c', err=True); console.close()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "up.log")], check=True, timeout=30)
    assert [line.split(" ", 1)[1] for line in (tmp_path / "up.log").read_text().splitlines()] == ["a", "b", "c"]


@pytest.mark.parametrize(("arguments", "code"), [("--version", 0), ("envoy render --config /nowhere.toml", 2)])
def test_a_command_works_with_its_standard_streams_closed(arguments: str, code: int) -> None:
    command = f"exec {shlex.join(PORTCULLIS)} {arguments} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False, timeout=60).returncode == code


def test_output_does_not_go_into_a_file_in_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from oauth_core.process import standard_streams\n"
        "standard_streams.open_closed_ones()\n"
        "file = open(sys.argv[1], 'w'); print('lost'); print('lost', file=sys.stderr); sys.stdout.flush()\n"
        "file.write('kept'); file.close()\n"
    )
    path = tmp_path / "file"
    command = f'exec {sys.executable} -c "$0" "$1" <&- >&- 2>&-'
    subprocess.run(["sh", "-c", command, code, str(path)], check=True, timeout=60)
    assert path.read_text() == "kept"


async def test_the_failure_of_a_supervising_task_ends_the_gateway_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ready"
    spec = ChildSpec("kid", (sys.executable, "-c", SLEEPER, str(marker)), plain_environment(), FileProbe(marker))
    broken = ValueError("a fault of ours")
    pids: list[int] = []

    def report(_name: str, event: Event, _text: str) -> None:
        if event is Event.DIED:
            raise broken

    group = ProcessGroup(LogFiles(tmp_path, 10_000_000), report, QUICK)

    def when_ready() -> None:
        (child,) = (child for stage in group._started for child in stage)
        assert child.pid is not None
        pids.append(child.pid)
        os.kill(child.pid, signal.SIGKILL)

    async with asyncio.timeout(30):
        with pytest.raises(SupervisionError, match=r"the supervision of kid ended unexpectedly .*a fault of ours"):
            await group.run([[spec]], [], when_ready)
    assert not any(alive(pid) for pid in pids)


async def test_the_step_after_a_child_is_ready_ends_before_the_next_stage_or_nothing_starts(
    tmp_path: Path,
) -> None:
    first, second = (
        ChildSpec(name, (sys.executable, "-c", SLEEPER, str(file)), plain_environment(), FileProbe(file))
        for name, file in (("first", tmp_path / "first"), ("second", tmp_path / "second"))
    )
    told: list[tuple[str, Event, str]] = []

    async def succeed() -> str:
        return f"done while {len(told)} lines were said"

    async def fail() -> None:
        raise StartFailedError("first", Failure("it cannot be done"))

    async def run(then: Callable[[], Awaitable[str | None]]) -> None:
        told.clear()
        group = ProcessGroup(
            LogFiles(tmp_path, 10_000_000), lambda *line: told.append(line), QUICK, once_ready={"first": then}
        )
        await group.run([[first], [second]], [], lambda: os.kill(os.getpid(), signal.SIGTERM))

    async with asyncio.timeout(60):
        await run(succeed)
        names = [(name, event) for name, event, _ in told]
        assert names.index(("first", Event.NOTED)) < names.index(("second", Event.STARTING))
        with pytest.raises(StartFailedError):
            await run(fail)
    assert "second" not in {name for name, _, _ in told}


async def test_a_restart_that_the_machine_refuses_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, log = tmp_path / "ready", tmp_path / "folder" / "kid.log"
    log.parent.mkdir()
    spec = ChildSpec("kid", (sys.executable, "-c", SLEEPER, str(marker)), plain_environment(), FileProbe(marker))
    texts: asyncio.Queue[tuple[Event, str]] = asyncio.Queue()
    child = Child(spec, log, lambda _name, event, text: texts.put_nowait((event, text)), QUICK)
    try:
        assert await child.start() is None
        log.unlink()
        log.parent.rmdir()  # as if its disk was removed
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            assert (await texts.get())[0] is Event.DIED
            event, text = await texts.get()
            assert event is Event.FAILED
            assert "No such file or directory; trying again" in text
            log.parent.mkdir()
            while (await texts.get())[0] is not Event.READY:
                pass
    finally:
        await child.stop()


def test_with_nohup_the_gateway_continues_when_the_terminal_closes(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from portcullis.supervisor.process_group import ProcessGroup\n"
        "from portcullis.supervisor.log_files import LogFiles\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "def ready():\n"
        "    os.kill(os.getpid(), signal.SIGHUP); print('still here', flush=True); os.kill(os.getpid(), 15)\n"
        "asyncio.run(ProcessGroup(LogFiles(Path(sys.argv[1]), 10**7), print).run([], [], ready))\n"
        "assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "still here\n"


def test_a_stalled_reader_of_a_non_blocking_pipe_gets_the_lines_once_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    refused = threading.Event()
    wait_for_room = select.select

    def wait(*streams: Any) -> object:
        refused.set()
        return wait_for_room(*streams)

    saved = os.dup(1)
    os.dup2(writing, 1)
    os.close(writing)
    try:
        monkeypatch.setattr(select, "select", wait)
        console = Console(tmp_path / "up.log")
        console.say("while nothing is read")
        assert refused.wait(60), "the pipe accepted the line although it was full"
        monkeypatch.undo()
        console.say("afterwards")
        with os.fdopen(reading, "rb") as reader:
            assert b"while nothing is read" in reader.readline().lstrip(b"x")
            assert reader.readline() == b"afterwards\n"
    finally:
        os.dup2(saved, 1)
        os.close(saved)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_gets_lines_again_once_it_has_room(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from portcullis.supervisor.console import Console\n"
        "console, (reading, errors), output = Console(Path(sys.argv[1])), os.pipe(), os.dup(1)\n"
        "os.dup2(errors, 2); os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
        "console.say('lost'); console.say('x', err=True)\n"
        "assert os.read(reading, 2) == b'x\\n'\n"  # so an attempt with the line before it was made
        "os.dup2(output, 1); console.say('kept'); console.close()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "up.log")]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout == b"kept\n"


def test_lines_are_printed_in_order(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    console = Console(tmp_path / "up.log")
    for number in range(100):
        console.say(str(number))
    console.close()
    assert capfd.readouterr().out.split() == [str(number) for number in range(100)]
