"""`portcullis alerts unsilence`: end a silence before its time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
from portcullis.cli.alert_options import alert_options

if TYPE_CHECKING:
    from portcullis.cli.alert_options import AlertPlace


@click.command("unsilence")
@click.argument("silence_id", metavar="ID")
@click.option("--reason", metavar="TEXT", help="The reason, for the audit record.")
@alert_options
def command(place: AlertPlace, silence_id: str, reason: str | None) -> None:
    """End the silence ID, which `portcullis alerts list` shows. It is in the audit record."""
    with place.opened() as outbox:
        if silence_id not in {each.id for each in outbox.silences(time.time())}:
            raise click.ClickException(
                f"there is no silence {silence_id} in force; `portcullis alerts list` has them"
            )
        with place.recorded(EventKind.ALERT_SILENCE_ENDED, silence_id, reason, always=True):
            outbox.end_silence(silence_id, time.time())
    click.echo(f"The silence {silence_id} has ended.")
