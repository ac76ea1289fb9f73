"""The page for Prometheus: a few lines of HTTP/1.1, for any program that can reach a loopback port or a socket.

It is no entry point: a request changes nothing, and the page names no person.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from ext_authz.net.listen_addresses import cannot_listen, parse
from oauth_core.net.listen_addresses import UnixAddress
from oauth_core.process.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_LONGEST_HEAD = 16 * 1024
_PATIENCE = 5.0


@asynccontextmanager
async def serving(address: str | None, page: Callable[[str], Awaitable[str | None]]) -> AsyncIterator[None]:
    """Answer with `page(path)` at `address` inside the block, if there is an address. Raises `ListenError`."""
    if address is None:
        yield
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _response(head, page))
                await writer.drain()
        writer.close()

    listen_address = parse(address)
    try:
        if isinstance(listen_address, UnixAddress):
            server = await asyncio.start_unix_server(answer, listen_address.path, limit=_LONGEST_HEAD)
        else:
            server = await asyncio.start_server(
                answer, listen_address.host, listen_address.port, limit=_LONGEST_HEAD
            )
    except OSError:
        raise cannot_listen(address) from None
    try:
        yield
    finally:
        server.close()
        if isinstance(listen_address, UnixAddress):
            listen_address.path.unlink(missing_ok=True)


async def _response(head: bytes, page: Callable[[str], Awaitable[str | None]]) -> bytes:
    method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    text = await page(rest.partition(" ")[0].partition("?")[0]) if method == "GET" else None
    status = "404 Not Found" if text is None else "200 OK"
    body = (text or "").encode()
    fields = f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return f"HTTP/1.1 {status}\r\n{fields}".encode() + body
