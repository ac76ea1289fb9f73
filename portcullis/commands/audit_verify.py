"""`portcullis audit verify`: verify that the audit record is complete and unaltered."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oauth_core.audit_log.checkpoints import Checkpoint, open_checkpoint
from oauth_core.audit_log.entries import EntryError, FrameEntry, parse_entry
from oauth_core.audit_log.signed_notes import NoteError, VerifierKey
from oauth_core.errors import SettingsError
from oauth_core.process import private_files
from portcullis.audit import record_files
from portcullis.audit.beginnings import Beginning
from portcullis.audit.proofs import EventName, Proof, ProofError, has_event, stored_frame
from portcullis.audit.seal_key import KeyFileError, SealKey, read_verifier
from portcullis.audit.sealed_folder import NAME, notes_in, read_note
from portcullis.audit.segments import Boot, BootReader
from portcullis.audit.shown import printable
from portcullis.audit.timestamps import Authorities, Timestamps
from portcullis.audit.tree import TreeError, TreeReader
from portcullis.audit.verification import KeptNote, Verification
from portcullis.cli.audit_folder import audit_dir_option, gateway_variables, key_of
from portcullis.cli.event_options import time_options
from portcullis.cli.json_option import as_json

if TYPE_CHECKING:
    from portcullis.audit.filters import EventFilter
    from portcullis.audit.findings import Report

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("verify")
@audit_dir_option
@click.option(
    "--sealed",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The folder of an older tree, such as sealed-1, instead of the present one.",
)
@click.option(
    "--key",
    "key_text",
    metavar="VKEY|FILE",
    help="The public key of checkpoints; else audit_seal.pub beside the audit folder. Keep a copy elsewhere.",
)
@click.option(
    "--checkpoint",
    "kept",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Checkpoints that were kept elsewhere, which show a roll-back: a file of them, or the folder that the "
    "monitor of another node has of this one. Repeat for more.",
)
@click.option(
    "--timestamps",
    "copies",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    help="A copy of the folder timestamps that was kept elsewhere, in addition to that of the tree.",
)
@click.option(
    "--timestamp-ca",
    type=_FILE,
    help="The certificates of time-stamping authorities; else AUDIT_TIMESTAMP_CA_FILE.",
)
@time_options
@click.option("--event", metavar="NODE/WRITER/BOOT/SEQUENCE", help="Make a proof of this one event instead.")
@click.option(
    "--beginning",
    is_flag=True,
    help="Make a file for `audit verify-received --begin`: of the first kept checkpoint, or of the newest one.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file of the proof or the beginning."
)
@as_json
def command(
    *,
    audit_dir: Path,
    sealed: Path | None,
    key_text: str | None,
    kept: tuple[Path, ...],
    copies: tuple[Path, ...],
    timestamp_ca: Path | None,
    wanted: EventFilter,
    event: str | None,
    beginning: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Verify that everything that was sealed is there, and that nothing of it is altered.

    Computes the sealed tree again from its files, and compares every frame with it. Exits with 0 if the record is
    intact, with 1 if a part is altered, missing, added, forged, damaged or rolled back, and with 2 for wrong
    usage. Frames that are not sealed yet and boots that ended without a closing frame are noted and are no fault.

    `portcullis audit verify-received` verifies what a sink has.

    With --since and --until only the segments of that time are read; the tree is always verified as a whole. With
    --event, prints a proof of one event, for `portcullis audit check-proof`.
    """
    folder = sealed or audit_dir / NAME
    key = _key(key_text, audit_dir, sealed)
    notes = [note for path in kept for note in _notes_in(path)]
    if event is not None or beginning:
        made = (
            _beginning(audit_dir, folder, key, notes)
            if event is None
            else _prove(audit_dir, folder, key, notes, event).encode()
        )
        if output is None:
            click.echo(made, nl=False)
        else:
            private_files.write(output, made)
        return
    if sealed is None:
        beside = SealKey(key_of(audit_dir)).checkpoint
        notes += [KeptNote(str(beside), _text_of(beside))] if beside.exists() else []
    stamps = [Timestamps.of(folder), *(Timestamps(path) for path in copies)]
    authorities = _authorities(timestamp_ca, stamps)
    times = {"since": wanted.since, "until": wanted.until}
    try:
        report = Verification(audit_dir, folder, key, notes, stamps=stamps, authorities=authorities, **times).run()
    except OSError as error:
        raise SettingsError([f"{error.filename or audit_dir}: {error.strerror}"]) from None
    if as_json:
        click.echo(json.dumps(_as_json(report)))
    else:
        _show(report)
    sys.exit(0 if report.is_intact else 1)


def _key(given: str | None, audit_dir: Path, older: Path | None) -> VerifierKey:
    """The public key: that of the option, of an older tree that the option names, or beside the audit folder.

    An attacker who can write to the audit folder can put a key into the present tree: that one is never used.
    """
    try:
        if given is not None:
            return read_verifier(given if "+" in given else Path(given))
        path = SealKey(key_of(audit_dir)).public
        if older is not None and (kept := older / path.name).exists():
            path = kept
        if not path.exists():
            raise SettingsError([f"{path} does not exist; name the public key of checkpoints with --key"])
        return read_verifier(path)
    except KeyFileError as error:
        raise SettingsError([f"--key: {error}"]) from None


