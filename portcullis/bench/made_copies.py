"""Makes the Parquet copies of a large audit record, without the segments that they would be copies of.

The files have the columns, the order, the compression and the catalog of `compaction`, so they are searched like
others. The segments are files of one byte: a search reads none of them, because the copies have all events.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from portcullis.audit import moments
from portcullis.audit.parquet import compaction, database
from portcullis.audit.parquet.catalog import FOLDER, Copy, SegmentKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
_WRITERS = 2
_HOURS = 24
_NODE = "node-1"
_MADE = "made.json"
BYTES_OF_AN_EVENT = 100
"""More than an event takes in a copy."""


@dataclass(frozen=True, slots=True)
class MadeCopies:
    """The measures of a record that was made. `login` and `user_id` are of the person who is searched for."""

    events: int
    days: int
    login: str
    user_id: str
    of_person: int
    """The events of this person."""
    bytes: int
    seconds: float

    @property
    def since(self) -> str:
        """The beginning of the first day."""
        return moments.recorded(_BEGIN)

    @property
    def until(self) -> str:
        """The end of the last day."""
        return moments.recorded(_BEGIN + timedelta(days=self.days))


def make(audit_dir: Path, count: int, *, people: int, days: int, report: Callable[[str], None]) -> MadeCopies:
    """Make the copies of `count` calls of `people` people, evenly over `days` days, one file for each day."""
    begun, done, size = time.perf_counter(), 0, 0
    folder = audit_dir / FOLDER
    folder.mkdir(parents=True)
    boot = f"{_BEGIN:%Y%m%dT%H%M%SZ}-00000000"
    with database.opened() as connection:
        # The rows are made in the order of the file: sorting them would take most of the time.
        connection.execute("SET preserve_insertion_order = true; SET threads = 1")
        for day in range(days):
            due = count * (day + 1) // days
            path = folder / f"{_BEGIN + timedelta(days=day):%Y-%m-%d}.made.parquet"
            rows = _rows(due - done, first=done, people=people, begin=_BEGIN + timedelta(days=day), boot=boot)
            form = f"COPY ({rows}) TO {database.quoted(path)} ({compaction.FORM})"
            connection.execute(form)
            segments = _segments(audit_dir, boot, day)
            begins = _BEGIN + timedelta(days=day)
            ends = begins + timedelta(days=1)
            times = (moments.recorded(begins), moments.recorded(ends))
            Copy(path, path.stat().st_size, *times, segments, {}).write()
            size += path.stat().st_size
            report(f"{path.name}: {due - done} events, {path.stat().st_size} bytes")
            done = due
        searched = people // 2
        login = f"person-{searched:07}"
        source = f"read_parquet({database.quoted(folder)} || '/*.parquet')"
        (found,) = connection.execute(
            f"SELECT count(*), any_value(user_id) FROM {source} WHERE login = ?",  # noqa: S608 - a folder of ours
            [login],
        ).fetchall()
    made = MadeCopies(count, days, login, str(found[1]), int(found[0]), size, time.perf_counter() - begun)
    (audit_dir / _MADE).write_text(json.dumps(asdict(made)), encoding="utf-8")
    return made


def kept(audit_dir: Path) -> MadeCopies | None:
    """The record that `make` left in this folder before, or `None`. Raises `OSError` and `ValueError`."""
    try:
        text = (audit_dir / _MADE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return MadeCopies(**json.loads(text))
    except TypeError:
        raise ValueError(f"{audit_dir / _MADE} is not of this version") from None


def _segments(audit_dir: Path, boot: str, day: int) -> dict[SegmentKey, int]:
    """Make the segments of a day, which a search does not open, and return their keys with their sizes."""
    found: dict[SegmentKey, int] = {}
    for number in range(_WRITERS):
        writer = f"ext_authz.{number}"
        folder = audit_dir / "segments" / writer / boot
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(day * _HOURS + 1, (day + 1) * _HOURS + 1):
            (folder / f"{index:06}.seg").write_bytes(b"\0")
            found[SegmentKey(writer, boot, index)] = 1
    return found


def _rows(count: int, *, first: int, people: int, begin: datetime, boot: str) -> str:
    """The SQL of the rows of one day, by person and client. The clients of one person are in no order.

    Account numbers, tokens, addresses and request ids are hashes: they are in no order, as those of real people.
    """
    return f"""
    SELECT '{_NODE}' AS node, 'ext_authz.' || (n % {_WRITERS}) AS writer, '{boot}' AS boot,
        (({day_of(begin)} * {_HOURS} + ms // 3600000) + 1)::INTEGER AS segment, frame,
        sha256('f' || frame) AS digest, ({first} + n)::BIGINT AS sequence, moment AS time,
        'access.allowed' AS event, 'allowed' AS outcome, login,
        user_id, client_id, NULL::VARCHAR AS operator, service, grant_id, jti, mcp_name, source,
        concat('{{"v":1,"time":"', strftime(moment, '%Y-%m-%dT%H:%M:%S.%fZ'),
            '","event":"access.allowed","outcome":"allowed","client_id":"', client_id, '","user":"', login,
            '","user_id":', user_id, ',"service":"', service, '","grant_id":"', grant_id, '","jti":"', jti,
            '","method":"POST","path":"/mcp","mcp_method":"tools/call","mcp_name":"', mcp_name, '","source":"',
            source, '","request_id":"', md5('r' || ({first} + n)), '"}}') AS line
    FROM (
        SELECT *, '{begin:%Y-%m-%d}'::TIMESTAMP + to_milliseconds(ms) AS moment,
            {first} + ms // 50 AS frame,
            'person-' || lpad(person::VARCHAR, 7, '0') AS login,
            (10000000 + hash(person) % 80000000)::VARCHAR AS user_id,
            substr(md5('c' || client), 1, 22) AS client_id,
            substr(md5('g' || client), 1, 22) AS grant_id,
            substr(md5('t' || client || '-' || (ms // 3600000)), 1, 22) AS jti,
            ['notes', 'time', 'files'][1 + client % 3] AS service,
            ['read_note', 'write_note', 'search', 'list_files'][(1 + hash(n) % 4)::BIGINT] AS mcp_name,
            concat('10.', client % 200, '.', hash(client) % 250, '.', 1 + ms // 21600000) AS source
        FROM (
            SELECT n, person, person * 3 + place * 3 // size AS client,
                ((place * 3 % size) * step + (hash(n) % step)::BIGINT)::BIGINT AS ms
            FROM (SELECT *, greatest(1, 86399000 // size) AS step FROM (
                SELECT n, n * {people} // {count} AS person,
                    n - (person * {count} + {people} - 1) // {people} AS place,
                    greatest(1, {count} // {people}) AS size
                FROM (SELECT range AS n FROM range({count}))
            ))
        )
    )
    """  # noqa: S608 - numbers and times of ours


def day_of(begin: datetime) -> int:
    """The number of the day in the record."""
    return (begin - _BEGIN).days
