"""`portcullis audit check-proof`: check the proof of one event against a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import click

from oauth_core.audit_log.checkpoints import Checkpoint, open_checkpoint, parse_checkpoint
from oauth_core.audit_log.signed_notes import NoteError, split_note
from oauth_core.errors import SettingsError
from portcullis.audit.proofs import ProofError, parse_proof
from portcullis.audit.seal_key import KeyFileError, read_verifier
from portcullis.cli.json_option import as_json

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("check-proof")
@click.argument("file", type=_FILE)
@click.option("--checkpoint", "kept", type=_FILE, required=True, help="A checkpoint that you trust.")
@click.option("--key", "key_text", metavar="VKEY|FILE", help="Verify the signature of the checkpoint, too.")
@as_json
def command(file: Path, kept: Path, key_text: str | None, *, as_json: bool) -> None:
    """Check that the event in FILE was recorded, as the checkpoint proves it. It needs no audit folder.

    Prints the event. Exits with 1 if the proof does not hold, and with 2 for wrong usage.
    """
    try:
        checkpoint = _checkpoint(kept.read_text(encoding="utf-8"), key_text)
        proof = parse_proof(file.read_text(encoding="utf-8"))
        line = proof.event(checkpoint)
    except KeyFileError as error:
        raise SettingsError([f"--key: {error}"]) from None
    except (NoteError, ProofError) as error:
        raise click.ClickException(f"not proven: {error}") from None
    except UnicodeDecodeError:
        raise click.ClickException("not proven: a file is not UTF-8 text") from None
    event = line.decode("utf-8", "replace")
    if as_json:
        shown = {"proven": True, "name": str(proof.name), "signature": key_text is not None, "event": event}
        click.echo(json.dumps(shown | {"size": checkpoint.size, "time": checkpoint.time}))
        return
    click.echo(f"Proven: {proof.name} is in the record of {checkpoint.origin} at {checkpoint.time}.")
    if key_text is None:
        click.echo("The signature of the checkpoint was not verified: no --key.", err=True)
    click.echo(event)


def _checkpoint(note: str, key_text: str | None) -> Checkpoint:
    if key_text is None:
        return parse_checkpoint(split_note(note)[0])
    return open_checkpoint(note, read_verifier(key_text if "+" in key_text else Path(key_text)))
