"""`portcullis audit verify`: verify that the audit record is complete and unaltered."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from oauth_core.audit_log.chain import Chain
from portcullis.audit.segments import Damage, boots, frames
from portcullis.cli.audit_folder import audit_dir_option
from portcullis.cli.operator_commands import as_json

if TYPE_CHECKING:
    from pathlib import Path


@click.command("verify")
@audit_dir_option
@as_json
def command(audit_dir: Path, *, as_json: bool) -> None:
    """Verify the chain of frames of every boot. Exits with 1 if a part is altered or missing."""
    faults: list[str] = []
    for boot in boots(audit_dir):
        chain, place = Chain(), f"{boot.writer}/{boot.name}"
        for found in frames(boot):
            if isinstance(found, Damage):
                faults.append(f"{place}: {found}")
                continue
            if fault := chain.fault_of(found.frame):
                faults.append(f"{place}: {fault}")
            chain.add(found.frame)
    if as_json:
        click.echo(json.dumps({"intact": not faults, "faults": faults}))
    else:
        click.echo("\n".join(faults) or "The chain of every boot is intact.")
    sys.exit(1 if faults else 0)
