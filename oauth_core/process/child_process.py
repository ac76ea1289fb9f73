"""Starts programs: the one place where this project makes a process.

A long-running program gets its own session, so that a signal to our process group does not reach it. It is killed
when this process dies (`oauth_core.process.launch`). It reads no input.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from oauth_core.process.launch import wrap

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

_UNKNOWN_CODE = 255
"""As asyncio has it."""


class ChildProcess:
    """A started program. `ended` has its exit code once it has ended; a negative one is the number of a signal."""

    def __init__(self, pid: int, end: Coroutine[Any, Any, int], patience: float = 0.0) -> None:
        self.pid = pid
        self._patience = patience
        self.ended = asyncio.create_task(end, name=f"process {pid}")

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        patience: float = 0.0,
        output: int | None = None,
        descriptors: Sequence[int] = (),
    ) -> ChildProcess:
        """Start `command` with this whole environment. Raises `OSError`.

        Call it in the main thread: the kernel kills the program when the thread that started it ends. `output` is
        the descriptor for its standard output and error, by default ours; it keeps `descriptors` open under their
        numbers. A command that does not exist results in exit code 127 and a line on standard error. `end` waits
        for `patience` seconds.
        """
        process = await asyncio.create_subprocess_exec(
            *wrap(list(command)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            pass_fds=tuple(descriptors),
            start_new_session=True,
        )
        return cls(process.pid, process.wait(), patience)

    @classmethod
    def of_template(cls, pid: int) -> ChildProcess:
        """The process that a `ProcessTemplate` of this process has just made. Raises `OSError`."""
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        return cls(pid, _exit_code(pid, descriptor))

    async def end(self) -> None:
        """Ask its process group to end, and kill the remaining processes after `patience` seconds."""
        if not self.ended.done():
            _signal_group(self.pid, signal.SIGTERM)
            await asyncio.wait((self.ended,), timeout=self._patience)
        await self.kill()

    async def kill(self) -> None:
        """Kill it and the rest of its process group at once."""
        _signal_group(self.pid, signal.SIGKILL)
        await asyncio.wait((self.ended,))


async def _exit_code(pid: int, descriptor: int) -> int:
    """Wait until the child `pid` has ended. `descriptor` is a process descriptor of it, and is closed."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return _reap(pid)


def _reap(pid: int) -> int:
    """The exit code of a child that has ended."""
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:  # the signal of its end is ignored, so the kernel has forgotten it
        return _UNKNOWN_CODE
    return os.waitstatus_to_exitcode(status)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def start_for_thread(
    command: Sequence[str], environment: Mapping[str, str], *, errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a program as `ChildProcess.start` does, for code without an event loop. Its output is discarded."""
    return subprocess.Popen(  # noqa: S603 - no shell, and the commands are ours
        wrap(list(command)),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )


def answer_of(
    command: Sequence[str], environment: Mapping[str, str], given: bytes, *, seconds: float
) -> tuple[int, bytes]:
    """Run a program with `given` as its standard input; return its exit code and its standard output.

    Its standard error is discarded. It and all that it started are killed when it takes longer than `seconds`, and
    when the calling thread ends. Raises `OSError` and `TimeoutError`.
    """
    process = subprocess.Popen(  # noqa: S603 - no shell, and the commands are ours
        wrap(list(command)),
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        try:
            output, _ = process.communicate(given, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            _signal_group(process.pid, signal.SIGKILL)
    return process.returncode, output


async def answered(
    command: Sequence[str], environment: Mapping[str, str], given: bytes, *, seconds: float
) -> tuple[int, bytes]:
    """Run a program as `answer_of` does, in an event loop. When the task is cancelled, the program is killed.

    Call it in the main thread, as `ChildProcess.start`. Raises `OSError` and `TimeoutError`.
    """
    process = await asyncio.create_subprocess_exec(
        *wrap(list(command)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=dict(environment),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate(given)
    finally:
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGKILL)
        await process.wait()
    return process.returncode or 0, output


def output_of(
    command: Sequence[str], *, seconds: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end. Raises `OSError`, and `TimeoutError` when it takes longer than `seconds`."""
    try:
        return subprocess.run(  # noqa: S603 - no shell, and the commands are ours or the operator's
            list(command),
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
