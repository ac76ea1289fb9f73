"""Copies the segments of closed hours into Parquet: one file for each hour, and one for each day that is over.

An hour is closed ten minutes after its end, because a writer that waits for the disk writes late. A segment with a
part that cannot be read is not copied, so that each search reports it.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from oauth_core.audit_log.frames import MOST_CONTENT, FrameError, FrameKind
from oauth_core.process import private_files
from portcullis.audit import moments
from portcullis.audit.parquet import catalog, database
from portcullis.audit.parquet.catalog import Copy, SegmentKey
from portcullis.audit.reading import SLACK, opening
from portcullis.audit.segments import BootReader, Damage, boots, node_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence, Set
    from pathlib import Path
    from typing import IO

    from portcullis.audit.segments import Boot

_ROWS_OF_A_GROUP = 20_480
"""Rows that share statistics: few enough that one person's events of a day are in one or two groups."""


_MAKING = ".making-"


@dataclass(frozen=True, slots=True)
class _Ready:
    """A segment of a closed hour."""

    boot: Boot
    index: int
    node: str
    hour: datetime
    size: int

    @property
    def key(self) -> SegmentKey:
        return SegmentKey(self.boot.writer, self.boot.name, self.index)


def compact(audit_dir: Path, *, now: datetime, report: Callable[[str], None]) -> int:
    """Copy what is ready and not copied yet, and return how many files were written.

    `report` gets a line for each file, and for each segment that cannot be copied. A file that a newer one
    replaces is removed by the next run, because a search may still read it. Raises `OSError`, and
    `file_lock.HeldError` while another run works.
    """
    with catalog.held(audit_dir) as folder:
        for left in folder.glob(f"{_MAKING}*"):
            # A run that was killed left it.
            shutil.rmtree(left)
        return _compact(audit_dir, folder, now, report)


def _compact(audit_dir: Path, folder: Path, now: datetime, report: Callable[[str], None]) -> int:
    ready = list(_ready(audit_dir, now))
    sizes = {one.key: one.size for one in ready}
    listed = catalog.copies(audit_dir)
    used, copied = catalog.counted(listed, sizes)
    known = copied.union(*(copy.refused for copy, _ in used))
    for copy in listed:
        if all(copy is not other for other, _ in used) and copy.refused.keys() <= known:
            copy.remove()
    settled = copied | {key for copy in listed for key, size in copy.refused.items() if sizes.get(key) == size}
    written = 0
    for name, group in _groups(ready, settled, [copy for copy, _ in used], now):
        made = _copied(folder, name, group, report)
        written += 1
        report(f"{made.path.name}: {len(made.segments)} segments, {made.size} bytes")
    return written


def _groups(
    ready: Sequence[_Ready], settled: Set[SegmentKey], used: Sequence[Copy], now: datetime
) -> Iterator[tuple[str, list[_Ready]]]:
    """The segments that make one file, with the beginning of its name: a day that is over, or an hour of today."""
    groups: dict[str, list[_Ready]] = defaultdict(list)
    for one in ready:
        is_over = one.hour.date() < now.astimezone(UTC).date()
        groups[f"{one.hour:%Y-%m-%d}" if is_over else f"{one.hour:%Y-%m-%dT%H}"].append(one)
    for name, group in sorted(groups.items()):
        has_hours = any(copy.path.name.startswith(f"{name}T") for copy in used)
        if has_hours or any(one.key not in settled for one in group):
            yield name, group


def _ready(audit_dir: Path, now: datetime) -> Iterator[_Ready]:
    for boot in boots(audit_dir):
        for index in boot.segments():
            try:
                found = opening(boot.segment(index))
                size = boot.segment(index).stat().st_size
                hour = moments.read(found["time"]).replace(minute=0, second=0, microsecond=0)
                node = node_of(found)
            except (OSError, ValueError, LookupError, TypeError, OverflowError):
                continue
            if hour + timedelta(hours=1) + SLACK <= now:
                yield _Ready(boot, index, node, hour, size)


