"""Writes log lines to standard output or to a file, so that a stalled reader delays no caller.

A regular file is written to at once: it never blocks for long, and a full disk is an immediate error. Any other
output (a pipe, a socket, a terminal) has a reader that may stop reading. There a thread writes, and at most
`MOST_WAITING` bytes wait for it, for at most `STALLED_SECONDS`; after that each further line is refused, until the
reader continues. An accepted line is written unless the process is killed first.

A file may be renamed at any time. The next line then goes to a new file of the old name, as do standard output and
standard error, so that no output goes to the renamed file.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from oauth_core.process import private_files

if TYPE_CHECKING:
    from pathlib import Path

MOST_WAITING = 8 * 1024 * 1024
"""Bytes."""

STALLED_SECONDS = 1.0
"""Seconds that the oldest line may wait for the reader before further lines are refused."""

_LAST_SECONDS = 5.0
"""Seconds that `close` waits for the reader."""

_LOOK_SECONDS = 0.5
"""Seconds between two checks that the file still has its name."""

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2


class StalledError(OSError):
    """The reader of the log does not read. The line was not accepted."""


class PartlyWrittenError(OSError):
    """The disk is full: the first `lines` lines were accepted, and the rest was not."""

    def __init__(self, lines: int, cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror)
        self.lines = lines


class LogStream:
    """Standard output, or the file at `path`. May be used from several threads."""

    def __init__(self, path: Path | None = None, *, descriptor: int = _STANDARD_OUTPUT) -> None:
        """Open `path`, which then is standard output and standard error too. Raises `OSError`."""
        self._path = path
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._looked = 0.0
        self._unfinished = b""
        if path is not None:
            self._open(path)
        self._pipe = None if _is_regular(descriptor) else _Pipe(descriptor)

    def write(self, text: str) -> int:
        """Accept whole lines, or raise `OSError`: `PartlyWrittenError` and `StalledError` among others."""
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            if self._pipe is not None:
                self._pipe.put(data)
            else:
                self._write_file(data)
        return len(text)

    def flush(self) -> None:
        """Do nothing: no data is buffered."""

    def close(self) -> None:
        """Wait until the reader of a pipe has read every line, for at most five seconds."""
        if self._pipe is not None:
            self._pipe.close()

    def _write_file(self, data: bytes) -> None:
        if self._path is not None and time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._follow(self._path)
        try:
            while self._unfinished:
                self._unfinished = self._unfinished[os.write(self._descriptor, self._unfinished) :]
        except OSError as error:
            raise PartlyWrittenError(0, error) from None
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, memoryview(data)[written:])
        except OSError as error:
            # The begun line is finished first when there is room, so that no line is torn or written twice.
            end = data.find(b"\n", written - 1) + 1 if written else 0
            self._unfinished = data[written:end]
            raise PartlyWrittenError(data.count(b"\n", 0, end), error) from None

    def _follow(self, path: Path) -> None:
        self._looked = time.monotonic()
        try:
            there, here = path.stat(), os.fstat(self._descriptor)
            if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                return
        except FileNotFoundError:
            pass
        except OSError:
            return
        with suppress(OSError):  # the renamed file stays in use until a new one can be made
            self._open(path)

    def _open(self, path: Path) -> None:
        fresh = private_files.appending(path)
        try:
            for taken in (_STANDARD_OUTPUT, _STANDARD_ERROR):
                os.dup2(fresh, taken)
        finally:
            os.close(fresh)


class _Pipe:
    """A descriptor whose reader may stall, written to by a thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._failure: OSError | None = None
        self._closing = False
        # A daemon: a write that never returns must not keep the process from ending.
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def put(self, data: bytes) -> None:
        with self._changed:
            if self._failure is not None:
                raise self._failure
            if self._waiting:
                oldest = time.monotonic() - self._waiting[0][0]
                if oldest > STALLED_SECONDS or self._bytes + len(data) > MOST_WAITING:
                    raise StalledError("standard output is not read")
            self._waiting.append((time.monotonic(), data))
            self._bytes += len(data)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_LAST_SECONDS)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closing:
                        return
                    self._changed.wait()
                data = self._waiting[0][1]
            try:
                for part in _parts(data):
                    self._write(part)
            except OSError as error:  # the reader is gone, and does not come back
                with self._changed:
                    self._failure = error
                return
            with self._changed:
                self._waiting.popleft()
                self._bytes -= len(data)

    def _write(self, part: bytes) -> None:
        while part:
            try:
                part = part[os.write(self._descriptor, part) :]
            except BlockingIOError:  # another program made the shared pipe non-blocking
                select.select((), (self._descriptor,), ())


def _parts(data: bytes) -> list[bytes]:
    """Split `data` after newlines into parts that a pipe accepts whole, though several processes write to it."""
    parts, begin = [], 0
    while begin < len(data):
        end = data.rfind(b"\n", begin, begin + select.PIPE_BUF) + 1
        if not end:
            end = data.find(b"\n", begin) + 1 or len(data)
        parts.append(data[begin:end])
        begin = end
    return parts


def _is_regular(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    # /dev/null accepts everything, as a file does.
    return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(descriptor))


def standard_output() -> int | None:
    """Return the file descriptor of standard output, or `None` if it was replaced by another object."""
    with suppress(OSError, ValueError):
        if sys.stdout is sys.__stdout__ and sys.stdout is not None:
            return sys.stdout.fileno()
    return None
