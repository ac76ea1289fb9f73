"""`portcullis audit ship`: send the sealed record to the sinks of the settings."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import click

from oauth_core.errors import SettingsError
from oauth_core.process import file_lock
from portcullis.cli.sink_options import SinkPlace, sink_options
from portcullis.sinks.opening import senders
from portcullis.sinks.sealed_records import SealedRecords, UnusableRecordError
from portcullis.sinks.shipping import Shipper, ShipperThread, ship_once

if TYPE_CHECKING:
    from oauth_core.audit_log.signed_notes import VerifierKey

_STOP_SECONDS = 5.0
_KEY_SECONDS = 1.0


@click.command("ship")
@click.option("--once", is_flag=True, help="Send what is sealed now, and end: for cron.")
@sink_options
def command(place: SinkPlace, *, once: bool) -> None:
    """Send the sealed audit record to each sink of the settings, at least once.

    Runs until stopped. A sink that is away gets everything when it is back: the record is read again from the
    segments. Exits with 2 for wrong settings, or if another process does this already. With --once it exits with 1
    if a sink did not take everything.
    """
    if not place.sinks:
        raise SettingsError(["audit.sinks is empty: there is no place to send the record to"])
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    opened = senders(place.sinks)
    with ExitStack() as stack:
        _hold(place, stack)
        key = _key(place, stopping, is_patient=not once)
        if key is None:
            return
        shippers = [
            Shipper(
                sink.name,
                SealedRecords(
                    place.audit_dir, key, with_frames=sink.proof == "frames", read_key=partial(_key_now, place)
                ),
                opened[sink.name],
                place.cursors,
                report,
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
