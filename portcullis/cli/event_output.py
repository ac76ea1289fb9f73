"""Prints events of the audit record for people or as JSON lines, and closes with what the reader must know.

Events are printed as they are found, so that the size of a result does not matter.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portcullis.audit import shown
from portcullis.audit.export import forms
from portcullis.audit.seal_key import SealKey
from portcullis.audit.sealing import Sealing
from portcullis.cli.audit_folder import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from portcullis.audit.locations import Location
    from portcullis.audit.parquet.record import Record
    from portcullis.audit.reading import Reading, StoredEvent


def sealing_of(audit_dir: Path) -> Sealing:
    """Read the newest checkpoint of this folder. The key is the one that the sealer of the folder uses."""
    key = os.environ.get("AUDIT_SEAL_KEY")
    return Sealing(audit_dir, SealKey(Path(key) if key else key_of(audit_dir)).public)


COPIES_USED = (
    "Some come from Parquet copies, which no seal covers; --segments-only reads the sealed segments themselves."
)


class EventOutput:
    """Prints events one by one, with a header before the first one."""

    def __init__(
        self, record: Record, *, as_json: bool, location_of: Callable[[object], Location] | None = None
    ) -> None:
        self._record = record
        self._location_of = location_of
        self._sealing = sealing_of(record.audit_dir)
        self._as_json = as_json
        self.count = 0

    def event(self, event: StoredEvent, *, as_step: bool = False) -> None:
        """Print one event, for people as a step of a timeline, or in columns below a header."""
        is_sealed = self._sealing.covers(event)
        location = None if self._location_of is None else self._location_of(event.fields.get("source"))
        if self._as_json:
            known = {} if location is None else location.document()
            text = forms.line(forms.own(event, is_sealed=is_sealed) | known)
        elif as_step:
            text = shown.step(event.fields, "" if location is None else location.text)
        else:
            if self.count == 0:
                self.text(shown.header())
            text = shown.line(event.fields, "" if location is None else location.text)
        self.text(text)
        self.count += 1

    def text(self, line: str) -> None:
        """Print a line of any other kind."""
        # Not `click.echo`, which flushes after each line.
        sys.stdout.write(f"{line}\n")

    def close(self, *, empty: str, limit: int | None = None) -> None:
        """Print how many events there were, and whether they are sealed; `empty` if there were none."""
        if self._as_json:
            return
        if self.count == 0:
            self.text(empty)
            return
        events = "1 event" if self.count == 1 else f"{self.count} events"
        more = " (the limit; there may be more)" if self.count == limit else ""
        self.text(f"\n{events}{more}; {self._sealing.sentence()}.")
        if self._record.used_copies:
            self.text(COPIES_USED)


def exit_if_incomplete(reading: Reading) -> None:
    """Print the parts that could not be read on standard error, and exit with 1 if there are any."""
    for fault in reading.faults:
        click.echo(f"not read: {shown.printable(fault)}", err=True)
    if reading.more_faults:
        click.echo(f"not read: {reading.more_faults} more parts", err=True)
    if reading.faults:
        click.echo("The result is not complete; see `portcullis audit verify`.", err=True)
        sys.exit(1)
