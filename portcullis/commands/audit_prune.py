"""`portcullis audit prune`: retention of the audit record, as a signed deletion."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
from oauth_core.errors import SettingsError
from oauth_core.process import file_lock
from oauth_core.process.audit_output import AuditOutput
from oauth_core.process.audit_segments import SegmentWriter, prepare, this_node
from portcullis.audit import moments
from portcullis.audit.parquet import catalog
from portcullis.audit.pruning import PruneError, Pruning
from portcullis.audit.seal_key import KeyFileError, SealKey
from portcullis.audit.shown import printable
from portcullis.cli.audit_folder import AuditPlace, audit_place_options
from portcullis.cli.command_record import WRITER, CommandRecorder, Intent, account
from portcullis.cli.operator_commands import yes as yes_option
from portcullis.sinks.cursors import Cursors
from portcullis.sinks.sealed_records import tree_name

if TYPE_CHECKING:
    from pathlib import Path

    from oauth_core.audit_log.signed_notes import Signer
    from portcullis.audit.pruning import Plan

_SIZE = re.compile(r"([0-9]{1,15}) ?([KMGT]?)B?")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SHOWN = 20


def _age(_context: click.Context, _option: click.Parameter, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        return moments.parse(f"-{given}", now=datetime.now(UTC))
    except ValueError:
        raise click.BadParameter("write a number and a unit: 400d, 52w, 12h") from None


def _bytes(_context: click.Context, _option: click.Parameter, given: str | None) -> int | None:
    if given is None:
        return None
    if (found := _SIZE.fullmatch(given.upper())) is None:
        raise click.BadParameter("write a number and a unit: 50GB, 800MB")
    return int(found[1]) * _UNITS[found[2]]


@click.command("prune")
@audit_place_options
@click.option(
    "--older-than", metavar="AGE", callback=_age, help="Delete segments that were sealed so long ago: 400d."
)
@click.option(
    "--keep-size", metavar="SIZE", callback=_bytes, help="Delete the oldest until all segments have: 50GB."
)
@click.option("--reason", default="retention", show_default=True, help="The reason in the signed note.")
@click.option("--unsent", is_flag=True, help="Delete also what a sink does not have yet: it never gets it then.")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@yes_option
def command(
    place: AuditPlace,
    *,
    older_than: datetime | None,
    keep_size: int | None,
    reason: str,
    unsent: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete the oldest segments of the audit record, with a signed note of what was deleted.

    Only segments are deleted that are closed, sealed and unaltered. The sealed tree stays, so `portcullis audit
    verify` still proves the rest, and reports any other missing segment. Needs the sealer's key. The sealer may
    run meanwhile. Segments stay that a sink (`portcullis audit
    ship`) does not have yet, and the exit code is 1 then.
    """
    if older_than is None and keep_size is None:
        raise click.UsageError("give --older-than, --keep-size or both")
    remove_copies = partial(catalog.remove_with, place.audit_dir)
    signer = _signer(place)
    slowest = None if unsent else _slowest_sink(place.audit_dir, tree_name(signer.verifier))
    pruning = Pruning(place.audit_dir, signer, now=datetime.now(UTC), remove_copies=remove_copies)
    try:
        with pruning.held(), catalog.held(place.audit_dir):
            if not dry_run and (finished := pruning.finish()):
                click.echo(f"Finished an interrupted deletion: {finished} segments.")
            sent = None if slowest is None else slowest[1]
            plan = pruning.plan(older_than=older_than, keep_bytes=keep_size, sent=sent)
            _show(plan)
            if plan.segments and not dry_run:
                if not yes:
                    click.confirm("Delete them for good?", abort=True)
                _prune(place, pruning, plan, reason)
        if slowest is not None and plan.unsent:
            click.echo(
                f"{plan.unsent} segments stay: the sink {slowest[0]} does not have them yet. "
                f"See `portcullis audit sinks`; --unsent deletes them nevertheless",
                err=True,
            )
            sys.exit(1)
    except file_lock.HeldError as error:
        raise click.ClickException(f"another run or a compaction (process {error.holder}) works now") from None
    except PruneError as error:
        raise click.ClickException(f"nothing was deleted: {error}") from None
    except OSError as error:
        fault = f"{error.filename or place.audit_dir}: {error.strerror or error}"
        raise click.ClickException(f"{fault}; run it again to finish") from None


def _slowest_sink(audit_dir: Path, tree: str) -> tuple[str, int] | None:
    """The sink that has the fewest entries of the tree, and how many it has; `None` without a sink.

    A sink whose place cannot be read has none, so that nothing is deleted that it may need.
    """
    cursors, found = Cursors(audit_dir), []
    for name in cursors.names():
        try:
            cursor = cursors.read(name)
            found.append((name, cursor.place.index if cursor.tree == tree else 0))
        except (ValueError, OSError):
            found.append((name, 0))
    return min(found, key=lambda one: one[1], default=None)


def _signer(place: AuditPlace) -> Signer:
    key = SealKey(place.key)
    try:
        signer = key.read()
    except KeyFileError as error:
        raise SettingsError([str(error)]) from None
    if signer is None:
        fault = f"{key.path} does not exist: only the sealer's key can sign a deletion, so nothing was deleted"
        raise SettingsError([fault])
    return signer


def _show(plan: Plan) -> None:
    for sentence in plan.kept:
        click.echo(printable(sentence), err=True)
    for one in plan.segments[:_SHOWN]:
        click.echo(
            f"{one.boot.key}, segment {one.sealed.segment:06}: {one.sealed.events} events, {one.size} bytes"
        )
    if len(plan.segments) > _SHOWN:
        click.echo(f"and {len(plan.segments) - _SHOWN} more")
    click.echo(
        f"{len(plan.segments)} segments with {plan.events} events and {plan.bytes} bytes, "
        f"of {plan.record_bytes} bytes of segments"
    )


def _prune(place: AuditPlace, pruning: Pruning, plan: Plan, reason: str) -> None:
    """Delete, and record that before and afterwards. Raises `ClickException` if it cannot be recorded."""
    prepare(place.audit_dir)
    segments = SegmentWriter(place.audit_dir, WRITER, node=place.node or this_node())
    recorder = CommandRecorder(AuditOutput(segments, None), None)
    what = f"{len(plan.segments)} segments with {plan.events} events"
    try:
        recorder.announce(Intent(EventKind.AUDIT_PRUNED, what, reason), always=False)
        try:
            notes = pruning.carry_out(plan, operator=account(), reason=reason)
        except OSError as error:
            recorder.record(EventKind.AUDIT_PRUNED, reason=f"{what}; not finished: {error.strerror}")
            raise
        named = ", ".join(note.name for note in notes)
        recorder.record(EventKind.AUDIT_PRUNED, reason=f"{what}; {named}")
    finally:
        recorder.close()
    click.echo(f"Deleted {what}. Signed notes: {named}.")
