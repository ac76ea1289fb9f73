"""`portcullis audit show`: one event with everything that the record says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from portcullis.audit import places
from portcullis.audit.export import forms
from portcullis.audit.places import PlaceError
from portcullis.audit.shown import printable
from portcullis.cli.audit_folder import audit_dir_option
from portcullis.cli.event_output import sealing_of
from portcullis.cli.json_option import as_json

if TYPE_CHECKING:
    from pathlib import Path


@click.command("show")
@click.argument("place", metavar="NODE/WRITER/BOOT/SEQUENCE")
@as_json
@audit_dir_option
def command(audit_dir: Path, place: str, *, as_json: bool) -> None:
    """Show one event: every field, the frame that it is in, and whether that is sealed.

    Its place is in the JSON lines of `search`, `timeline` and `export`. The node is - where a segment names none:
    write -- before such a place.
    """
    try:
        found = places.find(audit_dir, place)
    except PlaceError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    sealing = sealing_of(audit_dir)
    is_sealed = sealing.covers(found.event)
    if as_json:
        click.echo(forms.line(forms.own(found.event, is_sealed=is_sealed)))
        return
    facts = {
        **found.event.fields,
        "place": found.event.place,
        "segment": f"{found.segment.relative_to(audit_dir)}, from byte {found.offset}",
        "frame": f"{found.event.frame}, SHA-256 {found.event.digest.hex()}",
        "sealed": sealing.sentence(),
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{printable(name).ljust(width)}  {printable(value)}")
