"""The Python SDK's client, unmodified: `python -m tests.system.clients.python_sdk_program URL`.

With `--client-metadata-url URL` it uses its metadata document.

Its lines are those of `tests.system.clients.fastmcp_program`: a line of tools, then a line for each call.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from portcullis.doctor.client import SessionStorage

_DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nConnected."


async def _serve(url: str, document: str | None) -> None:
    came_back: asyncio.Queue[str] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came_back.put_nowait((await reader.readline()).decode("ascii").split(" ")[1])
        writer.write(_DONE)
        await writer.drain()
        writer.close()

    async def redirect(url: str) -> None:
        await asyncio.create_subprocess_exec(os.environ["BROWSER"], url)

    async def callback() -> AuthorizationCodeResult:
        answer = parse_qs(urlsplit(await came_back.get()).query)
        return AuthorizationCodeResult(
            code=answer["code"][0], state=answer.get("state", [None])[0], iss=answer.get("iss", [None])[0]
        )

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        metadata = OAuthClientMetadata.model_validate(
            {"client_name": "Example app", "redirect_uris": [f"http://127.0.0.1:{port}/callback"]}
        )
        provider = OAuthClientProvider(
            url,
            metadata,
            SessionStorage(),
            redirect_handler=redirect,
            callback_handler=callback,
            client_metadata_url=document,
        )
        async with (
            httpx2.AsyncClient(auth=provider, timeout=60.0) as http,
            Client(streamable_http_client(url, http_client=http), read_timeout_seconds=30.0) as client,
        ):
            _tell([tool.name for tool in (await client.list_tools()).tools])
            while line := await asyncio.to_thread(sys.stdin.readline):
                tool, arguments = json.loads(line)
                result = await client.call_tool(tool, arguments)
                texts = [getattr(part, "text", "") for part in result.content]
                _tell({"structured": result.structured_content, "text": texts})


def _tell(value: object) -> None:
    print(json.dumps(value), flush=True)  # noqa: T201 - this is what the program is for


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[3] if sys.argv[3:] else None))
