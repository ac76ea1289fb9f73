"""`portcullis alerts silence`: send no alerts of a rule for a time."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

import portcullis.detection
from oauth_core.audit import EventKind
from oauth_core.display_text import is_displayable
from portcullis.alerts.alert import INCOMPLETE, RESPONSE, UNUSUAL_HOUR, UNUSUAL_REQUESTS
from portcullis.alerts.outbox import Silence, new_id
from portcullis.audit import moments
from portcullis.cli.alert_options import alert_options
from portcullis.cli.command_record import account
from portcullis.cli.json_option import as_json
from portcullis.commands.alerts_list import format_time

if TYPE_CHECKING:
    from portcullis.cli.alert_options import AlertPlace

_LONGEST = timedelta(days=30)
_LONGEST_REASON = 200


@click.command("silence")
@click.argument("rule")
@click.option("--for", "length", required=True, metavar="TIME", help="How long: 30m, 2h, 7d; at most 30d.")
@click.option("--reason", required=True, metavar="TEXT", help="The reason, for the audit record and the list.")
@click.option(
    "--user", metavar="USER", help="Only alerts about this person: a login, or the number of an account."
)
@click.option("--client", metavar="CLIENT_ID", help="Only alerts about this client.")
@as_json
@alert_options
def command(
    *,
    place: AlertPlace,
    rule: str,
    length: str,
    reason: str,
    user: str | None,
    client: str | None,
    as_json: bool,
) -> None:
    """Send no alerts of RULE for a time. Findings are still listed, as silenced.

    With --user or --client only alerts that concern this person or client, and no other one. Alerts that wait are
    not sent either. `portcullis alerts unsilence` ends a silence before its time. Both are in the audit record.
    """
    if rule not in (known := _rules(place)):
        raise click.UsageError(f"there is no rule {rule}; the rules are {', '.join(known)}")
    if not reason or len(reason) > _LONGEST_REASON or not is_displayable(reason):
        raise click.UsageError(f"--reason must be 1 to {_LONGEST_REASON} printable characters")
    try:
        lasts = moments.duration(length)
    except ValueError as error:
        raise click.UsageError(f"--for: {error}") from None
    if not timedelta() < lasts <= _LONGEST:
        raise click.UsageError("--for must be more than 0 and at most 30d")
    now = time.time()
    silence = Silence(new_id(), rule, user, client, now, now + lasts.total_seconds(), account(), reason)
    of = " ".join(f"--{name} {value}" for name, value in (("user", user), ("client", client)) if value is not None)
    what = " ".join(filter(None, (rule, of, f"until {format_time(silence.ends)}")))
    with (
        place.opened() as outbox,
        place.recorded(EventKind.ALERT_SILENCED, silence.id, f"{what}: {reason}", always=False),
    ):
        covered = outbox.silence(silence)
    if as_json:
        click.echo(json.dumps({"id": silence.id, "ends": format_time(silence.ends), "not_sent": covered}))
        return
    kept = f" {covered} alerts that waited are not sent." if covered else ""
    click.echo(f"Silenced: {what}.{kept} To end it: portcullis alerts unsilence {silence.id}")


def _rules(place: AlertPlace) -> list[str]:
    """The names of the rules, from those of their files: pySigma is not needed to silence one."""
    folders = [Path(portcullis.detection.__file__).parent / "rules"]
    folders += [place.settings.alerts_rules] if place.settings.alerts_rules else []
    names = {path.stem for folder in folders for path in folder.glob("*.y*ml")}
    return sorted({*names, INCOMPLETE, RESPONSE, UNUSUAL_HOUR, UNUSUAL_REQUESTS})
