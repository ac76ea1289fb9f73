"""The Prometheus metrics of `portcullis audit ship`: what each sink took and refused, and how far it is behind."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from oauth_core.audit_log.checkpoints import parse_checkpoint
from oauth_core.audit_log.signed_notes import NoteError, split_note
from oauth_core.process.file_figures import FileFigures
from oauth_core.process.metrics import Family, Figures, labelled
from portcullis.audit.sealed_folder import SealedFolder
from portcullis.programs import metrics_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from portcullis.sinks.cursors import Cursor

RECORDS = Family("portcullis_sink_records_total", "counter", "Records that a sink took.")
REFUSED = Family("portcullis_sink_refused_total", "counter", "Records that a sink refused for good.")
FAILED = Family("portcullis_sink_attempts_failed_total", "counter", "Attempts that a sink did not take.")
FAILING = Family("portcullis_sink_failing", "gauge", "1 while the last attempt failed.")
PLACE = Family("portcullis_sink_entries", "gauge", "Entries of the sealed tree that a sink has.")
WAITING = Family("portcullis_sink_waiting_entries", "gauge", "Entries of the sealed tree that a sink lacks.")
LAG = Family(
    "portcullis_sink_lag_seconds", "gauge", "The time since a sink had everything; 0 while it has everything."
)
SENT = Family("portcullis_sink_last_success_timestamp_seconds", "gauge", "When a sink took records last.")
FAMILIES = (RECORDS, REFUSED, FAILED, FAILING, PLACE, WAITING, LAG, SENT)
_BY_NAME = {family.name: family for family in FAMILIES}


class Counts:
    """The figures of one run of the program, by sink. Several threads count."""

    def __init__(self, sinks: Iterable[str] = (), now: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._began = now()
        self._counters: Counter[str] = Counter()
        self._cursors: dict[str, Cursor] = {}
        self._complete: dict[str, float] = {}
        self._names = tuple(sinks)
        # A series that begins with its first event has no increase that an alert rule could see.
        self._counters.update(
            {_at(family, name): 0 for family in (RECORDS, REFUSED, FAILED) for name in self._names}
        )

    def took(self, sink: str, records: int, refused: int) -> None:
        """Count records that an answer of the sink was about; `refused` of them it refused for good."""
        with self._lock:
            self._counters[_at(RECORDS, sink)] += records - refused
            self._counters[_at(REFUSED, sink)] += refused

    def failed(self, sink: str) -> None:
        """Count an attempt that failed."""
        with self._lock:
            self._counters[_at(FAILED, sink)] += 1

    def moved(self, cursor: Cursor) -> None:
        """Note the present place of a sink."""
        with self._lock:
            self._cursors[cursor.name] = cursor

    def completed(self, sink: str, checkpoint_time: str) -> None:
        """Note that a sink has all that this checkpoint covers."""
        with self._lock:
            self._complete[sink] = _seconds(checkpoint_time) or self._now()

    def figures(self, tree: tuple[str, int] | None) -> Figures:
        """Return all of them. `tree` is the name of the sealed tree and the number of its entries, if known."""
        with self._lock:
            found: Figures = dict(self._counters)
            for name in self._names:
                cursor = self._cursors.get(name)
                found[_at(FAILING, name)] = float(cursor is not None and bool(cursor.fault))
                place = 0 if cursor is None or tree is None or cursor.tree != tree[0] else cursor.place.index
                found[_at(PLACE, name)] = place
                if cursor is not None and (sent := _seconds(cursor.sent)) is not None:
                    found[_at(SENT, name)] = sent
                if tree is not None:
                    waiting = max(0, tree[1] - place)
                    found[_at(WAITING, name)] = waiting
                    found[_at(LAG, name)] = max(0.0, self._now() - self._complete_at(name)) if waiting else 0.0
            return found

    def _complete_at(self, name: str) -> float:
        """When the sink had everything; as far as the cursor of an earlier run shows it, or since the start."""
        if (known := self._complete.get(name)) is not None:
            return known
        cursor = self._cursors.get(name)
        times = () if cursor is None else (cursor.checkpoint_time, cursor.sent)
        return max((at for text in times if (at := _seconds(text)) is not None), default=self._began)


@contextmanager
def serving(address: str, audit_dir: Path, counts: Counts) -> Iterator[None]:
    """Answer `GET /metrics` at `address` inside the block. Raises `SettingsError` if it cannot listen there."""
    of_files = FileFigures(lambda: counts.figures(_tree(audit_dir)))

    async def figures() -> Figures:
        # Where the disk does not answer, the figures of this process are there nevertheless.
        return await of_files.read() or counts.figures(None)

    with metrics_server.serving(address, "audit.sinks_metrics_listen", _BY_NAME, figures):
        yield


def _tree(audit_dir: Path) -> tuple[str, int] | None:
    """The name of the sealed tree and the number of its entries. The signature is not verified here."""
    try:
        note = SealedFolder(audit_dir).read_checkpoint()
        if note is None:
            return None
        text, ((name, key_id, _), *_) = split_note(note)
        return f"{name}+{key_id.hex()}", parse_checkpoint(text).size
    except (OSError, NoteError, UnicodeDecodeError):
        return None


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _at(family: Family, sink: str) -> str:
    return labelled(family.name, sink=sink)
