"""The messages of `portcullis up`: progress, the line that begins with `ready`, and commands to type next."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from portcullis.supervisor.child import Event

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from oauth_core.process.supervision import SupervisionError
    from portcullis.supervisor.console import Console
    from portcullis.supervisor.options import UpOptions
    from portcullis.supervisor.process_group import StartFailedError


def progress(console: Console, name: str, event: Event, text: str) -> None:
    """One line about one child. Failures go to standard error."""
    console.say(f"  {name:<16} {text}", err=event in {Event.DIED, Event.FAILED, Event.NOTED})


def opening(console: Console, options: UpOptions, root: Path) -> None:
    """The first lines: the gateway that starts, and settings that an operator may not expect."""
    console.say(f"Starting the gateway {options.settings.issuer}; state and logs in {root}")
    if options.standin:
        console.say(
            "People sign in at the local stand-in, because GITHUB_CLIENT_ID is not set: "
            "a caller on this machine's loopback can sign in as any user."
        )
    if options.allows_every_user:
        console.say("ALLOWED_GITHUB_USERS is not set: every user of the stand-in may sign in.")


def outdated(console: Console, lines: Iterable[str]) -> None:
    """Settings that the file has under a name of former versions."""
    for line in lines:
        console.say(f"warning: {line}", err=True)


def kept_key(console: Console, path: Path) -> None:
    """The place of the master key that `up` made: without a copy, a lost machine makes every backup useless."""
    console.say(f"Master key: {path} - keep a copy elsewhere; without it no backup can be restored.")


def ready(console: Console, options: UpOptions) -> None:
    """The line that scripts wait for, then the exact commands that people type next."""
    services = options.settings.resolved_services
    first = services[0]
    code = json.dumps({"name": first.name, "type": "http", "url": first.resource})
    call = "curl -i -X POST -H 'Content-Type: application/json' -d '{}'"
    lines = [
        f"ready {options.settings.issuer}",
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
    console.say("\n".join(lines))


def stopped(console: Console) -> None:
    """The last line after a signal."""
    console.say("Stopped.")


def failed(console: Console, error: StartFailedError, logs: Path) -> None:
    """Why the gateway did not start: one line, then the last lines of the child."""
    console.say(f"portcullis: {error.name} did not start: {error.failure.why}", err=True)
    for line in error.failure.last_lines:
        console.say(f"  {line}", err=True)
    if error.failure.last_lines:
        console.say(f"  (all of it in {logs / error.name}.log)", err=True)


def broken(console: Console, error: SupervisionError) -> None:
    """Why the gateway stops without a signal."""
    console.say(f"portcullis: {error}; everything is stopped", err=True)
