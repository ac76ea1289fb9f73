"""Queries one Parquet copy for the events that can match a filter.

The database compares columns only to leave out events that cannot be wanted. The filter itself decides on the line
of each event, as it does for segments, so both ways find the same events.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from portcullis.audit.parquet import database
from portcullis.audit.reading import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb

    from portcullis.audit.parquet.catalog import Copy, SegmentKey
    from portcullis.audit.reading import Indexed, Reading

_ROWS = 2_000


def events(
    connection: Callable[[], duckdb.DuckDBPyConnection],
    copy: Copy,
    left_out: frozenset[SegmentKey],
    *,
    wanted: Indexed,
    reading: Reading,
    newest_first: bool,
) -> Iterator[StoredEvent]:
    """Yield the wanted events of a copy by their times, without those of the segments `left_out`.

    A copy that cannot be read is noted in `reading`.
    """
    sql, values = _query_of(copy, left_out, wanted, newest_first=newest_first)
    try:
        # A cursor of its own: the results of several copies are fetched in turn.
        with database.quiet(connection().cursor()) as cursor:
            result = cursor.execute(sql, values)
            while rows := result.fetchmany(_ROWS):
                for node, writer, boot, sequence, frame, digest, line in rows:
                    fields = _fields(line)
                    if fields is None:
                        reading.fault(f"{writer}/{boot}: event {sequence} is no JSON object")
                    elif wanted.matches(fields):
                        place = (node, writer, boot, sequence, frame, bytes.fromhex(digest))
                        yield StoredEvent(*place, line.encode(), fields)
    except database.fault() as error:
        reading.fault(f"{copy.path.name}: {str(error).splitlines()[0]}; remove it, and compact again")


def _fields(line: str) -> dict[str, Any] | None:
    """The fields of an event; `None` where the copy has something else."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _query_of(
    copy: Copy, left_out: frozenset[SegmentKey], wanted: Indexed, *, newest_first: bool
) -> tuple[str, list[Any]]:
    """The SQL and its values. Each alternative of the filter is a part of its own, to which statistics apply."""
    everywhere: list[str] = ["true"]
    common: list[Any] = []
    for comparison, time in ((">=", wanted.since), ("<", wanted.until)):
        if time is not None:
            everywhere.append(f"time {comparison} ?::TIMESTAMP")
            common.append(time.removesuffix("Z"))
    for key in sorted(left_out):
        everywhere.append("NOT (writer = ? AND boot = ? AND segment = ?)")
        common += [key.writer, key.boot, key.number]
    parts: list[str] = []
    values: list[Any] = []
    before: list[str] = []
    before_values: list[Any] = []
    for alternative in wanted.alternatives() or ({},):
        own: list[str] = ["true"]
        own_values: list[str] = []
        for column, texts in alternative.items():
            lowered = "lower(?)" if column == "login" else "?"
            own.append(f"{column} IN ({', '.join([lowered] * len(texts))})")
            own_values += texts
        condition = " AND ".join([*own, *everywhere, *before])
        parts.append(f"SELECT * FROM read_parquet(?) WHERE {condition}")  # noqa: S608 - names of columns only
        values += [str(copy.path), *own_values, *common, *before_values]
        before.append(f"NOT coalesce({' AND '.join(own)}, false)")
        before_values += own_values
    direction = "DESC NULLS LAST" if newest_first else "ASC NULLS FIRST"
    places = "node, writer, boot, sequence, frame, digest, line"
    sequence = "DESC" if newest_first else "ASC"
    sql = (
        f"SELECT {places} FROM ({' UNION ALL '.join(parts)}) "  # noqa: S608 - every value is a parameter
        f"ORDER BY time {direction}, writer, boot, sequence {sequence}"
    )
    return sql, values
