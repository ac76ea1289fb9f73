"""`portcullis audit export`: the events of a time for another program."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oauth_core.process import private_files
from portcullis.audit.export import forms
from portcullis.audit.parquet import database, export
from portcullis.cli.audit_record import record_options
from portcullis.cli.event_options import time_options
from portcullis.cli.event_output import COPIES_USED, exit_if_incomplete, sealing_of
from portcullis.cli.printed_lines import until_the_reader_goes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portcullis.audit.filters import EventFilter
    from portcullis.audit.parquet.record import Record
    from portcullis.audit.sealing import Sealing

_PARQUET = "parquet"


@click.command("export")
@click.option(
    "--format",
    "form",
    type=click.Choice([*forms.LINES, _PARQUET]),
    default="jsonl",
    show_default=True,
    help="jsonl: the events as they are, with their places. ocsf: Open Cybersecurity Schema Framework 1.8. ecs: "
    "Elastic Common Schema 9.0. Each of these is one line of JSON. parquet: a row for each event; needs --output "
    "and DuckDB, the extra `audit`.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file, for its owner only; it appears when it is complete. Else standard output.",
)
@time_options
@record_options
def command(record: Record, form: str, output: Path | None, wanted: EventFilter) -> None:
    """Write the events of all programs for another program, oldest first.

    Prints on standard error how many there were and whether they are sealed. Exits with 1 if a part of the record
    could not be read; the file has all other events then.
    """
    sealing = sealing_of(record.audit_dir)
    with until_the_reader_goes():
        if form == _PARQUET:
            count = _write_rows(record, wanted, sealing, output)
        else:
            count = _write_lines(record, wanted, sealing, output, form)
        sys.stdout.flush()
        number = "1 event" if count == 1 else f"{count} events"
        click.echo(f"{number}; {sealing.sentence()}." if count else "No event in this time.", err=True)
        if count and record.used_copies:
            click.echo(COPIES_USED, err=True)
    exit_if_incomplete(record.reading)


def _write_lines(record: Record, wanted: EventFilter, sealing: Sealing, output: Path | None, form: str) -> int:
    make, count = forms.LINES[form], 0
    with _writing(output) as write:
        for event in record.events(wanted):
            write(forms.line(make(event, is_sealed=sealing.covers(event))) + "\n")
            count += 1
    return count


def _write_rows(record: Record, wanted: EventFilter, sealing: Sealing, output: Path | None) -> int:
    if output is None:
        raise click.UsageError("--format parquet needs --output")
    if not database.is_installed():
        raise click.ClickException("DuckDB is not installed: install the package with its extra `audit`")
    try:
        return export.write(record.events(wanted), sealing.covers, output.absolute())
    except (OSError, database.fault()) as error:
        raise click.ClickException(f"{output}: {str(error).splitlines()[0]}") from None


@contextmanager
def _writing(output: Path | None) -> Iterator[Callable[[str], object]]:
    """The function that writes text to the file, or to standard output."""
    if output is None:
        yield sys.stdout.write
        return
    try:
        with private_files.replacing(output) as file:
            yield lambda text: file.write(text.encode())
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror or error}") from None
