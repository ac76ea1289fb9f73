"""The entry point: finds the subcommand, and prints expected faults as one line, with an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings. A subcommand is imported only when it runs, so that
`portcullis --help` is fast and a container needs only the packages of its command.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import click

from oauth_core.errors import SettingsError
from oauth_core.process import standard_streams
from portcullis.cli.lazy_group import LazyGroup

_COMMANDS = {
    "up": "Run the whole gateway on this machine.",
    "envoy": "Render the Envoy configuration.",
    "config": "Show every setting, its source, and what is unsafe.",
    "acme": "Get the certificate from an ACME authority, and keep it renewed.",
    "keys": "List, rotate and retire signing keys.",
    "clients": "Make machine clients, invite others; list, show, revoke and delete clients.",
    "users": "List people, revoke all they hold, block them.",
    "grants": "List what people allowed to clients; revoke a grant.",
    "tokens": "List active access tokens; revoke one, or all.",
    "services": "List services, disable and enable them.",
    "policy": "Check, explain and test roles and permissions.",
    "audit": "Seal the audit record, and verify that it is complete and unaltered.",
    "alerts": "Send alerts about what detection finds; list, test and silence them.",
    "backup": "Write clients, sign-ins and keys into one encrypted file.",
    "restore": "Write such a file into Redis.",
    "pause": "Pause sign-ins.",
    "resume": "Resume sign-ins.",
    "migrate": "Migrate the records in Redis to this version.",
    "doctor": "Check a running gateway from outside, with attacks.",
    "bench": "Measure the speed of the check path, beside other services.",
    "bridge": "Serve a stdio MCP server over streamable HTTP.",
    "example-server": "Run the example MCP server, which shows the identity that the gateway sends.",
    "github-standin": "Run the local stand-in for GitHub (loopback only).",
}


@click.command(
    cls=LazyGroup,
    commands_help=_COMMANDS,
    module="portcullis.commands.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(version("mcp-portcullis"), prog_name="portcullis")
def cli() -> None:
    """An OAuth 2.1 authorization server and an Envoy external-authorization service for MCP."""


def main() -> None:
    """Run the command line and exit with its code."""
    standard_streams.open_closed_ones()
    try:
        cli.main(standalone_mode=False)
    except SettingsError as error:
        for fault in error.faults:
            click.echo(f"portcullis: {fault}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
