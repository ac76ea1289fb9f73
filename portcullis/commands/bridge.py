"""`portcullis bridge`: a stdio MCP server over streamable HTTP."""

from __future__ import annotations

import asyncio
import sys

import click

from oauth_core.process import logs
from portcullis.bridge import run
from portcullis.programs.serving import parse_address


@click.command("bridge", context_settings={"ignore_unknown_options": True})
@click.option("--listen", required=True, metavar="ADDRESS", help="host:port or unix:/path.")
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="HOST:PORT",
    help="A further name that the gateway calls this server by, beside localhost; may be repeated.",
)
@click.argument("server", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND ...")
def command(listen: str, names: tuple[str, ...], server: tuple[str, ...]) -> None:
    """Serve the stdio MCP server that COMMAND starts as streamable HTTP at /mcp."""
    address = parse_address(listen)
    logs.configure("bridge", "warning")
    if not asyncio.run(run(address, list(server), names)):
        click.echo(f"portcullis: {server[0]} ended by itself", err=True)
        sys.exit(1)
