"""Writes the audit record of one process: lines in, frames in segment files out, by one thread.

`append` puts a line into memory and returns. The thread takes the lines of some 50 ms together, compresses them
into one frame (`oauth_core.audit_log.frames`), and ends each batch with one write and one `fdatasync`. So a killed
process loses its last batch at most. A caller that cannot accept even that waits with `flush` or `flushed`.

The segments of one start of a writer ("boot") are `AUDIT_DIR/segments/WRITER/BOOT/000001.seg` and so on. A new one
begins at `SEGMENT_BYTES` and at each full hour of UTC. Frames are never changed: a frame that could not be written
whole is cut off again, and written again with the same bytes.

A failure (a full disk, a missing folder, a broken disk) loses nothing at first: the lines wait in memory, and the
thread tries again. `is_available` is false once attempts have failed for `PATIENCE_SECONDS`, once a slow disk has
not answered for `SLOW_SECONDS`, or once `MOST_LINES`
wait; then programs refuse what must not happen without a record. On a full disk the writer first removes its
reserve, a file of `RESERVE_BYTES`, so that revocations are still recorded. Until there is room for a new reserve,
`is_available` is false too. Lines beyond twice `MOST_LINES` are dropped and counted, and one event says how many.
"""

from __future__ import annotations

import asyncio
import copy
import errno
import json
import os
import socket
import stat
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING

import structlog

from oauth_core.audit import EventKind, NotRecordedError, members, repeated, stored
from oauth_core.audit_log.frames import FrameEncoder, FrameKind
from oauth_core.errors import SettingsError
from oauth_core.process import private_files
from oauth_core.process.audit_repeats import Repeats, is_anonymous
from oauth_core.process.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from oauth_core.audit import AuditEvent

BATCH_SECONDS = 0.05
"""Seconds that the first line of a batch waits for others."""

SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment that is longer gets no further frame."""

MOST_LINES = 20_000
"""Lines that may wait before `is_available` is false."""

MOST_BYTES = 32 * 1024 * 1024
"""Characters of the lines that may wait before `is_available` is false."""

PATIENCE_SECONDS = 1.0
"""Seconds for which attempts may fail before `is_available` is false."""

SLOW_SECONDS = 10.0
"""Seconds that a disk may take for a batch, without an error, before `is_available` is false: a busy disk is no
reason to refuse calls."""

RESERVE_BYTES = 4 * 1024 * 1024
"""Bytes of the reserve of each writer: room for some 90,000 events."""

_LINES_A_FRAME = 8192
_CHARACTERS_A_FRAME = 8 * 1024 * 1024
_FIRST_RETRY_SECONDS = 0.25
_LONGEST_RETRY_SECONDS = 2.0
_CLOSING_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_HOUR = 3600
_AT_ONCE = 64 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FOLDER_MODE = 0o700


def prepare(audit_dir: Path) -> None:
    """Create the folder of the record, if its parent exists. Raises `SettingsError` if it cannot be used at all.

    A full disk is no such fault: the programs start, and refuse what must be recorded.
    """
    try:
        audit_dir.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        if not os.access(audit_dir, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno not in _FULL:
            raise SettingsError([f"audit.dir: {audit_dir}: {error.strerror}"]) from None


def this_node() -> str:
    """Return the name of this machine, in the characters that a node may have."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in socket.gethostname().lower())
    return name.strip("-_.")[:64] or "node"