def _copied(folder: Path, name: str, group: Sequence[_Ready], report: Callable[[str], None]) -> Copy:
    """Write the Parquet file of these segments, without those that cannot be copied."""
    with TemporaryDirectory(dir=folder, prefix=_MAKING) as made:
        making = folder / made
        lines, result = making / "lines", making / "result"
        kept: dict[SegmentKey, int] = {}
        refused: dict[SegmentKey, int] = {}
        with lines.open("wb") as file:
            for one in group:
                begin = file.tell()
                if fault := _write_lines(one, file):
                    report(f"{one.key.writer}/{one.key.boot}, segment {one.index:06}: not copied: {fault}")
                    file.seek(begin)
                    file.truncate()
                    refused[one.key] = one.size
                else:
                    kept[one.key] = one.size
        with database.opened(making) as connection:
            connection.execute(_READ, {"path": str(lines), "most": _LONGEST_LINE})
            for writer, boot, index in connection.execute(_UNREADABLE).fetchall():
                report(f"{writer}/{boot}, segment {index:06}: not copied: a line is no JSON object")
                connection.execute(_FORGET, [writer, boot, index])
                key = SegmentKey(writer, boot, index)
                refused[key] = kept.pop(key)
            begins, ends = connection.execute(_SPAN).fetchall()[0]
            connection.execute(f"COPY ({_SORTED}) TO {database.quoted(result)} ({FORM})")
        path = folder / f"{name}.{made[-8:]}.parquet"
        with private_files.replacing(path) as target, result.open("rb") as source:
            shutil.copyfileobj(source, target)
        copy = Copy(path, path.stat().st_size, begins or "", ends or "~", kept, refused)
        copy.write()
        return copy


def _write_lines(one: _Ready, file: IO[bytes]) -> str | None:
    """Write each event as a line with its place before it; return why that is not possible."""
    reader = BootReader(one.boot, segment=one.index)
    place = "\t".join((one.node, one.boot.writer, one.boot.name, str(one.index))).encode()
    for found in reader.read_segment():
        if isinstance(found, Damage):
            return str(found)
        frame = found.frame
        if frame.kind is not FrameKind.EVENTS:
            continue
        try:
            text = frame.text()
            lines = frame.lines_of(text)
        except FrameError as error:
            return str(error)
        # Writers make lines of printable ASCII; another line could be read as two, or as other columns.
        if not text.isascii() or b"\t" in text or b"\r" in text or b"\0" in text:
            return "a line has characters that no writer makes"
        head = b"%s\t%d\t%s\t" % (place, frame.number, frame.digest.hex().encode())
        file.write(b"".join([b"%s%d\t%s\n" % (head, frame.first + n, line) for n, line in enumerate(lines)]))
    return f"{reader.tail} bytes at its end are no frame" if reader.tail else None


_LONGEST_LINE = MOST_CONTENT + 1024
"""Bytes of a line with its columns. A frame has at most `MOST_CONTENT`, and may have one line."""
_READ = """
CREATE TABLE lines AS
SELECT *, CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END AS is_object
FROM read_csv($path, delim = '\t', quote = '', escape = '', header = false, auto_detect = false,
    max_line_size = $most, columns = {
        'node': 'VARCHAR', 'writer': 'VARCHAR', 'boot': 'VARCHAR', 'segment': 'INTEGER', 'frame': 'BIGINT',
        'digest': 'VARCHAR', 'sequence': 'BIGINT', 'line': 'VARCHAR'})
"""
_UNREADABLE = "SELECT DISTINCT writer, boot, segment FROM lines WHERE is_object IS NOT TRUE ORDER BY ALL"
_FORGET = "DELETE FROM lines WHERE writer = ? AND boot = ? AND segment = ?"
_SPAN = "SELECT min(line->>'$.time'), max(line->>'$.time') FROM lines"
_SORTED = """
SELECT node, writer, boot, segment, frame, digest, sequence, try_cast(own.time AS TIMESTAMP) AS time,
    own.event AS event, own.outcome AS outcome, lower(own."user") AS login, own.user_id AS user_id,
    own.client_id AS client_id, own.operator AS operator, own.service AS service, own.grant_id AS grant_id,
    own.jti AS jti, own.mcp_name AS mcp_name, own.source AS source, line
FROM (SELECT *, json_transform(line, '{"time": "VARCHAR", "event": "VARCHAR", "outcome": "VARCHAR",
        "user": "VARCHAR", "user_id": "VARCHAR", "client_id": "VARCHAR", "operator": "VARCHAR",
        "service": "VARCHAR", "grant_id": "VARCHAR", "jti": "VARCHAR", "mcp_name": "VARCHAR",
        "source": "VARCHAR"}') AS own
    FROM lines)
ORDER BY login, user_id, client_id, time
"""
FORM = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROWS_OF_A_GROUP}"
