"""Sends the sealed record to one sink: at least once, in the order of the tree, from the segments themselves.

No more than one batch is in memory. It is sent again until the sink takes it, and then the cursor moves on. Each
sink has a thread of its own, so that none waits for another one.
"""

from __future__ import annotations

import json
import secrets
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from oauth_core.process.backoff import Backoff
from portcullis.audit import moments
from portcullis.sinks.metrics import Counts
from portcullis.sinks.records import Record, RecordKind
from portcullis.sinks.sealed_records import Place, UnusableRecordError
from portcullis.sinks.sending import NotTakenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from oauth_core.audit_log.checkpoints import Checkpoint
    from portcullis.sinks.cursors import Cursor, Cursors
    from portcullis.sinks.sealed_records import SealedRecords
    from portcullis.sinks.sending import Sender

STEP_SECONDS = 1.0
"""How often a thread looks for a new checkpoint."""
MOST_RECORDS = 500
MOST_BYTES = 1024 * 1024
"""Records of a batch, and about how many bytes they have."""
MOST_REFUSALS = 10
"""Refusals of one record alone, after which it is put aside: some five minutes."""
CHECKPOINT_EVERY = timedelta(minutes=1)
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_LONGEST_RETRY_AFTER = 3600.0


def _utc() -> datetime:
    return datetime.now(UTC)


