"""`portcullis audit sinks`: what each sink has of the audit record, and what it does not have yet."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from oauth_core.errors import SettingsError
from oauth_core.process import file_lock
from portcullis.audit.shown import printable
from portcullis.cli.json_option import as_json
from portcullis.cli.sink_options import SinkPlace, sink_options
from portcullis.sinks.sealed_records import Place, SealedRecords, UnusableRecordError

if TYPE_CHECKING:
    from oauth_core.audit_log.checkpoints import Checkpoint
    from portcullis.sinks.cursors import Cursor

_COUNTED = 1_000_000
"""Entries that are read for the lag in events; a longer lag is in entries only."""


@dataclass(frozen=True, slots=True)
class SinkState:
    """The state of one sink."""

    name: str
    kind: str
    address: str
    entries: int
    """Entries of the sealed tree that it has."""
    lag_entries: int
    lag_events: int | None
    events: int
    rejected: int
    last_sent: str
    checkpoint_time: str
    fault: str
    failing_since: str


@click.command("sinks")
@click.option("--forget", metavar="NAME", help="Remove the place of a sink, while nothing is sent.")
@sink_options
@as_json
def command(place: SinkPlace, *, forget: str | None, as_json: bool) -> None:
    """Show what each sink has, what it does not have yet, and why its last attempt failed.

    Exits with 1 if a sink has failed. With --forget the sink gets everything again if it is in the settings;
    otherwise `portcullis audit prune` does not wait for it any longer.
    """
    if forget is not None:
        _forget(place, forget)
        return
    states = _states(place)
    if as_json:
        click.echo(json.dumps([asdict(state) for state in states]))
    else:
        for state in states:
            click.echo(printable(_sentence(state)))
        if not states:
            click.echo("There are no sinks: audit.sinks is empty.")
    if any(state.fault for state in states):
        sys.exit(1)


def _states(place: SinkPlace) -> list[SinkState]:
    try:
        records = SealedRecords(place.audit_dir, place.key())
        newest = records.checkpoint()
    except UnusableRecordError as error:
        raise SettingsError([str(error)]) from None
    configured = {sink.name: sink for sink in place.sinks}
    states = []
    for name in sorted({*configured, *place.cursors.names()}):
        sink = configured.get(name)
        kind, address = ("", "not in the settings") if sink is None else (sink.kind, sink.shown_address)
        try:
            cursor = place.cursors.read(name)
            states.append(_state(cursor, kind, address, records, None if newest is None else newest[1]))
        except (ValueError, OSError) as error:
            states.append(SinkState(name, kind, address, 0, 0, None, 0, 0, "", "", str(error), ""))
    return states


def _state(
    cursor: Cursor, kind: str, address: str, records: SealedRecords, newest: Checkpoint | None
) -> SinkState:
    place = cursor.place if cursor.tree == records.tree else Place()
    size = 0 if newest is None else newest.size
    lag = max(0, size - place.index)
    events: int | None = None
    if lag <= _COUNTED:
        try:
            events = records.events_between(place, size) if lag else 0
        except (UnusableRecordError, OSError):
            events = None
    return SinkState(
        cursor.name,
        kind,
        address,
        place.index,
        lag,
        events,
        cursor.events,
        cursor.rejected,
        cursor.sent,
        cursor.checkpoint_time,
        cursor.fault,
        cursor.failing_since,
    )


def _sentence(state: SinkState) -> str:
    lag = f"{state.lag_entries} entries" if state.lag_events is None else f"{state.lag_events} events"
    words = [f"{state.name} ({state.kind or 'unknown'}, {state.address}): has {state.entries} entries of the tree"]
    words.append(f"{lag} wait" if state.lag_entries else "nothing waits")
    words.append(f"last sent {state.last_sent or 'never'}")
    if state.checkpoint_time:
        words.append(f"checkpoint of {state.checkpoint_time}")
    if state.rejected:
        words.append(f"{state.rejected} records REFUSED by it")
    if state.fault:
        words.append(f"FAILING since {state.failing_since or 'now'}: {state.fault}")
    return "; ".join(words)


def _forget(place: SinkPlace, name: str) -> None:
    if name not in place.cursors.names():
        raise click.UsageError(f"there is no sink {name} here")
    try:
        with file_lock.held(place.cursors.lock):
            place.cursors.forget(name)
    except file_lock.HeldError as error:
        raise click.ClickException(f"`audit ship` (process {error.holder}) runs: stop it first") from None
    except OSError as error:
        raise SettingsError([f"{error.filename}: {error.strerror}"]) from None
    click.echo(f"{name}: its place is forgotten.")
