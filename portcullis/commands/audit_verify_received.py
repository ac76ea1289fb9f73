"""`portcullis audit verify-received`: prove that a sink has everything that was sealed."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from oauth_core.audit_log.signed_notes import NoteError
from oauth_core.errors import SettingsError
from oauth_core.process import private_files
from portcullis.audit.beginnings import Beginning
from portcullis.audit.seal_key import KeyFileError, read_verifier
from portcullis.audit.shown import printable
from portcullis.cli.json_option import as_json
from portcullis.sinks import received
from portcullis.sinks.completeness import prove
from portcullis.sinks.received import UnreadableLineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.audit_log.signed_notes import VerifierKey
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
@click.option(
    "--begin",
    "begin_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Prove only what comes after the checkpoint in this file; --end or `audit verify --beginning` made it.",
)
@click.option(
    "--end",
    "end_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a file for --begin of the next part: the end of what is proven now.",
)
@click.option(
    "--refused",
    "refused_files",
    type=click.File("rb"),
    multiple=True,
    help="The file of records that the sink refused, from the gateway: sinks/NAME.refused.jsonl. Names the gaps.",
)
@as_json
def command(
    files: tuple[BinaryIO, ...],
    *,
    key_text: str,
    kept: tuple[Path, ...],
    begin_file: Path | None,
    end_file: Path | None,
    refused_files: tuple[BinaryIO, ...],
    as_json: bool,
) -> None:
    """Prove that the records in FILE, which are from a sink, are complete. `-` reads standard input.

    Each line is a record of NATS, the body of a webhook, a request of OTLP as JSON (as the file exporter of the
    OpenTelemetry Collector writes it), or a message of syslog. Needs no gateway, no audit folder and no settings.

    A sink that deletes old records is proven part by part: --end of one part is --begin of the next.

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
    begin = None if begin_file is None else _beginning(begin_file, key)
    unreadable = _Unreadable()
    with ExitStack() as stack:
        for file in (*files, *refused_files):
            stack.enter_context(file)
        refused = _records(refused_files, unreadable)
        proof = prove(_records(files, unreadable), key, notes, begin=begin, refused=refused)
    end, proof.end = proof.end, None
    if as_json:
        shown = {name: value for name, value in asdict(proof).items() if name != "end"}
        click.echo(json.dumps({"complete": proof.is_complete, "unreadable": unreadable.count, **shown}))
    else:
        _show(proof, unreadable.count)
    is_whole = proof.is_complete and not unreadable.count
    if end_file is not None and end is not None and is_whole:
        private_files.write(end_file, end.encode())
    sys.exit(0 if is_whole else 1)


def _beginning(path: Path, key: VerifierKey) -> Beginning:
    """Raises `SettingsError`."""
    try:
        return Beginning.decode(path.read_text(encoding="utf-8"), key)
    except (OSError, UnicodeDecodeError, NoteError) as error:
        raise SettingsError([f"--begin: {path}: {getattr(error, 'strerror', None) or error}"]) from None


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
        click.echo(
            f"{proof.unproven} events are not covered by a checkpoint of this part: the newest ones wait for one"
        )
    for name in proof.refused[:_MOST_SHOWN]:
        click.echo(
            f"refused: {printable(name)}: the sink does not have it, and the file of refused records has it"
        )
    if len(proof.refused) > _MOST_SHOWN:
        click.echo(f"and {len(proof.refused) - _MOST_SHOWN} more refused records")
    if proof.begins:
        click.echo(f"proven from entry {proof.begins} on, by the file of the beginning")
    counted = f"{proof.entries - proof.begins} entries with {proof.events} events"
    newest = f"by the checkpoint of {proof.time or 'an unknown time'}"
    if not proof.is_complete:
        click.echo(f"NOT complete: {len(proof.findings)} findings. {counted} are proven.")
    elif proof.contents == proof.events:
        click.echo(f"Complete and unaltered: {counted}, {newest}.")
    else:
        click.echo(f"Complete: {counted}, {newest}. The content of {proof.contents} events is proven too.")
