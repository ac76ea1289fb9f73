"""A template: a process that has imported a program, and makes each process of this program by forking itself.

A fork takes a few milliseconds, where a new interpreter imports the same modules again for most of a second. The
memory of the modules is shared. The template is forked before its parent has threads, an event loop or open files,
because a fork copies none of these whole. It has one thread, runs no loop, and answers one request at a time.

A process of the template becomes a child of the template's parent, as if that had started it: the template forks
twice, and the parent adopts the orphan. So it does not depend on the template afterwards. Linux only.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import json
import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from oauth_core.process import launch
from oauth_core.process.program_imports import kept_imports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Program: TypeAlias = "Callable[[Sequence[str], Mapping[str, str]], int]"
"""A program: its arguments, and what is added to its environment; returns its exit code."""

_LOADED = b"L"
_LOAD_SECONDS = 30.0
_ANSWER_SECONDS = 5.0
_LARGEST = 65_536
_FAILED = 1
_FIRST_FILE = 3
"""The first descriptor after standard input, output and error."""


class TemplateGoneError(OSError):
    """The template has ended, and has not made the process."""


class ProcessTemplate:
    """The parent's end of a template."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self._pid = pid
        self._control = control
        self._is_loaded = False

    @classmethod
    def fork(cls, load: Callable[[], Program]) -> ProcessTemplate | None:
        """Fork a template that calls `load`, which imports the program. Returns `None` where that is not possible.

        Call it before this process makes a thread or opens a file.
        """
        if sys.platform != "linux" or not _has_process_descriptors():
            return None
        launch.adopt_orphans()
        # A process inherits that this signal is ignored. The kernel then keeps no exit code of a child.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
        except OSError:  # no process is left
            ours.close()
            theirs.close()
            return None
        if pid == 0:
            _run_to_the_end(lambda: _serve(load, parent, theirs))
        theirs.close()
        return cls(pid, ours)

    async def wait_until_loaded(self) -> None:
        """Return when the template has imported the program. Raises `TemplateGoneError`."""
        if self._control.fileno() < 0:
            raise TemplateGoneError("the template was ended")
        if not self._is_loaded:
            self._control.setblocking(False)  # noqa: FBT003 - the standard library's spelling
            try:
                async with asyncio.timeout(_LOAD_SECONDS):
                    answer = await asyncio.get_running_loop().sock_recv(self._control, 1)
            except TimeoutError:
                raise TemplateGoneError("the template does not finish its imports") from None
            if answer != _LOADED:
                raise TemplateGoneError("the template has ended")
            self._control.settimeout(_ANSWER_SECONDS)
            self._is_loaded = True

    def start(self, arguments: Sequence[str], variables: Mapping[str, str], descriptor: int, name: str) -> int:
        """Start the program with `arguments`; `variables` are added to its environment. Returns its process id.

        The program gets a copy of `descriptor`, whose number is in the variable `name`. It is killed when the
        thread that forked the template ends. Call `wait_until_loaded` first. Raises `OSError` if no process can be
        made or none is reported, and `TemplateGoneError`.
        """
        request = json.dumps([arguments, variables, name]).encode()
        try:
            socket.send_fds(self._control, [request], [descriptor])
        except (ConnectionError, TimeoutError) as error:
            raise TemplateGoneError(str(error)) from None
        try:
            answer = self._control.recv(_LARGEST)
        except (ConnectionError, TimeoutError):
            answer = b""
        if not answer:  # it may have made the process, so this start must not go on in another way
            self.close()
            raise OSError("the template of processes does not answer")
        number, fault = json.loads(answer)
        if fault:
            raise OSError(number, os.strerror(number))
        return int(number)

    def close(self) -> None:
        """End the template. The processes that it made stay. A second call does nothing."""
        if self._control.fileno() < 0:
            return  # its number may belong to another process now
        self._control.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _has_process_descriptors() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _run_to_the_end(run: Callable[[], int]) -> NoReturn:
    """In a fork: run, and end at once, without returning to what called `fork`."""
    code = _FAILED
    try:
        code = run()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else _FAILED
    except BaseException:  # noqa: BLE001 - the interpreter does the same at the end of a program
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


# -- in the template ----------------------------------------------------------------------------------------------


def _serve(load: Callable[[], Program], parent: int, control: socket.socket) -> int:
    """Fork a process for each request, until the parent closes its end."""
    launch.end_with_parent(parent)
    os.setsid()  # a signal to the parent's process group does not reach it
    _close_all_but(control)
    with kept_imports():
        program = load()
    with suppress(ConnectionError):  # the parent has ended the template, and has not read all it sent
        control.send(_LOADED)
        _answer_all(program, parent, control)
    return 0


def _answer_all(program: Program, parent: int, control: socket.socket) -> None:
    while True:
        request, descriptors, _flags, _address = socket.recv_fds(control, _LARGEST, 1)
        if not request:
            return
        try:
            answer = (_fork_twice(request, descriptors, program, parent, control), False)
        except OSError as error:
            answer = (error.errno or 0, True)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(json.dumps(answer).encode())


def _close_all_but(control: socket.socket) -> None:
    """Close all files of the parent, except the standard ones and `control`."""
    kept = control.fileno()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the limit may be a billion, and most are not open
        if int(name) >= _FIRST_FILE and int(name) != kept:
            with suppress(OSError):  # the one that listed the folder
                os.close(int(name))


def _fork_twice(
    request: bytes, descriptors: list[int], program: Program, parent: int, control: socket.socket
) -> int:
    """Start the program as an orphan, which the parent adopts. Returns its process id. Raises `OSError`."""
    reading, writing = os.pipe()
    try:
        first = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if first == 0:
        os.close(reading)
        control.close()
        _run_to_the_end(lambda: _fork_again(request, descriptors[0], program, parent, writing))
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor
        number = int(pipe.read() or -errno.EAGAIN)
    os.waitpid(first, 0)  # from here on the parent is the parent of the second one
    if number < 0:
        raise OSError(-number, os.strerror(-number))
    return number


def _fork_again(request: bytes, descriptor: int, program: Program, parent: int, pipe: int) -> int:
    """In the first fork: fork once more and end. The second fork is the orphan; it runs the program."""
    between = os.getpid()
    try:
        second = os.fork()
    except OSError as error:
        os.write(pipe, str(-(error.errno or errno.EAGAIN)).encode())
        return _FAILED
    if second != 0:
        return 0
    os.setsid()  # before the parent knows the number, with which it ends the whole process group
    os.write(pipe, str(os.getpid()).encode())
    os.close(pipe)
    while os.getppid() == between:
        time.sleep(0.001)
    launch.end_with_parent(parent)
    silence = os.open(os.devnull, os.O_RDONLY)
    os.dup2(silence, 0)
    os.close(silence)
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's spelling
    arguments, variables, name = json.loads(request)
    try:
        return program(arguments, {**variables, name: str(descriptor)})
    finally:
        # As at the end of every program: the log waits here until its last lines are written.
        atexit._run_exitfuncs()  # noqa: SLF001 - `multiprocessing` ends its forks so too
