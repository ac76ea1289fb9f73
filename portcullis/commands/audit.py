"""`portcullis audit`: the audit record. Each command is a module beside this one, imported when it runs."""

from __future__ import annotations

import click

from portcullis.cli.lazy_group import LazyGroup

_COMMANDS = {
    "search": "Find events by person, client, token, service, tool, address and time.",
    "timeline": "Show everything of one person, client, grant or token, in order.",
    "show": "Show one event with all that is known about it.",
    "compact": "Copy closed hours into Parquet files, so that searches are fast.",
    "export": "Write events for another program: JSON lines, OCSF, ECS, Parquet.",
    "tail": "Show the newest events, and follow new ones.",
    "detect": "Run the detection rules, and show what they find.",
    "rules": "List the detection rules.",
    "ship": "Send the sealed record to the sinks of the settings.",
    "sinks": "Show what each sink has, what waits, and what failed.",
    "seal": "Seal the record: build its tree, and sign checkpoints.",
    "monitor": "Keep the checkpoints of other nodes, and find records that were rolled back.",
    "key": "Print the public key of checkpoints; make the key if there is none.",
    "prune": "Delete the oldest segments, with a signed note of what was deleted.",
    "verify": "Verify that the audit record is complete and unaltered.",
    "verify-received": "Prove that a sink has every sealed event.",
    "check-proof": "Check the proof of one event against a checkpoint.",
}


@click.group("audit", cls=LazyGroup, commands_help=_COMMANDS, module="portcullis.commands.audit_")
def command() -> None:
    """Work with the audit record: the events of all programs in an audit folder."""
