"""`portcullis audit key`: the key that signs checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
from oauth_core.audit_log.signed_notes import NoteError
from oauth_core.errors import SettingsError
from oauth_core.process import file_lock
from oauth_core.process.audit_output import AuditOutput
from oauth_core.process.audit_segments import SegmentWriter, prepare, this_node
from portcullis.audit.seal_key import KeyFileError, SealKey
from portcullis.audit.sealed_folder import SealedFolder
from portcullis.cli.audit_folder import AuditPlace, audit_place_options
from portcullis.cli.command_record import WRITER, CommandRecorder, Intent

if TYPE_CHECKING:
    from oauth_core.audit_log.signed_notes import Signer, VerifierKey


@click.command("key")
@audit_place_options
@click.option("--new-tree", is_flag=True, help="Put the present tree aside, and make a key for a new one.")
def command(place: AuditPlace, *, new_tree: bool) -> None:
    """Print the public half of the key, and make the key if there is none.

    Keep a copy of the public half on another machine: it is what `verify --key` needs. With --new-tree the present
    tree is kept beside the new one, with its public key, and the new tree begins with all frames of the folder.
    """
    folder, key = SealedFolder(place.audit_dir), SealKey(place.key)
    try:
        with folder.held():
            click.echo((_new(place, folder, key) if new_tree else _kept_or_made(place, folder, key)).text)
    except file_lock.HeldError as error:
        # Its key cannot be replaced, but it can be shown.
        if new_tree or (signer := _read(key)) is None:
            raise SettingsError([f"a sealer (process {error.holder}) uses {folder.root}: stop it first"]) from None
        click.echo(signer.verifier.text)
    except OSError as error:
        raise SettingsError([f"{error.filename or folder.root}: {error.strerror}"]) from None


def _kept_or_made(place: AuditPlace, folder: SealedFolder, key: SealKey) -> VerifierKey:
    signer = _read(key)
    if signer is None:
        if folder.checkpoint.exists():
            raise SettingsError(
                [f"{key.path} does not exist, but there is a tree that it signed: restore it, or use --new-tree"]
            )
        signer = _made(place, key)
    return signer.verifier


def _new(place: AuditPlace, folder: SealedFolder, key: SealKey) -> VerifierKey:
    """Begin a new tree, and record that: a tree that is put aside must not pass unseen."""
    prepare(place.audit_dir)
    segments = SegmentWriter(place.audit_dir, WRITER, node=place.node or this_node())
    recorder = CommandRecorder(AuditOutput(segments, None), None)
    try:
        recorder.announce(Intent(EventKind.AUDIT_TREE_STARTED, str(folder.root)), always=False)
        aside = folder.put_aside(key)
        verifier = _made(place, key).verifier
        kept = f"the tree until now is in {aside}" if aside else "there was no tree"
        recorder.record(EventKind.AUDIT_TREE_STARTED, key=f"{verifier.name}+{verifier.key_id.hex()}", reason=kept)
    finally:
        recorder.close()
    click.echo(f"Recorded: {kept}.", err=True)
    return verifier


def _made(place: AuditPlace, key: SealKey) -> Signer:
    try:
        return key.make(place.node or this_node())
    except NoteError as error:
        raise SettingsError([f"audit.node: {error}"]) from None


def _read(key: SealKey) -> Signer | None:
    try:
        return key.read()
    except KeyFileError as error:
        raise SettingsError([str(error)]) from None
