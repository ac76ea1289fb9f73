"""`portcullis audit verify-received`: prove that a sink has everything that was sealed."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from oauth_core.errors import SettingsError
from portcullis.audit.seal_key import KeyFileError, read_verifier
from portcullis.audit.shown import printable
from portcullis.cli.json_option import as_json
from portcullis.sinks import received
from portcullis.sinks.completeness import prove
from portcullis.sinks.received import UnreadableLineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portcullis.sinks.completeness import Proof
    from portcullis.sinks.records import Record

_MOST_SHOWN = 20


class _Unreadable:
    """Counts lines that are no records, and shows the first of them."""

    def __init__(self) -> None:
        self.count = 0

    def note(self, name: str, number: int, why: object) -> None:
        self.count += 1
        if self.count <= _MOST_SHOWN:
            click.echo(f"unreadable: {printable(name)}, line {number}: {why}", err=True)


@click.command("verify-received")
@click.argument("files", type=click.File("rb"), nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--key",
    "key_text",
    metavar="VKEY|FILE",
    required=True,
    help="The public key of checkpoints: what `portcullis audit key` prints.",
)
@click.option(
    "--checkpoint",
    "kept",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="A checkpoint that was kept elsewhere. Repeat for more.",
)
@as_json
def command(files: tuple[BinaryIO, ...], *, key_text: str, kept: tuple[Path, ...], as_json: bool) -> None:
    """Prove that the records in FILE, which are from a sink, are complete. `-` reads standard input.

    Each line is a record of NATS, the body of a webhook, a request of OTLP as JSON (as the file exporter of the
    OpenTelemetry Collector writes it), or a message of syslog. Needs no gateway, no audit folder and no settings.

    Exits with 0 if every sealed event is there, with 1 if one is missing or altered, if a line cannot be read, or
    if there is no checkpoint, and with 2 for wrong usage.
    """
    try:
        key = read_verifier(key_text if "+" in key_text else Path(key_text))
        notes = [path.read_text(encoding="utf-8") for path in kept]
    except KeyFileError as error:
        raise SettingsError([f"--key: {error}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"--checkpoint: {error}"]) from None
    unreadable = _Unreadable()
    with ExitStack() as stack:
        for file in files:
            stack.enter_context(file)
        proof = prove(_records(files, unreadable), key, notes)
    if as_json:
        click.echo(json.dumps({"complete": proof.is_complete, "unreadable": unreadable.count, **asdict(proof)}))
    else:
        _show(proof, unreadable.count)
    sys.exit(0 if proof.is_complete and not unreadable.count else 1)


def _records(files: tuple[BinaryIO, ...], unreadable: _Unreadable) -> Iterator[Record]:
    for file in files:
        for number, line in enumerate(received.lines_of(file), 1):
            try:
                yield from received.records_in(line)
            except UnreadableLineError as error:
                unreadable.note(file.name, number, error)


def _show(proof: Proof, unreadable: int) -> None:
    for finding in proof.findings:
        click.echo(printable(finding))
    if proof.more_findings:
        click.echo(f"and {proof.more_findings} more findings")
    if unreadable:
        click.echo(f"{unreadable} lines cannot be read")
    if proof.repeated:
        click.echo(f"{proof.repeated} records are there more than once")
    if proof.others:
        click.echo(f"{proof.others} records are of other trees")
    if proof.unproven:
        click.echo(f"{proof.unproven} events are not covered by a checkpoint: the newest ones wait for one")
    counted = f"{proof.entries} entries with {proof.events} events"
    newest = f"by the checkpoint of {proof.time or 'an unknown time'}"
    if not proof.is_complete:
        click.echo(f"NOT complete: {len(proof.findings)} findings. {counted} are proven.")
    elif proof.contents == proof.events:
        click.echo(f"Complete and unaltered: {counted}, {newest}.")
    else:
        click.echo(f"Complete: {counted}, {newest}. The content of {proof.contents} events is proven too.")