class SegmentWriter:
    """Appends the lines of one writer to segments below `audit_dir`. `append` is called by one thread only."""

    def __init__(
        self,
        audit_dir: Path,
        writer: str,
        *,
        node: str,
        reserve_bytes: int = RESERVE_BYTES,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Start the thread, which opens the first segment. Raises no error: `failure` has it."""
        self.writer = writer
        self.node = node
        self.failure: Exception | None = None
        """The error of the last attempt, while attempts fail."""
        self._wall_clock = wall_clock
        started = datetime.fromtimestamp(wall_clock(), UTC)
        self.boot = f"{started:%Y%m%dT%H%M%SZ}-{os.urandom(4).hex()}"
        self._audit_dir = audit_dir
        self._folder = audit_dir / "segments" / writer / self.boot
        self._reserve = Reserve(audit_dir, writer, reserve_bytes)

        # Shared by callers and the thread.
        self._waiting: deque[str] = deque()
        self._accepted = self._taken = 0  # characters of all lines so far
        self._dropped = 0
        self._repeats = Repeats()
        self._awake = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._closing = threading.Event()
        self._flushes: deque[Callable[[], None]] = deque()
        self._busy_since: float | None = None
        self._is_short = False

        # The thread's own: the encoder as of the last frame on the disk, and what comes after that.
        self._encoder = FrameEncoder()
        self._taken_lines = 0
        self._batch: list[str] = []
        self._kind = FrameKind.EVENTS
        self._unwritten = b""
        self._has_batch = False  # whether `_unwritten` has the frame of the batch
        self._next_encoder = self._encoder
        self._is_closed = False
        self._descriptor: int | None = None
        self._name = ""
        self._identity = (0, 0)
        self._index = 0
        self._size = 0
        self._hour = 0
        self._is_torn = False
        self._unsynced: list[Path] = []
        self._log = structlog.get_logger("audit")
        self._retry = Backoff(_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS)
        # A daemon: a write that never returns must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @property
    def is_available(self) -> bool:
        """Whether lines reach the disk in time. If not, nothing may be allowed that needs a record."""
        since = self._busy_since
        return (
            (since is None or time.monotonic() - since < self._patience())
            and len(self._waiting) < MOST_LINES
            and self._accepted - self._taken < MOST_BYTES
            and not self._is_short
            and not self._closing.is_set()
        )

    def _patience(self) -> float:
        return SLOW_SECONDS if self.failure is None else PATIENCE_SECONDS

    @property
    def recorded(self) -> int:
        """The number of events that are on the disk."""
        return self._encoder.next_sequence - 1

    def append(self, line: str) -> None:
        """Record `line`, in ASCII and without a line break. Neither blocks nor raises.

        After `close` was called, the line is dropped: nothing may follow the last frame of a boot.
        """
        is_full = len(self._waiting) >= 2 * MOST_LINES or self._accepted - self._taken >= 2 * MOST_BYTES
        if is_full or self._closing.is_set():
            self._dropped += 1
            return
        self._waiting.append(line)
        self._accepted += len(line)
        if not self._awake:
            self._awake = True
            self._wake.set()

    def record(self, event: AuditEvent, time: str, fields: str) -> None:
        """Record `event` at `time`; `fields` are its `members`.

        Refusals of unknown callers are counted together (`audit_repeats`).
        """
        if is_anonymous(event) and not self._repeats.is_first(event, int(self._wall_clock())):
            if not self._awake:
                self._awake = True
                self._wake.set()
            return
        self.append(stored(event.kind, event.outcome, time, fields))

    def note_dropped(self) -> None:
        """Count an event that is left out while nothing can be recorded, such as each refused call."""
        self._dropped += 1

    def flush(self, seconds: float = SLOW_SECONDS) -> None:
        """Return once all earlier lines are on the disk.

        Raises `NotRecordedError` after so many seconds, or after `PATIENCE_SECONDS` while attempts fail.
        """
        done = threading.Event()
        self._ask(done.set)
        asked_at = time.monotonic()
        while not done.wait(PATIENCE_SECONDS):
            if time.monotonic() - asked_at >= min(seconds, self._patience()):
                raise self._not_recorded()

    async def flushed(self, seconds: float = SLOW_SECONDS) -> None:
        """Do what `flush` does, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def from_thread() -> None:
            with suppress(RuntimeError):  # the loop is closed: no caller waits any more
                loop.call_soon_threadsafe(done.set)

        self._ask(from_thread)
        asked_at = loop.time()
        while not done.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await done.wait()
            if not done.is_set() and loop.time() - asked_at >= min(seconds, self._patience()):
                raise self._not_recorded()

    def close(self) -> bool:
        """Write all lines and the last frame, and stop. Returns whether that worked within five seconds."""
        self._closing.set()
        self._hurry.set()
        self._wake.set()
        self._thread.join(_CLOSING_SECONDS)
        lines = len(self._waiting) + len(self._batch) + self._dropped
        is_whole = not self._thread.is_alive() and self.failure is None and not lines
        if not is_whole:
            self._log.error("audit.closed_incomplete", lines=lines)
        return is_whole

    def _ask(self, done: Callable[[], None]) -> None:
        self._flushes.append(done)
        self._hurry.set()
        self._wake.set()

    def _not_recorded(self) -> NotRecordedError:
        return NotRecordedError(str(self.failure) if self.failure else "the disk does not answer in time")

    # Only the thread runs what follows.

    def _run(self) -> None:
        while not self._is_closed:
            # All three before the lines are taken: whatever was appended before belongs to this round.
            is_last = self._closing.is_set()
            flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
            self._wake.clear()
            self._awake = False
            if self._is_short and self._reserve.keep():
                self._is_short = False
            if self._store_waiting(is_last=is_last):
                for done in flushes:
                    done()
                if not is_last:
                    looks_again = self._is_short or self._repeats.is_pending
                    self._wake.wait(_LOOK_SECONDS if looks_again else None)
                    self._hurry.wait(BATCH_SECONDS)
                    self._hurry.clear()
                continue
            self._flushes.extendleft(reversed(flushes))
            if is_last:  # no pauses that grow: little time is left
                time.sleep(_FIRST_RETRY_SECONDS)
            else:
                self._closing.wait(self._retry.delay)
                self._retry.grow()
        self._leave()

    def _store_waiting(self, *, is_last: bool) -> bool:
        """Store all lines that wait now. Returns whether that worked; if not, the error is in `failure`.

        Lines that come meanwhile are for the next batch. If this took them too, a busy process would never wait
        for a batch, and would pay for a frame and an `fdatasync` as often as the disk allows.
        """
        last = self._taken_lines + len(self._waiting)
        try:
            while not self._is_closed and (self._take(is_last=is_last) or self._descriptor is None):
                if self._busy_since is None:
                    self._busy_since = time.monotonic()
                self._store()
                if self._taken_lines >= last and not is_last:
                    break
        except Exception as error:  # noqa: BLE001 - if the thread ended, nothing could be recorded until a restart
            if isinstance(error, OSError) and error.errno in _FULL and self._reserve.give_up():
                self._is_short = True
                self._log.error("audit.disk_full", error=str(error), writer=self.writer)
                return self._store_waiting(is_last=is_last)
            if self.failure is None:
                self._log.error("audit.not_recorded", error=str(error), writer=self.writer)
            self.failure = error
            return False
        self._busy_since = None
        if self.failure is not None:
            self._log.warning("audit.recorded_again", writer=self.writer)
            self.failure = None
        self._retry.reset()
        if not self._is_short:
            self._reserve.keep()
        return True

    def _take(self, *, is_last: bool) -> bool:
        """Take the next lines into the batch, unless it still has some. Returns whether the batch has lines."""
        if self._batch:
            return True
        self._kind = FrameKind.EVENTS
        if not self._is_short and len(self._waiting) < MOST_LINES and (dropped := self._take_dropped()):
            gap = EventKind.AUDIT_INTERRUPTED
            fields = f',"reason":{quoted(f"{dropped} events were not recorded")}'
            self._batch.append(stored(gap, gap.outcome, self._now(), fields))
        characters = 0
        # With the last batch also the second that is not over yet.
        second = 0 if is_last else int(self._wall_clock())
        while characters < _CHARACTERS_A_FRAME and (repeats := self._repeats.take(second)) is not None:
            (kind, reason, source), count = repeats
            line = stored(kind, kind.outcome, self._now(), members(repeated(kind, reason, source, count)))
            self._batch.append(line)
            characters += len(line)
        self._take_waiting(_CHARACTERS_A_FRAME - characters)
        if not self._batch and is_last:
            self._kind = FrameKind.CLOSING
            self._batch.append(json.dumps({"time": self._now(), "reason": "stopped"}))
        return bool(self._batch)

    def _take_waiting(self, characters: int) -> None:
        """Take lines that wait into the batch until they have so many `characters`."""
        count, next_line = min(len(self._waiting), _LINES_A_FRAME), self._waiting.popleft
        if self._accepted - self._taken <= characters:
            lines = [next_line() for _ in range(count)]
            self._taken += sum(map(len, lines))
            self._taken_lines += count
            self._batch += lines
            return
        for _ in range(count):
            if characters <= 0:
                break
            line = next_line()
            self._batch.append(line)
            self._taken += len(line)
            self._taken_lines += 1
            characters -= len(line)

    def _take_dropped(self) -> int:
        """Return how many events were dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped + self._repeats.take_dropped()

    def _store(self) -> None:
        """Append the batch as one frame, if it has lines, to the segment, or to a new one. Raises `OSError`."""
        if self._descriptor is not None and not self._is_in_place():
            self._leave()
        if self._descriptor is None or (not self._unwritten and self._is_due()):
            self._leave()
            self._open()
        if self._batch and not self._has_batch:
            if not self._unwritten:
                self._next_encoder = copy.copy(self._encoder)
            text = "\n".join((*self._batch, "")).encode("ascii", "backslashreplace")
            self._unwritten += self._next_encoder.encode_text(self._kind, text, len(self._batch))
            self._has_batch = True
        self._append_unwritten()
        self._encoder = self._next_encoder
        self._is_closed = self._has_batch and self._kind is FrameKind.CLOSING
        self._unwritten, self._batch, self._has_batch = b"", [], False

    def _append_unwritten(self) -> None:
        descriptor, data, written = self._descriptor, memoryview(self._unwritten), 0
        if descriptor is None:
            raise AssertionError("no segment is open")
        if self._is_torn:
            os.ftruncate(descriptor, self._size)
            self._is_torn = False
        try:
            while written < len(data):
                written += os.write(descriptor, data[written:])
            while self._unsynced:
                private_files.sync_folder(self._unsynced[-1])
                self._unsynced.pop()
            # After an error the kernel may drop what it did not write, so all of it is written again.
            private_files.sync_content(descriptor)
        except OSError:
            self._is_torn = True
            with suppress(OSError):
                os.ftruncate(descriptor, self._size)
                self._is_torn = False
            raise
        if not self._is_in_place():
            raise FileNotFoundError(errno.ENOENT, "the segment was removed or renamed")
        self._size += written

    def _is_in_place(self) -> bool:
        """Whether the open segment still has its name: another file or none would lose what is written."""
        try:
            there = os.lstat(self._name)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == self._identity

    def _is_due(self) -> bool:
        """Whether the next frame belongs into a new segment. The last frame of a boot never does."""
        if self._kind is FrameKind.CLOSING:
            return False
        return self._size >= SEGMENT_BYTES or int(self._wall_clock()) // _HOUR != self._hour

    def _leave(self) -> None:
        """Close the segment. Lines that are not on the disk yet are encoded again for the next one."""
        # First, as the number of a descriptor that could not be closed may soon be that of another file.
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # what is on the disk was synced before
                os.close(descriptor)
        self._unwritten, self._has_batch, self._is_torn = b"", False, False
        self._next_encoder = self._encoder

    def _open(self) -> None:
        """Open the next segment, whose first frame says what it is. Raises `OSError`."""
        # The audit folder itself only at the start: if it is gone later, a disk is missing.
        above = () if self._index else (self._audit_dir,)
        folders = (*above, self._folder.parents[1], self._folder.parents[0], self._folder)
        made = [folder for folder in folders if _is_made(folder)]
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        while self._descriptor is None:
            self._name = str(self._folder / f"{self._index + 1:06d}.seg")
            with suppress(FileExistsError):  # this process did not make it, so a later number is taken
                self._descriptor = private_files.descriptor(self._name, flags)
            self._index += 1
        here = os.fstat(self._descriptor)
        self._identity = (here.st_dev, here.st_ino)
        self._size, self._hour = 0, int(self._wall_clock()) // _HOUR
        self._unsynced = [self._folder, *(folder.parent for folder in made)]
        opening = {
            "format": 1,
            "node": self.node,
            "writer": self.writer,
            "boot": self.boot,
            "segment": self._index,
            "program": version("mcp-portcullis"),
            "time": self._now(),
        }
        self._next_encoder = copy.copy(self._encoder)
        self._unwritten = self._next_encoder.encode(FrameKind.OPENING, [json.dumps(opening).encode()])

    def _now(self) -> str:
        return f"{datetime.fromtimestamp(self._wall_clock(), UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _is_made(folder: Path) -> bool:
    """Create `folder` for this user alone. Returns whether it did not exist."""
    try:
        folder.mkdir(mode=_FOLDER_MODE)
    except FileExistsError:
        return False
    return True


class Reserve:
    """A file that takes room on the disk, for the moment when there is no other: `AUDIT_DIR/reserve/WRITER`.

    Processes with one writer name share it. In place of any other thing with this name, such as a link to a file
    that must not be overwritten or a pipe that nothing reads, a file is made.
    """

    def __init__(self, audit_dir: Path, writer: str, size: int) -> None:
        self._path = audit_dir / "reserve" / writer
        self._size = size
        self._is_kept = False

    def keep(self) -> bool:
        """Make the reserve, if the disk has room for two. Returns whether there is one now."""
        if self._is_kept or not self._size:
            return True
        try:
            _is_made(self._path.parent)
            if not stat.S_ISDIR(self._path.parent.lstat().st_mode):
                return False
            disk = os.statvfs(self._path.parent)
            if not self._is_there():
                if disk.f_bavail * disk.f_frsize < 2 * self._size:
                    return False
                with open(self._path, "xb", opener=private_files.descriptor) as file:
                    for _ in range(self._size // _AT_ONCE):
                        # A hole takes no room, and neither do zeros where the disk compresses.
                        file.write(os.urandom(_AT_ONCE))
        except OSError:
            self.give_up()
            return False
        self._is_kept = True
        return True

    def _is_there(self) -> bool:
        """Whether there is a whole reserve. Anything else in its place is removed. Raises `OSError`."""
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return False
        is_whole = stat.S_ISREG(found.st_mode) and found.st_size == self._size
        if not is_whole:
            self._path.unlink()
        return is_whole

    def give_up(self) -> bool:
        """Remove the reserve. Returns whether there was one, also if another process has just removed it."""
        was_kept, self._is_kept = self._is_kept, False
        try:
            if not stat.S_ISDIR(self._path.parent.lstat().st_mode):
                return False
            self._path.unlink()
        except FileNotFoundError:
            return was_kept
        except OSError:
            return False
        return True
