"""Metrics of the audit record: whether events are recorded and sealed, and how much room its disk has."""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import TYPE_CHECKING

from oauth_core.audit_log.checkpoints import Checkpoint, parse_checkpoint
from oauth_core.audit_log.signed_notes import NoteError, split_note
from oauth_core.process.metrics import Family, Figures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from oauth_core.process.audit_segments import SegmentWriter

AVAILABLE = Family("portcullis_audit_available", "gauge", "1 while events reach the audit record in time.", min)
FREE = Family("portcullis_audit_free_bytes", "gauge", "Free bytes of the disk of the audit record.", min)
DISK = Family("portcullis_audit_disk_bytes", "gauge", "Bytes of the disk of the audit record.", min)
CHECKPOINT_AGE = Family(
    "portcullis_audit_checkpoint_age_seconds",
    "gauge",
    "Seconds since the newest checkpoint; +Inf without one.",
    max,
)
UNSEALED = Family(
    "portcullis_audit_unsealed_events", "gauge", "Events of this process on the disk that no checkpoint covers."
)

_LONGEST = 1024 * 1024
"""Bytes of a checkpoint that are read."""


class AuditFolder:
    """Reads the state of an audit folder. It does not verify the checkpoint: `portcullis audit verify` does."""

    def __init__(
        self, audit_dir: Path, writer: SegmentWriter | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        """`writer` is that of this process, if its unsealed events are a metric."""
        self._audit_dir = audit_dir
        self._writer = writer
        self._clock = clock
        self._sealed = 0

    def figures(self) -> Figures:
        """Return the state of the folder. It reads files, and raises nothing."""
        found: Figures = {}
        try:
            disk = os.statvfs(self._audit_dir)
        except OSError:  # the disk is away; `AVAILABLE` says so
            pass
        else:
            found |= {FREE.name: disk.f_bavail * disk.f_frsize, DISK.name: disk.f_blocks * disk.f_frsize}
        # Before the checkpoint, so that a later event does not count as unsealed.
        recorded = 0 if self._writer is None else self._writer.recorded
        checkpoint = self._checkpoint()
        found[CHECKPOINT_AGE.name] = self._age(checkpoint)
        if self._writer is not None:
            found[UNSEALED.name] = max(0, recorded - self._last_sealed(self._writer, checkpoint))
        return found

    def _checkpoint(self) -> Checkpoint | None:
        try:
            with (self._audit_dir / "sealed" / "checkpoint").open("rb") as file:
                note = file.read(_LONGEST).decode()
            return parse_checkpoint(split_note(note)[0])
        except (OSError, NoteError, UnicodeDecodeError):
            return None

    def _age(self, checkpoint: Checkpoint | None) -> float:
        if checkpoint is None or not checkpoint.time:
            return float("inf")
        return max(0.0, self._clock() - datetime.fromisoformat(checkpoint.time).timestamp())

    def _last_sealed(self, writer: SegmentWriter, checkpoint: Checkpoint | None) -> int:
        """Return the number of the last sealed event. Checkpoints do not name boots that are silent for long."""
        if checkpoint is None:
            return 0
        for boot in checkpoint.boots:
            if (boot.writer, boot.boot) == (writer.writer, writer.boot):
                self._sealed = boot.last
        return self._sealed
