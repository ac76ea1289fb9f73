"""`portcullis alerts`: alerts about findings. Each command is a module beside this one, imported when it runs."""

from __future__ import annotations

import click

from portcullis.cli.lazy_group import LazyGroup

_COMMANDS = {
    "run": "Run the detection rules again and again, and send alerts.",
    "list": "Show what was sent, what waits, what failed and what is silenced.",
    "test": "Send a test alert, and say whether each destination took it.",
    "silence": "Send no alerts of a rule for a time.",
    "unsilence": "End a silence.",
    "resend": "Send an alert again.",
}


@click.group("alerts", cls=LazyGroup, commands_help=_COMMANDS, module="portcullis.commands.alerts_")
def command() -> None:
    """Send alerts about what detection finds, and see what became of them.

    Destinations are tables `[[alerts.destinations]]` of the settings file.
    """