def _authorities(given: Path | None, stamps: list[Timestamps]) -> Authorities | None:
    """The time-stamping authorities; `None` without a stamp, or without a file. Raises `SettingsError`."""
    path = given or Path(gateway_variables().get("AUDIT_TIMESTAMP_CA_FILE", ""))
    if path == Path() or not any(each.names() for each in stamps):
        return None
    try:
        return Authorities.read(path)
    except ValueError as error:
        raise SettingsError([f"--timestamp-ca: {error}"]) from None


def _show(report: Report) -> None:
    for finding in report.findings:
        click.echo(str(finding))
    for sentence in report.unsealed:
        click.echo(f"unsealed: {sentence}")
    for sentence in report.deleted:
        click.echo(f"deleted: {printable(sentence)}")
    for sentence in report.undeleted:
        click.echo(f"not deleted yet: {printable(sentence)}; run `portcullis audit prune` again")
    for boot in report.unclosed:
        click.echo(f"not closed: {boot}: ended without a closing frame; its last batch may be lost")
    for sentence in report.stamped:
        click.echo(f"time stamped: {printable(sentence)}")
    for gap in report.gaps:
        click.echo(f"no checkpoint: {gap}")
    counted = f"{report.frames} frames with {report.events} events"
    if report.is_intact:
        click.echo(
            f"Complete and unaltered: {counted}, by the checkpoint of {report.size} entries of {report.time}."
        )
    else:
        click.echo(f"NOT intact: {len(report.findings)} findings. {counted} are as they were sealed.")


def _as_json(report: Report) -> dict[str, object]:
    findings = [{**asdict(finding), "word": finding.word.value} for finding in report.findings]
    others = {"unsealed": report.unsealed, "unclosed": report.unclosed, "gaps": report.gaps}
    others |= {"deleted": report.deleted, "undeleted": report.undeleted, "stamped": report.stamped}
    numbers = {"size": report.size, "time": report.time, "frames": report.frames, "events": report.events}
    return {"intact": report.is_intact, "findings": findings, **others, **numbers}


# -- one event -------------------------------------------------------------------------------------------------


def _beginning(audit_dir: Path, folder: Path, key: VerifierKey, notes: list[KeptNote]) -> str:
    """Return the text of the beginning of what comes after the first kept checkpoint, or after the newest one."""
    try:
        note = notes[0].note if notes else read_note(folder / "checkpoint")
        checkpoint = open_checkpoint(note, key)
        made = Beginning.of(TreeReader(folder, checkpoint.size), note, checkpoint).encode()
        Beginning.decode(made, key)  # a tree with a changed tile gives wrong hashes
    except (NoteError, TreeError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise SettingsError([f"{error.filename or audit_dir}: {error.strerror}"]) from None
    return made


def _prove(audit_dir: Path, folder: Path, key: VerifierKey, notes: list[KeptNote], event: str) -> Proof:
    """Return a proof of one event, for the first kept checkpoint or for the newest one."""
    try:
        name = EventName.parse(event)
    except ProofError as error:
        raise click.UsageError(str(error)) from None
    newest = folder / "checkpoint"
    if not notes and not newest.exists():
        raise click.ClickException(f"{newest} does not exist: nothing is sealed")
    try:
        note = notes[0].note if notes else read_note(newest)
        checkpoint = open_checkpoint(note, key)
        return _proof(audit_dir, TreeReader(folder, checkpoint.size), checkpoint, name, note)
    except (NoteError, TreeError, ProofError, EntryError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise SettingsError([f"{error.filename or audit_dir}: {error.strerror}"]) from None


def _proof(audit_dir: Path, tree: TreeReader, checkpoint: Checkpoint, name: EventName, note: str) -> Proof:
    """The proof of an event in the tree of `checkpoint`. Raises `ProofError`, and as the reader does."""
    index, entry = _entry(tree, name)
    boot = Boot.at(audit_dir, f"{name.writer}/{name.boot}")
    found = stored_frame(BootReader(boot).read(), entry.digest)
    if found is None:
        raise ProofError(f"{name} was sealed, and its frame is altered or missing now, or deleted by retention")
    with record_files.reading(boot.segment(found.segment)) as file:
        file.seek(found.offset)
        frame = file.read(found.frame.size)
    proof = Proof(name, frame, index, tuple(tree.inclusion_path(index)), note)
    proof.event(checkpoint)  # a tree with a changed tile gives a wrong proof
    return proof


def _entry(tree: TreeReader, name: EventName) -> tuple[int, FrameEntry]:
    for place, data in enumerate(tree.entries()):
        entry = parse_entry(data)
        if isinstance(entry, FrameEntry) and has_event(entry, name):
            return place, entry
    raise ProofError(f"no sealed event has the name {name}: it is not sealed yet, or there is none")


def _notes_in(path: Path) -> list[KeptNote]:
    """The notes of a file, or of all files of a folder. Raises `SettingsError`."""
    try:
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.name == "checkpoint" or file.suffix == ".txt")
        found = []
        for file in files:
            with file.open("rb") as opened:
                found += [KeptNote(str(file), note) for note in notes_in(opened)] or [KeptNote(str(file), "")]
    except OSError as error:
        raise SettingsError([f"{error.filename or path}: {error.strerror}"]) from None
    if not found:
        raise SettingsError([f"{path} has no checkpoints"])
    return found


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
    except OSError as error:
        raise SettingsError([f"{path}: {error.strerror}"]) from None
