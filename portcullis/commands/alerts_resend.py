"""`portcullis alerts resend`: send an alert again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
from oauth_core.process import file_lock
from portcullis.cli.alert_options import alert_options

if TYPE_CHECKING:
    from portcullis.cli.alert_options import AlertPlace


@click.command("resend")
@click.argument("alert_id", metavar="ID")
@click.option("--to", "names", multiple=True, metavar="DESTINATION", help="Only to this one. Repeat for more.")
@click.option("--reason", metavar="TEXT", help="The reason, for the audit record.")
@alert_options
def command(place: AlertPlace, alert_id: str, names: tuple[str, ...], reason: str | None) -> None:
    """Send the alert ID again, to all destinations or to some, with a new time until it is given up.

    Its level and silences do not count; quiet hours do. `portcullis alerts run` sends it. The audit record has it.
    """
    chosen = place.destinations(names)
    with place.opened() as outbox:
        if outbox.find(alert_id) is None:
            raise click.ClickException(f"there is no alert {alert_id}; `portcullis alerts list` has the newest")
        with place.recorded(EventKind.ALERT_RESENT, alert_id, reason, always=False):
            outbox.resend(alert_id, chosen, time.time())
    click.echo(f"The alert {alert_id} waits for {', '.join(chosen)}.")
    if not file_lock.is_held(place.lock):
        click.echo("No `portcullis alerts run` is running: start one, or use `alerts run --once`.", err=True)
