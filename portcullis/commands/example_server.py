"""`portcullis example-server`: the example MCP server."""

from __future__ import annotations

import asyncio

import click

from oauth_core.process import logs
from portcullis.example_server import create_app
from portcullis.programs.serving import parse_address, serve


@click.command("example-server")
@click.option("--listen", required=True, metavar="ADDRESS", help="host:port or unix:/path.")
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="HOST:PORT",
    help="A further name that the gateway calls this server by, beside localhost; may be repeated.",
)
def command(listen: str, names: tuple[str, ...]) -> None:
    """Run the example MCP server at /mcp; its tool `whoami` shows who the gateway says you are."""
    address = parse_address(listen)
    logs.configure("example-server", "warning")
    asyncio.run(serve(create_app(address, names), address))