@dataclass
class Shipper:
    """Sends to one sink. `report` gets a sentence when attempts begin to fail, and when they work again."""

    name: str
    records: SealedRecords
    sender: Sender
    cursors: Cursors
    report: Callable[[str], None]
    now: Callable[[], datetime] = _utc
    share: Callable[[], float] = field(default=secrets.SystemRandom().random)
    counts: Counts = field(default_factory=Counts)
    on_refused: Callable[[str, Record, str], None] = lambda _sink, _record, _fault: None
    """Gets each record that was put aside: the sink, the record, and the fault."""
    most: int = MOST_RECORDS
    """Records of a batch. Fewer for a while, after the sink found a batch too large."""

    def __post_init__(self) -> None:
        self._backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        self._cursor: Cursor | None = None
        self._checked = ""
        self._waiting: list[tuple[Record, Place]] = []
        """The batch that is sent, each record with the place behind it."""
        self._waits_from = ("", Place())
        self._cannot_save = ""

    @property
    def cursor(self) -> Cursor:
        """The place of the sink, from the disk at first. Raises `UnusableRecordError` and `OSError`."""
        if self._cursor is None:
            try:
                self._cursor = self.cursors.read(self.name)
            except ValueError as error:
                raise UnusableRecordError(
                    f"{error}; `portcullis audit sinks --forget {self.name}` has everything sent again"
                ) from None
        return self._cursor

    def begin(self) -> None:
        """Write a first cursor, so that retention waits for this sink.

        Raises `UnusableRecordError` and `OSError`.
        """
        self.counts.moved(self.cursor)
        if not self.cursor.tree:
            self._save(replace(self.cursor, tree=self.records.tree))

    def step(self, *, is_last: bool = False) -> float:
        """Send one batch; return the seconds until the next step.

        With `is_last` the newest checkpoint is sent also if another one was sent a moment ago.
        """
        try:
            has_sent = self._send_next(is_last=is_last)
        except NotTakenError as error:
            if error.is_refused and (sent := min(self.most, len(self._waiting))) > 1:
                self.most = sent // 2
                return 0.0
            if error.is_refused and self._waiting:
                return self._refused(str(error), error.retry_after)
            return self._failed(str(error), error.retry_after)
        except (UnusableRecordError, OSError) as error:
            text = str(error) if isinstance(error, UnusableRecordError) else f"{error.filename}: {error.strerror}"
            return self._failed(text, None)
        except Exception as error:  # noqa: BLE001 - the thread must go on, and the text can have a secret
            return self._failed(f"it failed ({type(error).__name__})", None)
        if self._cursor is not None and self._cursor.fault:
            self._save(replace(self._cursor, fault="", failing_since=""))
            self.report(f"{self.name}: it takes records again")
        self._backoff.reset()
        return 0.0 if has_sent else STEP_SECONDS

    @property
    def is_failing(self) -> bool:
        """Whether the last step failed."""
        return self._cursor is None or bool(self._cursor.fault)

    def close(self) -> None:
        """End the connection, and close the segments."""
        self.sender.close()
        self.records.close()

    def _send_next(self, *, is_last: bool) -> bool:
        """Send what comes next, if there is anything. Return whether there was."""
        newest = self.records.checkpoint()
        cursor = self.cursor
        if newest is None:
            return False
        note, checkpoint = newest
        cursor = self._of_this_tree(cursor, checkpoint)
        if cursor.place.index < checkpoint.size:
            self._send_batch(cursor, checkpoint)
            return True
        self.counts.completed(self.name, checkpoint.time)
        if checkpoint.time == cursor.checkpoint_time or not (is_last or self._is_due(cursor, checkpoint)):
            return False
        record = Record(
            RecordKind.CHECKPOINT, self.records.tree, note, index=checkpoint.size, time=checkpoint.time
        )
        rejected = self.sender.send([record])
        root, time = checkpoint.root.hex(), checkpoint.time
        self._took(replace(cursor, size=checkpoint.size, root=root, checkpoint_time=time), [record], rejected)
        return True

    def _of_this_tree(self, cursor: Cursor, checkpoint: Checkpoint) -> Cursor:
        """The cursor, or a new one for a new tree. Raises `UnusableRecordError` if the tree was rolled back."""
        if cursor.tree != self.records.tree:
            return replace(cursor, tree=self.records.tree, place=Place(), size=0, root="", checkpoint_time="")
        if checkpoint.size < max(cursor.place.index, cursor.size):
            raise UnusableRecordError("the sealed tree is shorter than what was sent: it was rolled back")
        if cursor.size and self._checked != cursor.root:
            if self.records.root_of(cursor.size).hex() != cursor.root:
                raise UnusableRecordError("the sealed tree does not begin with what was sent")
            self._checked = cursor.root
        return cursor

    def _is_due(self, cursor: Cursor, checkpoint: Checkpoint) -> bool:
        """Whether the last checkpoint that was sent is old enough."""
        try:
            last = moments.read(cursor.checkpoint_time)
            return moments.read(checkpoint.time) - last >= CHECKPOINT_EVERY
        except ValueError:
            return True

    def _send_batch(self, cursor: Cursor, checkpoint: Checkpoint) -> None:
        if not self._waiting or self._waits_from != (cursor.tree, cursor.place):
            self._waiting = self._batch(cursor, checkpoint)
        batch = [record for record, _ in self._waiting[: self.most]]
        self._waits_from = cursor.tree, cursor.place
        rejected = self.sender.send(batch)
        place = self._waiting[len(batch) - 1][1]
        self._waiting = self._waiting[len(batch) :]
        self._waits_from = cursor.tree, place
        self.most = min(2 * self.most, MOST_RECORDS)
        self._took(replace(cursor, place=place), batch, rejected)
        # Here too: where events come all the time, the next checkpoint covers more.
        if place.index >= checkpoint.size:
            self.counts.completed(self.name, checkpoint.time)

    def _batch(self, cursor: Cursor, checkpoint: Checkpoint) -> list[tuple[Record, Place]]:
        batch: list[tuple[Record, Place]] = []
        size = 0
        for record, following in self.records.records(checkpoint, cursor.place):
            batch.append((record, following))
            size += record.size
            if len(batch) >= MOST_RECORDS or size >= MOST_BYTES:
                break
        return batch

    def _took(self, cursor: Cursor, batch: list[Record], rejected: int) -> None:
        events = sum(record.kind is RecordKind.EVENT for record in batch)
        self.counts.took(self.name, len(batch), rejected)
        if rejected:
            self.report(f"{self.name}: it refused {rejected} records for good")
        self._save(
            replace(
                cursor,
                events=cursor.events + events,
                rejected=cursor.rejected + rejected,
                refusals=0,
                sent=moments.recorded(self.now()),
            )
        )

    def _failed(self, fault: str, retry_after: float | None) -> float:
        self.counts.failed(self.name)
        if self._cursor is not None and self._cursor.fault != fault:
            self._save(self._cursor.with_fault(fault, moments.recorded(self.now())))
            self.report(f"{self.name}: {fault}; trying again")
        elif self._cursor is None and self._cannot_save != fault:
            self._cannot_save = fault
            self.report(f"{self.name}: {fault}; trying again")
        # A random part, so that many gateways do not come at once to a sink that is back.
        wait = self._backoff.delay * (1 - self.share() / 2)
        self._backoff.grow()
        return max(wait, min(retry_after or 0.0, _LONGEST_RETRY_AFTER))

    def _refused(self, fault: str, retry_after: float | None) -> float:
        """Count a refusal of the next record alone. After many, put it aside if the sink takes something else."""
        cursor = self.cursor
        refusals = cursor.refusals + 1
        if refusals < MOST_REFUSALS:
            self._save(replace(cursor, refusals=refusals))
            return self._failed(fault, retry_after)
        record, following = self._waiting[0]
        try:
            # A sink that refuses everything has another reason than this record.
            newest = self.records.checkpoint()
            if newest is None:
                return self._failed(fault, retry_after)
            note, checkpoint = newest
            kind = RecordKind.CHECKPOINT
            self.sender.send([Record(kind, self.records.tree, note, index=checkpoint.size, time=checkpoint.time)])
            line = {**record.document(), "refused": {"time": moments.recorded(self.now()), "fault": fault}}
            self.cursors.set_aside(self.name, json.dumps(line, separators=(",", ":")).encode("ascii"))
        except NotTakenError:
            return self._failed(f"{fault}, also to a checkpoint alone", retry_after)
        except (UnusableRecordError, OSError) as error:
            return self._failed(f"a refused record cannot be put aside: {error}", None)
        self._waiting = self._waiting[1:]
        self._waits_from = cursor.tree, following
        self._took(replace(cursor, place=following), [record], 1)
        path = self.cursors.refused(self.name)
        self.report(f"{self.name}: {fault} to record {record.id}, {refusals} times; it is in {path} now")
        self.on_refused(self.name, record, fault)
        return 0.0

    def _save(self, cursor: Cursor) -> None:
        """Keep the cursor. If the disk refuses it, sending goes on, and a restart sends some records again."""
        self._cursor = cursor
        self.counts.moved(cursor)
        try:
            self.cursors.write(cursor)
            self._cannot_save = ""
        except OSError as error:
            fault = f"the place cannot be kept: {error.strerror}"
            if fault != self._cannot_save:
                self.report(f"{self.name}: {fault}")
            self._cannot_save = fault


class ShipperThread(threading.Thread):
    """Runs a shipper until `stopping`."""

    def __init__(self, shipper: Shipper, stopping: threading.Event) -> None:
        super().__init__(name=f"records to {shipper.name}", daemon=True)
        self._shipper = shipper
        self._stopping = stopping

    def run(self) -> None:
        """Send, wait, and go on."""
        while not self._stopping.is_set():
            self._stopping.wait(self._shipper.step())
        self._shipper.close()


def ship_once(shippers: list[Shipper]) -> list[str]:
    """Send everything that is there, to all at the same time. Return the names of those that did not take it."""
    threads = [threading.Thread(target=_send_all, args=(shipper,), daemon=True) for shipper in shippers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [shipper.name for shipper in shippers if shipper.is_failing]


def _send_all(shipper: Shipper) -> None:
    """Send until nothing is left or an attempt fails."""
    while shipper.step(is_last=True) == 0.0:
        pass
    shipper.close()
