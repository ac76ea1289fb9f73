"""Serves a stdio MCP server as streamable HTTP at `/mcp`.

One child serves all callers, over one session. So the bridge does not forward messages that the child starts by
itself (sampling, elicitation, logging): it cannot know their caller, and they could reach the wrong person. If the
child dies, the bridge ends, and the supervisor starts both again.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Unpack

import anyio
from fastmcp import Client
from fastmcp.client.transports import ClientTransport
from fastmcp.client.transports.base import TransportOptions
from fastmcp.server.providers.proxy import FastMCPProxy
from mcp import MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client

from oauth_core.net.listen_addresses import ListenAddress, TcpAddress
from oauth_core.process.launch import wrap
from portcullis.programs.serving import LOCAL_HOSTS, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from anyio.streams.memory import MemoryObjectSendStream
    from fastmcp.client.transports.base import SessionKwargs
    from mcp import ClientSession
    from mcp.shared._stream_protocols import ReadStream
    from mcp.shared.message import SessionMessage


class _WatchedStdio(ClientTransport):
    """A stdio connection that sets `gone` when the child closes its output, as it does when it dies."""

    def __init__(self, command: list[str], gone: asyncio.Event) -> None:
        self._command = command
        self._gone = gone

    @asynccontextmanager
    async def connect_session(
        self, *, transport_options: TransportOptions | None = None, **session_kwargs: Unpack[SessionKwargs]
    ) -> AsyncIterator[ClientSession]:
        """Start the child and open an MCP session with it."""
        options = transport_options or TransportOptions()
        program, *arguments = wrap(self._command)
        parameters = StdioServerParameters(command=program, args=arguments, env=dict(os.environ))
        sender, receiver = anyio.create_memory_object_stream["SessionMessage | Exception"]()
        async with (
            stdio_client(parameters, errlog=sys.stderr) as (from_child, to_child),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self._pump, from_child, sender)
            async with options.session_class(receiver, to_child, **session_kwargs) as session:
                yield session
            tasks.cancel_scope.cancel()

    async def _pump(
        self,
        from_child: ReadStream[SessionMessage | Exception],
        sender: MemoryObjectSendStream[SessionMessage | Exception],
    ) -> None:
        async with sender:
            async for message in from_child:
                await sender.send(message)
            self._gone.set()


async def run(address: ListenAddress, command: list[str], names: Sequence[str] = ()) -> bool:
    """Serve `command` until SIGTERM. Returns `False` when the child died instead.

    `names` are further accepted `Host` values, besides those of this machine.
    """
    gone = asyncio.Event()
    client = Client(_WatchedStdio(command, gone))
    try:
        async with client:
            proxy = FastMCPProxy(client_factory=lambda: client, identity="upstream")
            local_only = isinstance(address, TcpAddress)
            app = proxy.http_app(
                path="/mcp",
                # A web page must not reach a TCP port by another name (DNS rebinding); see
                # example_server.create_app.
                host_origin_protection=local_only,
                allowed_hosts=[*LOCAL_HOSTS, *names] if local_only else None,
            )
            stop = asyncio.Event()
            watcher = asyncio.create_task(_set_when(gone, stop))
            await serve(app, address, stop)
            watcher.cancel()
    except (RuntimeError, MCPError):
        if not gone.is_set():
            raise
    return not gone.is_set()


async def _set_when(cause: asyncio.Event, effect: asyncio.Event) -> None:
    await cause.wait()
    effect.set()
