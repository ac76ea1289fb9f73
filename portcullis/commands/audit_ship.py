"""`portcullis audit ship`: send the sealed record to the sinks of the settings."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
from oauth_core.errors import SettingsError
from oauth_core.process import file_lock
from oauth_core.process.audit_output import AuditOutput, DurableRecorder, open_output
from portcullis.cli.sink_options import sink_options_read_later
from portcullis.sinks import metrics
from portcullis.sinks.metrics import Counts
from portcullis.sinks.opening import senders
from portcullis.sinks.sealed_records import SealedRecords, UnusableRecordError
from portcullis.sinks.shipping import Shipper, ShipperThread, ship_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from oauth_core.audit_log.signed_notes import VerifierKey
    from oauth_core.settings import SinkSettings
    from portcullis.cli.sink_options import SinkPlace
    from portcullis.sinks.records import Record

_STOP_SECONDS = 5.0
_KEY_SECONDS = 1.0
WRITER = "sinks"
"""The writer of its events in the audit record."""
_STAY_SECONDS = 60.0


@click.command("ship")
@click.option("--once", is_flag=True, help="Send what is sealed now, and end: for cron.")
@click.option(
    "--stay",
    is_flag=True,
    help="Do not end when the settings or the record cannot be used: try again each minute.",
)
@sink_options_read_later
def command(read_place: Callable[[], SinkPlace], *, once: bool, stay: bool) -> None:
    """Send the sealed audit record to each sink of the settings, at least once.

    Runs until stopped. A sink that is away gets everything when it is back: the record is read again from the
    segments. Exits with 2 for wrong settings, or if another process does this already. With --once it exits with 1
    if a sink did not take everything.
    """
    if once and stay:
        raise click.UsageError("--once and --stay exclude one another")
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    while True:
        try:
            with ExitStack() as stack:
                _run(read_place(), stopping, stack, once=once)
        except (SettingsError, click.ClickException) as error:
            if not stay:
                raise
            fault = "; ".join(error.faults) if isinstance(error, SettingsError) else error.message
            report(f"{fault}; trying again")
            if not stopping.wait(_STAY_SECONDS):
                continue
        return


def _run(place: SinkPlace, stopping: threading.Event, stack: ExitStack, *, once: bool) -> None:
    """Send until stopped, or with `once` what is there. Raises `SettingsError`."""
    if not place.sinks:
        raise SettingsError(["audit.sinks is empty: there is no place to send the record to"])
    opened = senders(place.sinks)
    _hold(place, stack)
    counts = Counts(sink.name for sink in place.sinks)
    if place.metrics_listen is not None and not once:
        stack.enter_context(metrics.serving(place.metrics_listen, place.audit_dir, counts))
    key = _key(place, stopping, is_patient=not once)
    if key is None:
        return
    refusals = _Refusals(place.settings)
    stack.callback(refusals.close)
    shippers = [
        Shipper(
            sink.name,
            SealedRecords(
                place.audit_dir, key, with_frames=sink.proof == "frames", read_key=partial(_key_now, place)
            ),
            opened[sink.name],
            place.cursors,
            report,
            counts=counts,
            on_refused=refusals.record,
        )
        for sink in place.sinks
    ]
    for shipper in shippers:
        try:
            shipper.begin()
        except (UnusableRecordError, OSError) as error:
            raise SettingsError([str(error)]) from None
    if once:
        if missing := ship_once(shippers):
            report(f"not everything was taken by: {', '.join(missing)}")
            sys.exit(1)
        return
    threads = [ShipperThread(shipper, stopping) for shipper in shippers]
    for thread in threads:
        thread.start()
    stopping.wait()
    for thread in threads:
        thread.join(_STOP_SECONDS)


class _Refusals:
    """Records refused records as events. It opens the audit record when there is one; several threads use it."""

    def __init__(self, settings: SinkSettings | None) -> None:
        self._settings = settings
        self._output: AuditOutput | None = None
        self._lock = threading.Lock()

    def record(self, sink: str, record: Record, fault: str) -> None:
        with self._lock:
            try:
                if self._output is None and self._settings is not None:
                    self._output = open_output(self._settings, WRITER)
                if self._output is not None:
                    reason = f"{record.id}: {fault}"
                    DurableRecorder(self._output).record(EventKind.AUDIT_RECORD_REFUSED, key=sink, reason=reason)
            except (SettingsError, OSError, ValueError) as error:
                report(f"{sink}: a refused record is not in the audit record: {error}")

    def close(self) -> None:
        if self._output is not None:
            self._output.close()


def _hold(place: SinkPlace, stack: ExitStack) -> None:
    """Hold the cursors for this process until `stack` ends. Raises `SettingsError`."""
    try:
        place.cursors.prepare()
        stack.enter_context(file_lock.held(place.cursors.lock))
    except file_lock.HeldError as error:
        fault = f"another `audit ship` (process {error.holder}) sends the record of {place.audit_dir}"
        raise SettingsError([fault]) from None
    except OSError as error:
        raise SettingsError([f"{error.filename or place.cursors.folder}: {error.strerror}"]) from None


def _key(place: SinkPlace, stopping: threading.Event, *, is_patient: bool) -> VerifierKey | None:
    """The public key; `None` if this program must stop before there is one. The first sealer makes it."""
    while is_patient and not place.public_key.exists():
        if stopping.wait(_KEY_SECONDS):
            return None
    return place.key()


def _key_now(place: SinkPlace) -> VerifierKey | None:
    """The public key as it is now; `None` if it cannot be read."""
    try:
        return place.key()
    except SettingsError:
        return None


def report(sentence: str) -> None:
    """Print a sentence about this program on standard error."""
    click.echo(f"portcullis audit ship: {sentence}", err=True)
