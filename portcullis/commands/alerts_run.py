"""`portcullis alerts run`: the program that finds and delivers alerts."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from oauth_core.errors import SettingsError
from oauth_core.process import file_lock
from portcullis.alerts import metrics
from portcullis.alerts.alert import INCOMPLETE
from portcullis.alerts.delivering import Courier, CourierThread, deliver_once
from portcullis.alerts.destinations import lowest_levels, opened
from portcullis.alerts.metrics import Counts
from portcullis.alerts.outbox import Outbox, OutboxError
from portcullis.alerts.quiet_hours import QuietHours
from portcullis.alerts.responding import FILE_NAME, Ledger, LedgerError, Responder
from portcullis.cli.alert_options import alert_options_read_later
from portcullis.cli.automatic_responses import ResponseCommands
from portcullis.cli.detection_rules import faults_of_responses, rules_of
from portcullis.cli.event_output import sealing_of
from portcullis.detection.levels import LEVELS, reaches

if TYPE_CHECKING:
    from collections.abc import Callable

    from oauth_core.settings.detecting import ActionName
    from portcullis.alerts.looking import Looker
    from portcullis.cli.alert_options import AlertPlace

_NICE = 10
_ONCE_SECONDS = 120.0
_STOP_SECONDS = 3.0
_AGAIN_SECONDS = 10.0
_STAY_SECONDS = 60.0


@click.command("run")
@click.option("--once", is_flag=True, help="Look once, try each alert that is due once, and end: for cron.")
@click.option(
    "--stay",
    is_flag=True,
    help="Do not end when the settings or the outbox cannot be used: try again each minute.",
)
@alert_options_read_later
def command(read_place: Callable[[], AlertPlace], *, once: bool, stay: bool) -> None:
    """Run the detection rules over new sealed events, and send an alert about each new finding.

    Runs until stopped, at a low priority of the processor. Alerts are in the outbox until their destinations took
    them, also over restarts. Exits with 2 for wrong settings, or if another process does this already. With --once
    it exits with 1 if the rules could not look at everything, or if a destination did not take an alert.
    """
    if once:
        if stay:
            raise click.UsageError("--once and --stay exclude one another")
        with ExitStack() as stack:
            place, looker, _, couriers = _opened(read_place(), stack)
            _run_once(place, looker, couriers)
        return
    stopping = threading.Event()
    while True:
        try:
            with ExitStack() as stack:
                place, looker, counts, couriers = _opened(read_place(), stack)
                if (address := place.settings.alerts_metrics_listen) is not None:
                    served = metrics.serving(address, place.outbox, list(looker.lowest), counts, looker.now)
                    stack.enter_context(served)
                _stop_at_signals(stopping)
                _run(place, looker, couriers, counts, stopping)
        except (SettingsError, click.ClickException) as error:
            if not stay or stopping.is_set():
                raise
            _stop_at_signals(stopping)
            fault = "; ".join(error.faults) if isinstance(error, SettingsError) else error.message
            report(f"{fault}; trying again")
            stopping.wait(_STAY_SECONDS)
            continue
        return


def _stop_at_signals(stopping: threading.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())


def _opened(place: AlertPlace, stack: ExitStack) -> tuple[AlertPlace, Looker, Counts, list[Courier]]:
    """Hold the outbox of `place` until `stack` ends; return what finds and delivers alerts.

    Raises `SettingsError` and `ClickException`.
    """
    place.destinations()
    try:
        stack.enter_context(file_lock.held(place.lock))
    except file_lock.HeldError as error:
        raise SettingsError([f"another `alerts run` (process {error.holder}) uses {place.outbox}"]) from None
    except OSError as error:
        raise SettingsError([f"{error.filename or place.lock}: {error.strerror}"]) from None
    looker = _looker(place)
    names = list(looker.lowest)
    counts = Counts((*(rule.name for rule in looker.rules), INCOMPLETE), names)
    couriers = _couriers(place, counts)
    with place.opened() as outbox:
        outbox.keep_destinations(names, looker.now())
    return place, looker, counts, couriers


def _looker(place: AlertPlace) -> Looker:
    settings = place.settings
    rules = rules_of(settings)
    # Imported here, as in `chosen_rules`: DuckDB may be missing.
    from portcullis.alerts.learning import LEVELS as OF_BASELINES  # noqa: PLC0415
    from portcullis.alerts.learning import Learner  # noqa: PLC0415
    from portcullis.alerts.looking import Gateway, Looker  # noqa: PLC0415
    from portcullis.detection.profiles import FILE_NAME as PROFILES  # noqa: PLC0415

    responder = _responder(place)
    lowest = lowest_levels(settings)
    least = max(lowest.values(), key=LEVELS.index)
    responding = {} if responder is None else responder.actions
    learner = Learner(
        place.audit_dir,
        place.outbox.with_name(PROFILES),
        lowest,
        settings.issuer,
        place.node,
        lambda: sealing_of(place.audit_dir),
        float(settings.alerts_window),
        time.time,
    )
    return Looker(
        place.audit_dir,
        [rule for rule in rules if reaches(rule.level, least) or rule.name in responding],
        lowest,
        Gateway(settings.issuer, place.node),
        lambda: sealing_of(place.audit_dir),
        window=float(settings.alerts_window),
        interval=float(settings.alerts_interval),
        locations=settings.location_databases,
        responder=responder,
        learner=learner if any(reaches(level, least) for level in OF_BASELINES.values()) else None,
    )


def _responder(place: AlertPlace) -> Responder | None:
    """The automatic responses of the settings. Raises `SettingsError` if one cannot be."""
    settings = place.settings
    if not settings.detection_responses:
        return None
    if faults := faults_of_responses(settings):
        raise SettingsError(faults)
    # Imported here: it imports the commands.
    from portcullis.cli.main import cli  # noqa: PLC0415

    never = frozenset({*settings.detection_never, *(one.lower() for one in settings.detection_never)})
    try:
        ledger = Ledger.read(place.outbox.with_name(FILE_NAME))
    except LedgerError as error:
        raise SettingsError([f"automatic responses: {error}"]) from None
    actions: dict[str, list[ActionName]] = {}
    for one in settings.detection_responses:
        actions.setdefault(one.rule, []).append(one.action)
    return Responder(
        ledger,
        actions,
        settings.detection_responses_per_hour,
        never,
        ResponseCommands(cli, place.config, never).carry_out,
    )


def _couriers(place: AlertPlace, counts: Counts) -> list[Courier]:
    quiet = place.settings.quiet_hours
    return [
        Courier(
            destination,
            QuietHours(*quiet) if quiet else None,
            float(place.settings.alerts_give_up),
            report,
            counts,
        )
        for destination in opened(place.settings)
    ]


def _run_once(place: AlertPlace, looker: Looker, couriers: list[Courier]) -> None:
    with place.opened() as outbox:
        looker.step(outbox)
        _, fault = outbox.last_look()
    if fault is not None:
        report(f"the rules do not see everything: {fault}")
    missing = deliver_once(couriers, place.outbox, _ONCE_SECONDS)
    if missing:
        report(f"not everything was taken by: {', '.join(missing)}")
    if fault is not None or missing:
        sys.exit(1)


def _run(
    place: AlertPlace, looker: Looker, couriers: list[Courier], counts: Counts, stopping: threading.Event
) -> None:
    os.nice(_NICE)
    threads = [CourierThread(courier, place.outbox, stopping) for courier in couriers]
    for thread in threads:
        thread.start()
    known_fault: str | None = None
    while not stopping.is_set():
        try:
            outbox = Outbox(place.outbox, lambda rule, is_alert: counts.found(rule, is_alert=is_alert))
            try:
                wait = looker.step(outbox)
                _, fault = outbox.last_look()
            finally:
                outbox.close()
        except OutboxError as error:
            wait, fault = _AGAIN_SECONDS, f"the outbox cannot be used: {error}"
        if fault != known_fault:
            report(fault or "the rules see everything again")
        known_fault = fault
        for thread in threads:
            thread.changed.set()
        stopping.wait(wait)
    for thread in threads:
        thread.changed.set()
    for thread in threads:
        thread.join(_STOP_SECONDS)


def report(sentence: str) -> None:
    """Print a sentence about this program on standard error."""
    click.echo(f"portcullis alerts run: {sentence}", err=True)
