"""Publishes records to a stream of NATS JetStream, one message for each.

The header `Nats-Msg-Id` is the id of the record, so the stream leaves out what it has, within its window for
duplicates. A record counts as taken when the stream has acknowledged it.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from nats import errors
from nats.aio.client import Client
from nats.js import errors as stream_errors

from portcullis.sinks.sending import ATTEMPT_SECONDS, NotTakenError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from nats.js.api import PubAck

    from portcullis.sinks.records import Record

_CONNECT_SECONDS = 10
_AT_ONCE = 64
"""Messages that wait for their acknowledgements at the same time."""


class _Client(Client):
    """A client that sends nothing without TLS to an address that has the scheme of TLS.

    The library begins TLS only if the server asks for it. So an attacker on the network who says that none is
    needed would get the token and the records.
    """

    def _connect_command(self) -> bytes:
        """The first command, which has the token. Raises `SecureConnRequiredError`."""
        is_tls = bool(self._server_info.get("tls_required"))
        if self._current_server is None or (self._current_server.uri.scheme == "tls" and not is_tls):
            raise errors.SecureConnRequiredError
        return super()._connect_command()


class NatsSender:
    """Publishes under `subject`, over a connection that stays. `secret` is a token or `USER:PASSWORD`."""

    def __init__(
        self,
        url: str,
        subject: str,
        secret: str | None = None,
        tls: ssl.SSLContext | None = None,
        *,
        seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._url = url
        self._subject = subject
        user, colon, password = (secret or "").partition(":")
        self._user = user if colon else None
        self._password = password if colon else None
        self._token = None if colon else secret
        self._tls = tls
        self._seconds = seconds
        self._client: Client | None = None
        self._loop = asyncio.new_event_loop()
        # It answers the pings of the server between two batches.
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()

    def send(self, records: Sequence[Record]) -> int:
        """Publish records. Raises `NotTakenError`, whose message does not show the address."""
        doing = asyncio.run_coroutine_threadsafe(
            asyncio.wait_for(self._publish(records), self._seconds), self._loop
        )
        try:
            doing.result()
        except stream_errors.NoStreamResponseError:
            raise NotTakenError(f"no stream stores the subject {self._subject}") from None
        except stream_errors.APIError as error:
            raise NotTakenError(f"the stream refuses the records (code {error.err_code})") from None
        except errors.MaxPayloadError:
            fault = "a record is longer than max_payload of the server allows"
            raise NotTakenError(fault, is_refused=True) from None
        except errors.SecureConnRequiredError:
            self._drop()
            raise NotTakenError("the server offers no TLS") from None
        except (errors.Error, OSError, TimeoutError, ValueError) as error:
            self._drop()
            raise NotTakenError(f"no answer ({type(error).__name__})") from None
        return 0

    def close(self) -> None:
        """End the connection and its thread."""
        self._drop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _publish(self, records: Sequence[Record]) -> None:
        if self._client is None or not self._client.is_connected:
            # Kept before it is connected, so that `_drop` closes what an attempt has left that took too long.
            self._client = _Client()
            await self._client.connect(
                self._url,
                allow_reconnect=False,
                # Otherwise it tries for two minutes; `shipping` knows when to try again.
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=_CONNECT_SECONDS,
                tls=self._tls,
                error_cb=_ignore,
                user=self._user,
                password=self._password,
                token=self._token,
            )
        stream = self._client.jetstream(timeout=self._seconds)

        async def publish(record: Record) -> PubAck:
            headers = {"Nats-Msg-Id": record.id}
            return await stream.publish(self._subject, record.encode(), headers=headers)

        for start in range(0, len(records), _AT_ONCE):
            # One after the other by their order: a stream stores what it gets in the order of the connection.
            await asyncio.gather(*map(publish, records[start : start + _AT_ONCE]))

    def _drop(self) -> None:
        """Close the connection, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                asyncio.run_coroutine_threadsafe(asyncio.wait_for(client.close(), 1.0), self._loop).result()


async def _ignore(_error: Exception) -> None:
    """Do nothing: `send` reports what fails, and the library would log the address."""
