"""`portcullis github-standin`: the local stand-in for GitHub."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from oauth_core.process import logs
from portcullis.github_standin.app import create_app
from portcullis.github_standin.settings import read_settings
from portcullis.programs.serving import parse_address, serve


@click.command("github-standin")
@click.option("--listen", required=True, metavar="ADDRESS", help="host:port or unix:/path.")
@click.option("--people", type=click.Path(path_type=Path), help="A JSON file of changed people; read each time.")
def command(listen: str, people: Path | None) -> None:
    """Run the local stand-in for GitHub, for an issuer on this machine.

    Reads ISSUER, GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET (or GITHUB_CLIENT_SECRET_FILE).
    """
    settings = read_settings(os.environ)
    address = parse_address(listen)
    logs.configure("github-standin", "info")
    asyncio.run(serve(create_app(settings, changes=people), address))
