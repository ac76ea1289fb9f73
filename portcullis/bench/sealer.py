"""Measures the sealer beside programs that record: its processor time, and how far it is behind."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

from oauth_core.audit_log.checkpoints import parse_checkpoint
from oauth_core.audit_log.frames import FrameEncoder, FrameKind
from oauth_core.audit_log.signed_notes import NoteError, split_note
from portcullis.audit import moments
from portcullis.audit.sealed_folder import SealedFolder
from portcullis.bench.machine import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BATCH_SECONDS = 0.05
"""A program writes a frame in this time (`oauth_core.process.audit_segments`)."""
_PATIENCE = 60.0


class SealerBenchError(Exception):
    """The sealer did not start, or ended. The message has what it said."""


@dataclass
class SealerFigures:
    """The figures of one measurement."""

    seconds: float = 0.0
    events: int = 0
    frames: int = 0
    processor: float = 0.0
    """Seconds of processor time of the sealer."""
    lags: list[float] = field(default_factory=list)
    """The age of the oldest event that is not sealed, looked at in each batch; in seconds."""
    behind: float = 0.0
    """Seconds from the last event to the checkpoint that covers all of them."""

    @property
    def per_second(self) -> float:
        """Milliseconds of processor time for one second of events."""
        return 1000 * self.processor / self.seconds

    @property
    def lag(self) -> tuple[float, float]:
        """The median and the highest lag, in seconds."""
        return statistics.median(self.lags), max(self.lags)


class _Writer:
    """Writes frames as a worker of the check service does, with one template for all events."""

    def __init__(self, audit_dir: Path, number: int) -> None:
        self.name, self.boot = f"ext_authz.{number}", f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{number:08x}"
        folder = audit_dir / "segments" / self.name / self.boot
        folder.mkdir(parents=True)
        self._file: IO[bytes] = (folder / "000001.seg").open("ab", buffering=0)
        self._encoder = FrameEncoder()
        opening = {"format": 1, "node": "node-1", "writer": self.name, "boot": self.boot, "segment": 1}
        opening |= {"program": "bench", "time": moments.recorded(datetime.now(UTC))}
        self._file.write(self._encoder.encode(FrameKind.OPENING, [json.dumps(opening).encode()]))
        self._last = 0
        self.waiting: list[tuple[int, float]] = []
        """The last event of each frame that is not sealed, and when it was written."""

    def write(self, count: int) -> None:
        moment = moments.recorded(datetime.now(UTC))
        lines = [_line(moment, self._last + number) for number in range(1, count + 1)]
        self._file.write(self._encoder.encode(FrameKind.EVENTS, lines))
        self._last += count
        self.waiting.append((self._last, time.monotonic()))

    def sealed(self, last: int) -> None:
        self.waiting = [one for one in self.waiting if one[0] > last]

    def close(self) -> None:
        self._file.close()


def measure(audit_dir: Path, *, rate: int, seconds: int, writers: int) -> SealerFigures:
    """Record `rate` events a second for `seconds` beside a sealer. Raises `SealerBenchError` and `OSError`."""
    key = audit_dir.with_name("audit_seal.key")
    place = ["--audit-dir", str(audit_dir), "--key-file", str(key)]
    sealer = subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-m", "portcullis", "audit", "seal", "--make-key", *place],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        folder = SealedFolder(audit_dir)
        _wait(sealer, folder.checkpoint.exists)
        made = [_Writer(audit_dir, number) for number in range(writers)]
        try:
            return _measure(sealer, folder, made, rate, seconds)
        finally:
            for writer in made:
                writer.close()
    finally:
        sealer.terminate()
        sealer.communicate()


def _measure(
    sealer: subprocess.Popen[bytes], folder: SealedFolder, writers: list[_Writer], rate: int, seconds: int
) -> SealerFigures:
    found = SealerFigures()
    before, begun = (cpu_seconds([sealer.pid]) or 0.0), time.monotonic()
    due = begun
    while due < begun + seconds:
        for number, writer in enumerate(writers):
            share = _share(rate, number, len(writers), found.frames // len(writers))
            writer.write(share)
            found.events += share
        found.frames += len(writers)
        found.lags.append(_lag(folder, writers))
        due += BATCH_SECONDS
        time.sleep(max(0.0, due - time.monotonic()))
    found.seconds = time.monotonic() - begun
    ended = time.monotonic()
    _wait(sealer, lambda: _lag(folder, writers) == 0.0)
    found.behind = time.monotonic() - ended
    found.processor = (cpu_seconds([sealer.pid]) or 0.0) - before
    return found


def _share(rate: int, number: int, writers: int, batch: int) -> int:
    """Events of a writer in a batch, so that all batches have `rate` events a second; at least one."""
    batches = round(1 / BATCH_SECONDS)
    own = rate // writers + (number < rate % writers)
    place = batch % batches
    return max(1, own * (place + 1) // batches - own * place // batches)


def _lag(folder: SealedFolder, writers: list[_Writer]) -> float:
    """The age of the oldest frame that the newest checkpoint does not cover; 0 without one."""
    try:
        note = folder.read_checkpoint()
        boots = parse_checkpoint(split_note(note or "")[0]).boots
    except (NoteError, UnicodeDecodeError):
        boots = ()
    last = {(boot.writer, boot.boot): boot.last for boot in boots}
    for writer in writers:
        writer.sealed(last.get((writer.name, writer.boot), 0))
    oldest = [writer.waiting[0][1] for writer in writers if writer.waiting]
    return time.monotonic() - min(oldest) if oldest else 0.0


def _wait(sealer: subprocess.Popen[bytes], is_done: Callable[[], bool]) -> None:
    """Wait until `is_done()`. Raises `SealerBenchError` if the sealer ends before, or if it takes too long."""
    deadline = time.monotonic() + _PATIENCE
    while not is_done():
        if sealer.poll() is not None:
            said = sealer.stderr.read() if sealer.stderr else b""
            raise SealerBenchError(f"the sealer has ended: {said.decode('utf-8', 'replace').strip()[-500:]}")
        if time.monotonic() > deadline:
            raise SealerBenchError("the sealer did not seal in time")
        time.sleep(BATCH_SECONDS / 2)


def _line(moment: str, number: int) -> bytes:
    token = number * 2654435761 % 2**64
    return (
        f'{{"v":1,"time":"{moment}","event":"access.allowed","outcome":"allowed","client_id":"{token % 997:022}",'
        f'"user":"person-{token % 1000}","user_id":{1_000_000 + token % 1000},"service":"notes",'
        f'"jti":"{token:022x}","method":"POST","path":"/mcp","source":"10.0.{token >> 8 & 255}.{token & 255}",'
        f'"request_id":"{token:032x}"}}'
    ).encode()
