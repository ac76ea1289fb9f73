"""The whole record: Parquet copies where there are some, and segments for everything else."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from portcullis.audit import reading
from portcullis.audit.parquet import catalog, database, query
from portcullis.audit.parquet.catalog import SegmentKey
from portcullis.audit.reading import Reading, Stream, TimeKey
from portcullis.audit.segments import boots

if TYPE_CHECKING:
    from collections.abc import Iterator, Set
    from pathlib import Path

    import duckdb

    from portcullis.audit.parquet.catalog import Copy
    from portcullis.audit.reading import Indexed, StoredEvent

_MOST_LEFT_OUT = 200
"""Segments of a copy that count elsewhere. A copy with more of them is not used."""


class Record:
    """The events of an audit folder. With `segments_only`, Parquet copies are not used."""

    def __init__(self, audit_dir: Path, *, segments_only: bool = False) -> None:
        self.audit_dir = audit_dir
        self.reading = Reading()
        is_used = not segments_only and database.is_installed()
        listed = catalog.copies(audit_dir) if is_used else []
        used, self._copied = catalog.counted(
            listed, _sizes(audit_dir, {key for one in listed for key in one.segments})
        )
        self._copies: list[tuple[Copy, frozenset[SegmentKey]]] = []
        for copy, left_out in used:
            if len(left_out) <= _MOST_LEFT_OUT:
                self._copies.append((copy, left_out))
            else:
                self._copied -= copy.segments.keys() - left_out
        self._database: duckdb.DuckDBPyConnection | None = None
        self.used_copies = False
        """Whether some of the yielded events may come from Parquet copies, which no seal covers."""

    def events(self, wanted: Indexed, *, newest_first: bool = False) -> Iterator[StoredEvent]:
        """Yield the events that `wanted` fits, by their times."""
        streams = [
            Stream(
                TimeKey(copy.ends if newest_first else copy.begins, newest_first),
                query.events(
                    self._connection,
                    copy,
                    left_out,
                    wanted=wanted,
                    reading=self.reading,
                    newest_first=newest_first,
                ),
            )
            for copy, left_out in self._copies
            if (wanted.since is None or copy.ends >= wanted.since)
            and (wanted.until is None or copy.begins < wanted.until)
        ]
        self.used_copies |= bool(streams)
        return reading.events(
            self.audit_dir,
            wanted,
            self.reading,
            newest_first=newest_first,
            is_elsewhere=lambda boot, index: SegmentKey(boot.writer, boot.name, index) in self._copied,
            others=streams,
        )

    def _connection(self) -> duckdb.DuckDBPyConnection:
        """The one database of this record; to open one takes longer than to search a copy."""
        if self._database is None:
            self._database = database.opened()
        return self._database


def _sizes(audit_dir: Path, keys: Set[SegmentKey]) -> dict[SegmentKey, int]:
    """The sizes of these segments now, of those that are there."""
    found: dict[SegmentKey, int] = {}
    for boot in boots(audit_dir) if keys else ():
        for index in boot.segments():
            if (key := SegmentKey(boot.writer, boot.name, index)) in keys:
                with suppress(OSError):
                    found[key] = boot.segment(index).stat().st_size
    return found
