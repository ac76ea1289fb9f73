"""`portcullis alerts list`: the newest alerts, what became of them, and the silences in force."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from portcullis.alerts.outbox import WAITING
from portcullis.audit.shown import printable
from portcullis.cli.alert_options import alert_options
from portcullis.cli.json_option import as_json
from portcullis.cli.printed_lines import until_the_reader_goes

if TYPE_CHECKING:
    from portcullis.alerts.outbox import Delivery, Listed, Silence
    from portcullis.cli.alert_options import AlertPlace


@click.command("list")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Show so many, the newest ones."
)
@as_json
@alert_options
def command(place: AlertPlace, limit: int, *, as_json: bool) -> None:
    """Show the newest alerts: which destination took each one, which waits, which was given up or silenced.

    Also the silences in force, and when the rules looked last.
    """
    now = time.time()
    with place.opened() as outbox:
        listed, silences = outbox.newest(limit), outbox.silences(now)
        looked, fault = outbox.last_look()
    with until_the_reader_goes():
        if as_json:
            document = {
                "alerts": [_document(each) for each in listed],
                "silences": [_silence_document(each) for each in silences],
                "last_look": looked,
                "fault": fault,
            }
            click.echo(json.dumps(document))
            return
        for each in listed:
            click.echo("\n".join(_lines(each)))
        if not listed:
            click.echo("No alert is in the outbox.")
        for silence in silences:
            click.echo(_silence_line(silence))
        click.echo(f"The rules looked last at {looked}." if looked else "The rules have not looked yet.")
        if not place.settings.alerts_destinations:
            click.echo("No destination is configured: alerts.destinations is empty, so no alert is made or sent.")
        if fault:
            click.echo(f"They do not see everything: {printable(fault)}.")


def _lines(listed: Listed) -> list[str]:
    alert = listed.alert
    causes = f"; {listed.causes} further causes without an alert of their own" if listed.causes else ""
    more = f"; {listed.more} further findings in the window" if listed.more else ""
    found = [f"{alert.id}  {format_time(listed.raised)}  {alert.rule}  {alert.headline}{causes}{more}"]
    if listed.silence is not None:
        found.append(f"  silenced by {listed.silence}")
    return found + [f"  {delivery.destination}: {_state(delivery)}" for delivery in listed.deliveries]


def _state(delivery: Delivery) -> str:
    attempts = "1 attempt" if delivery.attempts == 1 else f"{delivery.attempts} attempts"
    fault = f", {printable(delivery.fault)}" if delivery.fault else ""
    if delivery.state == WAITING:
        return f"waits until {format_time(delivery.next)}, {attempts}{fault}"
    ended = "" if delivery.ended is None else f" {format_time(delivery.ended)}"
    return f"{delivery.state}{ended}, {attempts}{fault}"


def _silence_line(silence: Silence) -> str:
    of = "".join(
        f", {name} {printable(value)}"
        for name, value in (("person", silence.person), ("client", silence.client))
        if value is not None
    )
    text = f"silence {silence.id}: {silence.rule}{of}, until {format_time(silence.ends)}"
    return f"{text}, by {printable(silence.operator)}: {printable(silence.reason)}"


def _document(listed: Listed) -> dict[str, Any]:
    return {
        **listed.alert.document(),
        "more": listed.more,
        "silence": listed.silence,
        "deliveries": [
            {
                "destination": each.destination,
                "state": each.state,
                "attempts": each.attempts,
                "next": format_time(each.next) if each.state == WAITING else None,
                "ended": None if each.ended is None else format_time(each.ended),
                "fault": each.fault,
            }
            for each in listed.deliveries
        ],
    }


def _silence_document(silence: Silence) -> dict[str, Any]:
    return {**asdict(silence), "began": format_time(silence.began), "ends": format_time(silence.ends)}


def format_time(moment: float) -> str:
    """A moment since the epoch for people: RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(int(moment), UTC).isoformat().replace("+00:00", "Z")
