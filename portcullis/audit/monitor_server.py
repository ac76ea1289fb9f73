"""The door of the monitor: `POST /checkpoints`, one request on each connection, with limits on all of it.

It is no entry point for people. A message counts only with the signature of a known key, and the answer has
nothing but the checkpoint that is kept. A connection ends after ten seconds, whatever comes. There are at most 32
connections at once, four of one address, and each holds one message at most.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from oauth_core.audit_log.signed_notes import NoteError
from oauth_core.net.listen_addresses import UnixAddress, parse
from portcullis.audit.checkpoint_monitor import LONGEST_MESSAGE, Reply
from portcullis.audit.monitoring import PATH

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

_LONGEST_HEAD = 8 * 1024
_PATIENCE = 10.0
_HANDSHAKE = 5.0
_MOST_CONNECTIONS = 32
_MOST_OF_AN_ADDRESS = 4
_MOST_DIGITS = 8


@asynccontextmanager
async def serving(
    address: str, take: Callable[[bytes], Reply], report: Callable[[str], None], tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Answer messages with `take` at `address` inside the block. Raises `OSError` if it cannot listen there.

    `report` gets a sentence when `take` raises `OSError` or `NoteError`: then the caller gets 503 and tries again.
    """
    door = _Door(take, report)
    place = parse(address)
    patience = None if tls is None else _HANDSHAKE
    if isinstance(place, UnixAddress):
        place.path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(
            door.answer, place.path, limit=_LONGEST_HEAD, ssl=tls, ssl_handshake_timeout=patience
        )
    else:
        server = await asyncio.start_server(
            door.answer, place.host, place.port, limit=_LONGEST_HEAD, ssl=tls, ssl_handshake_timeout=patience
        )
    try:
        yield
    finally:
        server.close()


class _Door:
    def __init__(self, take: Callable[[bytes], Reply], report: Callable[[str], None]) -> None:
        self._take = take
        self._report = report
        self._open: Counter[str] = Counter()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        peer = writer.get_extra_info("peername")
        source = str(peer[0]) if isinstance(peer, tuple) else "socket"
        if self._open.total() >= _MOST_CONNECTIONS or self._open[source] >= _MOST_OF_AN_ADDRESS:
            writer.transport.abort()
            return
        self._open[source] += 1
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_PATIENCE):
                    reply = await self._reply(reader)
                    writer.write(_written(reply))
                    await writer.drain()
        finally:
            self._open[source] -= 1
            if not self._open[source]:
                del self._open[source]
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader) -> Reply:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *fields = head.split("\r\n")
        if request.split(" ")[:2] != ["POST", PATH]:
            return Reply(HTTPStatus.NOT_FOUND)
        pairs = [field.partition(":") for field in fields]
        lengths = [value.strip() for name, _, value in pairs if name.lower() == "content-length"]
        if len(lengths) != 1 or not (lengths[0].isdigit() and len(lengths[0]) <= _MOST_DIGITS):
            return Reply(HTTPStatus.LENGTH_REQUIRED)
        if int(lengths[0]) > LONGEST_MESSAGE:
            return Reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        message = await reader.readexactly(int(lengths[0]))
        try:
            return self._take(message)
        except OSError as error:
            self._report(f"{error.filename or 'the folder of checkpoints'}: {error.strerror}; nothing was taken")
            return Reply(HTTPStatus.SERVICE_UNAVAILABLE)
        except NoteError as error:
            self._report(f"a kept checkpoint cannot be used: {error}; nothing was taken")
            return Reply(HTTPStatus.SERVICE_UNAVAILABLE)


def _written(reply: Reply) -> bytes:
    body = f"{reply.text}\n{reply.kept}".encode("utf-8", "replace") if reply.text else b""
    head = (
        f"HTTP/1.1 {reply.status.value} {reply.status.phrase}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
