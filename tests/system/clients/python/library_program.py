"""MCP clients of PyPI that need an environment of their own: `library_program.py LIBRARY URL`, with the Python of
that environment.

LIBRARY is `openai-agents`, `langchain-mcp-adapters` or `pydantic-ai-slim`. With `--client-metadata-url URL` it
uses its metadata document. The credentials are kept in files under HOME. The lines are those of
`tests.system.clients.fastmcp_program`: a line of tools, then a line for each call.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

_DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nConnected."


class FileStorage:
    """The storage that an application gives to the SDK: one file for each of the two records."""

    def __init__(self, folder):
        self._tokens, self._client = folder / "tokens.json", folder / "client.json"

    async def get_tokens(self):
        return OAuthToken.model_validate_json(self._tokens.read_text()) if self._tokens.exists() else None

    async def set_tokens(self, tokens):
        _replace(self._tokens, tokens.model_dump_json(exclude_none=True))

    async def get_client_info(self):
        if not self._client.exists():
            return None
        return OAuthClientInformationFull.model_validate_json(self._client.read_text())

    async def set_client_info(self, client_info):
        _replace(self._client, client_info.model_dump_json(exclude_none=True))


def _replace(path, text):
    # Other processes of the same application read this file.
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


@asynccontextmanager
async def _provider(url, document):
    """The SDK's provider, which signs in with the program in BROWSER and a server for the redirect."""
    came_back = asyncio.Queue()

    async def answer(reader, writer):
        came_back.put_nowait((await reader.readline()).decode("ascii").split(" ")[1])
        writer.write(_DONE)
        await writer.drain()
        writer.close()

    async def redirect(url):
        await asyncio.create_subprocess_exec(os.environ["BROWSER"], url)

    async def callback():
        back = parse_qs(urlsplit(await came_back.get()).query)
        return back["code"][0], back.get("state", [None])[0]

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        metadata = OAuthClientMetadata.model_validate(
            {"client_name": f"Example app: {sys.argv[1]}", "redirect_uris": [f"http://127.0.0.1:{port}/callback"]}
        )
        yield OAuthClientProvider(
            url,
            metadata,
            FileStorage(Path.home()),
            redirect_handler=redirect,
            callback_handler=callback,
            client_metadata_url=document,
        )


@asynccontextmanager
async def openai_agents(url, document):
    from agents.mcp import MCPServerStreamableHttp

    async with _provider(url, document) as provider:
        params = {"url": url, "auth": provider, "timeout": 60}
        async with MCPServerStreamableHttp(params, client_session_timeout_seconds=60) as server:

            async def call(tool, arguments):
                result = await server.call_tool(tool, arguments)
                return {
                    "structured": result.structuredContent,
                    "text": [getattr(c, "text", "") for c in result.content],
                }

            yield [tool.name for tool in await server.list_tools()], call


@asynccontextmanager
async def langchain(url, document):
    from langchain_mcp_adapters.client import MultiServerMCPClient

    async with _provider(url, document) as provider:
        client = MultiServerMCPClient({"it": {"transport": "http", "url": url, "auth": provider}})
        tools = {tool.name: tool for tool in await client.get_tools()}

        async def call(tool, arguments):
            message = await tools[tool].ainvoke({"type": "tool_call", "id": "1", "name": tool, "args": arguments})
            return {
                "structured": (message.artifact or {}).get("structured_content"),
                "text": [str(message.content)],
            }

        yield list(tools), call


@asynccontextmanager
async def pydantic_ai(url, document):
    from fastmcp.client.auth import OAuth
    from key_value.aio.stores.filetree import (
        FileTreeStore,
        FileTreeV1CollectionSanitizationStrategy,
        FileTreeV1KeySanitizationStrategy,
    )
    from pydantic_ai.mcp import MCPToolset

    folder = Path.home() / "store"
    folder.mkdir(exist_ok=True)
    store = FileTreeStore(
        data_directory=folder,
        key_sanitization_strategy=FileTreeV1KeySanitizationStrategy(folder),
        collection_sanitization_strategy=FileTreeV1CollectionSanitizationStrategy(folder),
    )
    auth = OAuth(client_name="Example app: pydantic-ai", token_storage=store, client_metadata_url=document)
    async with MCPToolset(
        url, auth=auth, tool_error_behavior="error", init_timeout=120, read_timeout=60
    ) as toolset:

        async def call(tool, arguments):
            result = await toolset.direct_call_tool(tool, arguments)
            return {"structured": result, "text": []}

        yield [tool.name for tool in await toolset.list_tools()], call


LIBRARIES = {
    "openai-agents": openai_agents,
    "langchain-mcp-adapters": langchain,
    "pydantic-ai-slim": pydantic_ai,
}


async def main(library, url, document):
    async with LIBRARIES[library](url, document) as (tools, call):
        print(json.dumps(tools), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await call(*json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[4] if sys.argv[4:] else None))
