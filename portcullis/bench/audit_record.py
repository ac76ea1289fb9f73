"""Makes an audit record of any size, and measures how long one person's month takes to find in it."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from oauth_core.audit_log.frames import FrameEncoder, FrameKind
from portcullis.audit import moments, shown
from portcullis.audit.filters import EventFilter
from portcullis.audit.parquet.record import Record

if TYPE_CHECKING:
    from pathlib import Path

_WRITERS = 2
_TOOLS = ("read_note", "write_note", "search", "list_files", "send_mail")
_SERVICES = ("notes", "time", "files")
PERSON = "person-0"
_BEGIN = datetime(2026, 10, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class MadeRecord:
    """The measures of a record that was made."""

    events: int
    people: int
    days: int
    of_person: int
    """The events of the person who is searched for."""
    bytes: int
    seconds: float

    @property
    def ends(self) -> datetime:
        """The end of its last day."""
        return _BEGIN + timedelta(days=self.days)


class _Numbers:
    """The same numbers again for the same seed: a linear congruential generator (Knuth's MMIX)."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1; `limit` is at most 2**31."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 33) % limit


def make(audit_dir: Path, count: int, *, people: int, days: int, batch: int, seed: int = 1) -> MadeRecord:
    """Write `count` calls of `people` people, evenly over `days` days, by two writers with one boot each.

    Frames have `batch` events, and each hour a segment of its own. The same arguments make the same record.
    """
    begun, random, size, of_person = time.perf_counter(), _Numbers(seed), 0, 0
    for number in range(_WRITERS):
        writer, encoder = f"ext_authz.{number}", FrameEncoder()
        boot = f"{_BEGIN:%Y%m%dT%H%M%SZ}-{number:08x}"
        folder = audit_dir / "segments" / writer / boot
        folder.mkdir(parents=True)
        own = count // _WRITERS + (number < count % _WRITERS)
        hours, done = days * 24, 0
        for hour in range(hours):
            begins = _BEGIN + timedelta(hours=hour)
            opening = {"format": 1, "node": "node-1", "writer": writer, "boot": boot, "segment": hour + 1}
            opening |= {"program": "bench", "time": moments.recorded(begins)}
            frames = [encoder.encode(FrameKind.OPENING, [json.dumps(opening).encode()])]
            due = own * (hour + 1) // hours
            step, prefix = 3_600_000_000 // max(due - done, 1), f"{begins:%Y-%m-%dT%H}:"
            for first in range(done, due, batch):
                lines = []
                for place in range(first, min(first + batch, due)):
                    person = random.below(people)
                    of_person += person == 0
                    lines.append(_line(random, person, prefix, (place - done) * step))
                frames.append(encoder.encode(FrameKind.EVENTS, lines))
            done = due
            content = b"".join(frames)
            (folder / f"{hour + 1:06}.seg").write_bytes(content)
            size += len(content)
    return MadeRecord(count, people, days, of_person, size, time.perf_counter() - begun)


def _line(random: _Numbers, person: int, hour: str, microseconds: int) -> bytes:
    """An allowed call as the check service records it."""
    minute, rest = divmod(microseconds, 60_000_000)
    token = person * 64 + random.below(64)
    return (
        f'{{"v":1,"time":"{hour}{minute:02}:{rest // 1_000_000:02}.{rest % 1_000_000:06}Z",'
        f'"event":"access.allowed","outcome":"allowed","client_id":"client-{token % 997:022}",'
        f'"user":"person-{person}","user_id":{1_000_000 + person},"service":"{_SERVICES[token % 3]}",'
        f'"jti":"{token * 2654435761 % 2**64:022x}","method":"POST","path":"/mcp","mcp_method":"tools/call",'
        f'"mcp_name":"{_TOOLS[token % 5]}","source":"10.{token >> 16 & 255}.{token >> 8 & 255}.{token & 255}",'
        f'"request_id":"{random.below(2**31):08x}{random.below(2**31):08x}{random.below(2**31):016x}"}}'
    ).encode()


def measure(audit_dir: Path, record: MadeRecord, *, segments_only: bool) -> tuple[float, int]:
    """Find one person's events of all days, as `audit search` does, and print each into nothing.

    Returns the seconds, and the most memory that this process had so far, in MiB. Raises `ValueError` if not every
    event of the person is found.
    """
    begun = time.perf_counter()
    since, until = moments.recorded(_BEGIN), moments.recorded(record.ends)
    wanted = EventFilter(user=PERSON, since=since, until=until)
    searched = Record(audit_dir, segments_only=segments_only)
    found = sum(bool(shown.line(event.fields)) for event in searched.events(wanted))
    seconds = time.perf_counter() - begun
    if found != record.of_person or searched.reading.faults:
        raise ValueError(f"{found} events were found instead of {record.of_person}")
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
