"""The Python SDK's client, unmodified: `python -m tests.system.clients.python_sdk_program URL`.

With `--client-metadata-url URL` it uses its metadata document. It keeps its credentials in files under HOME.

Its lines are those of `tests.system.clients.fastmcp_program`: a line of tools, then a line for each call.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)

_DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nConnected."


class FileStorage:
    """The storage that an application gives to the SDK: one file for each of the two records."""

    def __init__(self, folder: Path) -> None:
        self._tokens, self._client = folder / "tokens.json", folder / "client.json"

    async def get_tokens(self) -> OAuthToken | None:
        """The tokens, or `None` before the sign-in."""
        return OAuthToken.model_validate_json(self._tokens.read_text()) if self._tokens.exists() else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep new tokens."""
        _replace(self._tokens, tokens.model_dump_json(exclude_none=True))

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """The registration, or `None` before it."""
        if not self._client.exists():
            return None
        return OAuthClientInformationFull.model_validate_json(self._client.read_text())

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep a registration."""
        _replace(self._client, client_info.model_dump_json(exclude_none=True))


def _replace(path: Path, text: str) -> None:
    # Other processes of the same application read this file.
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


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
            FileStorage(Path.home()),
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
