"""`portcullis audit search`: find events of the audit record."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from portcullis.cli.audit_record import record_options
from portcullis.cli.event_options import event_options
from portcullis.cli.event_output import EventOutput, exit_if_incomplete
from portcullis.cli.json_option import as_json
from portcullis.cli.locations_option import opened_locations
from portcullis.cli.printed_lines import until_the_reader_goes

if TYPE_CHECKING:
    from portcullis.audit.filters import EventFilter
    from portcullis.audit.parquet.record import Record


@click.command("search")
@event_options
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Show at most N events: the first ones of the order shown.",
)
@click.option("--reverse", "newest_first", is_flag=True, help="Show the newest event first.")
@as_json
@record_options
def command(record: Record, wanted: EventFilter, limit: int | None, *, newest_first: bool, as_json: bool) -> None:
    """Show the events of all programs that fit every given option, oldest first.

    The last line says whether all shown events are sealed. With --json each event is one line of JSON with its
    place (node, writer, boot, sequence) and `sealed`. Exits with 1 if a part of the record could not be read.
    """
    with until_the_reader_goes(), opened_locations() as location_of:
        output = EventOutput(record, as_json=as_json, location_of=location_of)
        for event in islice(record.events(wanted, newest_first=newest_first), limit):
            output.event(event)
        output.close(empty="No event fits.", limit=limit)
    exit_if_incomplete(record.reading)
