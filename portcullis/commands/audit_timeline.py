"""`portcullis audit timeline`: everything of one person, client, grant or token, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from portcullis.audit import identities, shown
from portcullis.audit.extent import Extent
from portcullis.audit.identities import BelongsTo, IdentityError, IdentityKind
from portcullis.cli.audit_record import record_options
from portcullis.cli.event_options import time_options
from portcullis.cli.event_output import EventOutput, exit_if_incomplete
from portcullis.cli.identifiers import ANY_ID
from portcullis.cli.json_option import as_json
from portcullis.cli.locations_option import opened_locations
from portcullis.cli.printed_lines import until_the_reader_goes

if TYPE_CHECKING:
    from portcullis.audit.filters import EventFilter
    from portcullis.audit.identities import Identity
    from portcullis.audit.parquet.record import Record

_SHOWN = 5


@click.command("timeline", context_settings=ANY_ID)
@click.argument("identity", metavar="USER|CLIENT|GRANT|TOKEN")
@time_options
@as_json
@record_options
def command(record: Record, identity: str, wanted: EventFilter, *, as_json: bool) -> None:
    """Show everything of one identity in order, by day, and its extent.

    USER is a login or the number of an account, CLIENT a client id, GRANT a grant id, TOKEN the `jti` of an access
    token. Where a text can mean several, write user:…, client:…, grant:… or token:…. A token is shown with all of
    its grant (from the first sign-in over each refresh to the end), and with what happened to its client and its
    person as such.
    """
    try:
        found = identities.find(identity, record.events)
    except IdentityError as error:
        exit_if_incomplete(record.reading)
        raise click.ClickException(str(error)) from None
    chosen = BelongsTo(found, wanted.since, wanted.until)
    with until_the_reader_goes(), opened_locations() as location_of:
        output, extent, day = EventOutput(record, as_json=as_json, location_of=location_of), Extent(), ""
        if not as_json:
            for line in _links(found):
                output.text(line)
        for event in record.events(chosen):
            extent.add(event.fields)
            if as_json:
                output.event(event)
                continue
            if (date := event.time[:10]) != day:
                output.text(f"\n{shown.printable(date)}")
                day = date
            output.event(event, as_step=True)
        if not as_json:
            if output.count:
                output.text("\nExtent")
            for line in extent.lines():
                output.text(f"  {line}")
        output.close(empty="\nNo event in this time.")
    exit_if_incomplete(record.reading)


def _links(found: Identity) -> list[str]:
    """The identity and what belongs to it."""
    parts = {
        "person": sorted(found.logins) + [f"#{account}" for account in sorted(found.accounts)],
        "client": sorted(found.clients),
        "grant": sorted(found.grants),
        "token": sorted(found.tokens),
    }
    lines = [f"{found.kind.value} {shown.printable(found.name)}"]
    for name, values in parts.items():
        if values:
            more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
            lines.append(f"  {name:<8} {', '.join(map(shown.printable, values[:_SHOWN]))}{more}")
    if found.kind is IdentityKind.USER and len(found.accounts) > 1:
        lines.append("  Several accounts had this login; write id:NUMBER for one of them.")
    return lines
