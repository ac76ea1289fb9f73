"""`portcullis audit rules`: list the detection rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from portcullis.audit.shown import printable
from portcullis.cli.detection_rules import chosen_rules, rule_options
from portcullis.cli.json_option import as_json

if TYPE_CHECKING:
    from pathlib import Path


@click.command("rules")
@rule_options
@as_json
def command(names: tuple[str, ...], folders: tuple[Path, ...], *, as_json: bool) -> None:
    """List the detection rules: name, level, title, and what each one needs to fire.

    The files are Sigma rules; --json has their path. Exits with 2 if a file cannot be used.
    """
    rules = chosen_rules(names, folders)
    if as_json:
        for rule in rules:
            click.echo(
                json.dumps(
                    {
                        "name": rule.name,
                        "id": rule.id,
                        "level": rule.level,
                        "title": rule.title,
                        "description": rule.description,
                        "condition": rule.condition or None,
                        "false_positives": list(rule.false_positives),
                        "tags": list(rule.tags),
                        "history_seconds": rule.seconds,
                        "path": str(rule.path),
                    }
                )
            )
        return
    width = max((len(rule.name) for rule in rules), default=0)
    for rule in rules:
        click.echo(f"{rule.name.ljust(width)}  {rule.level:<13}  {printable(rule.title)}")
        click.echo(f"{''.ljust(width)}  {'':<13}  needs {printable(rule.condition or 'one event')}")
