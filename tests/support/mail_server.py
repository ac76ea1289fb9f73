"""A real mail server for tests."""

from __future__ import annotations

import asyncio
import email
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import policy
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage

    from aiosmtpd.smtp import Envelope, Session


@dataclass
class Mailbox:
    """A mail server on loopback, and the mails that it took. Its answer to each mail is `answer`."""

    port: int = 0
    answer: str = "250 OK"
    attempts: int = 0
    mails: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
    ) -> str:
        """Take a mail; the server calls this."""
        self.attempts += 1
        if not self.answer.startswith("250"):
            return self.answer
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(email.message_from_bytes(content, policy=policy.default))
        return self.answer


@contextmanager
def mail_server(**options: Any) -> Iterator[Mailbox]:
    """Run a mail server until the block ends. The options are those of `aiosmtpd.smtp.SMTP`."""
    box, listening = Mailbox(), socket.create_server(("127.0.0.1", 0))
    box.port = listening.getsockname()[1]
    loop = asyncio.new_event_loop()

    async def start() -> asyncio.Server:
        return await loop.create_server(
            lambda: SMTP(box, loop=loop, hostname="mail.test", **options), sock=listening
        )

    async def stop() -> None:
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await server.wait_closed()

    server = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield box
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
