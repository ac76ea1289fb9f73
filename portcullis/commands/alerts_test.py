"""`portcullis alerts test`: a test alert to every destination, or to some."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from portcullis.alerts.alert import TEST_RULE, Alert
from portcullis.alerts.destinations import opened
from portcullis.alerts.outbox import new_id
from portcullis.alerts.sending import NotTakenError
from portcullis.audit import moments
from portcullis.cli.alert_options import alert_options

if TYPE_CHECKING:
    from portcullis.alerts.destinations import Destination
    from portcullis.cli.alert_options import AlertPlace


@click.command("test")
@click.argument("names", metavar="[DESTINATION]...", nargs=-1)
@alert_options
def command(place: AlertPlace, names: tuple[str, ...]) -> None:
    """Send a test alert now to each DESTINATION, or to all, and say whether it was taken.

    It passes the outbox by: quiet hours and silences do not count. Exits with 1 if one did not take it, and with 2
    for an unknown destination or one that cannot be used.
    """
    destinations = opened(place.settings, place.destinations(names))
    results: dict[str, str] = {}
    threads = [threading.Thread(target=_try, args=(one, _alert(place), results)) for one in destinations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in destinations:
        fault = results[one.name]
        click.echo(f"{one.name} ({one.sender.address}): {f'not taken: {fault}' if fault else 'taken'}")
    if any(results.values()):
        sys.exit(1)


def _try(destination: Destination, alert: Alert, results: dict[str, str]) -> None:
    try:
        destination.sender.send(alert)
    except NotTakenError as error:
        results[destination.name] = str(error)
    else:
        results[destination.name] = ""


def _alert(place: AlertPlace) -> Alert:
    return Alert(
        id=new_id(),
        raised=moments.recorded(datetime.now(UTC)),
        rule=TEST_RULE,
        title="Test alert",
        level="informational",
        reason="An operator sent this with `portcullis alerts test`, to try this destination. Nothing happened.",
        subject="",
        gateway=place.settings.issuer,
        node=place.node,
    )
