"""What `portcullis up` says: progress, the line that begins with `ready`, and what to type next."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import click

from portcullis.supervisor.child import Event

if TYPE_CHECKING:
    from pathlib import Path

    from portcullis.supervisor.choices import Choices
    from portcullis.supervisor.fleet import StartFailedError


def progress(name: str, event: Event, text: str) -> None:
    """One line about one child. Troubles go to standard error."""
    click.echo(f"  {name:<16} {text}", err=event in {Event.DIED, Event.FAILED})


def opening(choices: Choices, root: Path) -> None:
    """What is about to happen, and with which settings that one may not expect."""
    click.echo(f"Starting the gateway {choices.settings.issuer}; state and logs in {root}")
    if choices.standin:
        click.echo(
            "Sign-in goes to the local stand-in, since GITHUB_CLIENT_ID is not set: "
            "whoever reaches this machine's loopback can be anybody."
        )
    if choices.admits_everybody:
        click.echo("ALLOWED_GITHUB_USERS is not set: everybody at the stand-in may sign in.")


def ready(choices: Choices) -> None:
    """The line that scripts wait for, then the exact lines that people type next."""
    services = choices.settings.resolved_services
    first = services[0]
    code = json.dumps({"name": first.name, "type": "http", "url": first.resource})
    call = "curl -i -X POST -H 'Content-Type: application/json' -d '{}'"
    lines = [
        f"ready {choices.settings.issuer}",
        "",
        "Add it to Claude Code:",
        *(f"  claude mcp add --transport http {s.name} {shlex.quote(s.resource)}" for s in services),
        "Codex:",
        *(f"  codex mcp add {s.name} --url {shlex.quote(s.resource)}" for s in services),
        "VS Code:",
        f"  code --add-mcp {shlex.quote(code)}",
        f"MCP Inspector (choose Streamable HTTP and {first.resource}):",
        "  npx @modelcontextprotocol/inspector",
        "See the 401 that sends a client to sign in:",
        f"  {call} {shlex.quote(first.resource)}",
        "",
        "Ctrl-C stops everything.",
    ]
    click.echo("\n".join(lines))


def stopped() -> None:
    """The last word after a signal."""
    click.echo("Stopped.")


def failed(error: StartFailedError, logs: Path) -> None:
    """Why the gateway did not start: one line, then the end of what the child said."""
    click.echo(f"portcullis: {error.name} did not start: {error.failure.why}", err=True)
    for line in error.failure.last_lines:
        click.echo(f"  {line}", err=True)
    if error.failure.last_lines:
        click.echo(f"  (all of it in {logs / error.name}.log)", err=True)
