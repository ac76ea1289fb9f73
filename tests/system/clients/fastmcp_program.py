"""FastMCP's client, unmodified, as a separate program: `python -m tests.system.clients.fastmcp_program URL`.

With `--client-metadata-url URL` it uses its metadata document. It keeps its credentials in files under HOME.

It signs in with the program in `BROWSER`. Then it calls each line of standard input, `["tool", {arguments}]`,
and prints the result as a line of JSON: `{"structured": …, "text": […]}`. The first line that it prints is the
list of tools.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from fastmcp import Client
from fastmcp.client.auth import OAuth
from key_value.aio.stores.filetree import (
    FileTreeStore,
    FileTreeV1CollectionSanitizationStrategy,
    FileTreeV1KeySanitizationStrategy,
)


async def _serve(url: str, document: str | None) -> None:
    folder = Path.home() / "credentials"
    folder.mkdir(exist_ok=True)
    store = FileTreeStore(
        data_directory=folder,
        key_sanitization_strategy=FileTreeV1KeySanitizationStrategy(folder),
        collection_sanitization_strategy=FileTreeV1CollectionSanitizationStrategy(folder),
    )
    async with Client(url, auth=OAuth(token_storage=store, client_metadata_url=document)) as client:
        _tell([tool.name for tool in await client.list_tools()])
        while line := await asyncio.to_thread(sys.stdin.readline):
            tool, arguments = json.loads(line)
            result = await client.call_tool(tool, arguments)
            _tell(
                {"structured": result.structured_content, "text": [getattr(c, "text", "") for c in result.content]}
            )


def _tell(value: object) -> None:
    print(json.dumps(value), flush=True)  # noqa: T201 - this is what the program is for


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[3] if sys.argv[3:] else None))
