"""A FastMCP server with sessions: the program of a service in tests of lists and of sessions.

    python -m tests.system.gateway.listing_server ADDRESS (json|events)

It answers with one JSON text or with an event stream.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from fastmcp import FastMCP

from portcullis.programs.serving import parse_address, serve


def create_server() -> FastMCP[Any]:
    """A server of which readers may use one half."""
    server: FastMCP[Any] = FastMCP("listing")

    @server.tool
    def get_note(name: str) -> str:
        """Read a note."""
        return f"note {name}"

    @server.tool
    def purge() -> str:
        """Delete all notes."""
        return "purged"

    @server.prompt
    def read_aloud() -> str:
        """Read a note aloud."""
        return "Read it."

    @server.prompt
    def tidy_up() -> str:
        """Delete old notes."""
        return "Delete them."

    @server.resource("file:///public/index")
    def index() -> str:
        """The names of the notes."""
        return "a, b"

    @server.resource("file:///private/key")
    def key() -> str:
        """The key of the notes."""
        return "a key"

    @server.resource("file:///public/{name}")
    def note(name: str) -> str:
        """A note."""
        return name

    @server.resource("file:///private/{name}")
    def private_note(name: str) -> str:
        """A private note."""
        return name

    return server


def main() -> None:
    """Serve at `/mcp` until the process is ended."""
    address, form = sys.argv[1:]
    app = create_server().http_app(path="/mcp", json_response=form == "json")
    asyncio.run(serve(app, parse_address(address)))


if __name__ == "__main__":
    main()
