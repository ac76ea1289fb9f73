"""`portcullis audit tail`: the newest events, and those that follow."""

from __future__ import annotations

import select
import sys
from itertools import islice
from typing import TYPE_CHECKING

import click

from portcullis.audit.following import Follower
from portcullis.cli.audit_record import record_options
from portcullis.cli.event_options import event_options
from portcullis.cli.event_output import EventOutput, exit_if_incomplete
from portcullis.cli.json_option import as_json
from portcullis.cli.printed_lines import until_the_reader_goes

if TYPE_CHECKING:
    from portcullis.audit.filters import EventFilter
    from portcullis.audit.parquet.record import Record

_MOST = 100_000
_MILLISECONDS = 200
"""The time between two looks at the folder."""


@click.command("tail")
@click.option("--follow", "-f", is_flag=True, help="Go on with new events until Ctrl-C.")
@click.option(
    "--lines",
    "-n",
    "count",
    type=click.IntRange(0, _MOST),
    default=10,
    show_default=True,
    help="Events to begin with.",
)
@event_options
@as_json
@record_options
def command(record: Record, wanted: EventFilter, count: int, *, follow: bool, as_json: bool) -> None:
    """Show the newest events of all programs, oldest first, that fit every given option.

    With --follow, new events are shown as they are written. Events that are found together are sorted by time.
    The command ends with 0 after Ctrl-C, and when its output is closed.
    """
    output = EventOutput(record, as_json=as_json)
    with until_the_reader_goes():
        follower = Follower(record.audit_dir, wanted, record.reading) if follow else None
        newest = record.events(wanted, newest_first=True)
        shown = list(islice((one for one in newest if follower is None or follower.is_before(one)), count))
        for event in reversed(shown):
            output.event(event)
        if follower is not None:
            _follow(follower, output)
    exit_if_incomplete(record.reading)


def _follow(follower: Follower, output: EventOutput) -> None:
    reader = select.poll()
    # Without a wanted event the kernel reports only that the other end is closed.
    reader.register(sys.stdout.fileno(), 0)
    try:
        sys.stdout.flush()
        while not reader.poll(_MILLISECONDS):
            for event in follower.added():
                output.event(event)
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stdout.flush()
