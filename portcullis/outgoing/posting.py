"""One POST request that ends in a time that is known before, whatever the receiver sends."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

_TIMEOUT_SECONDS = 10.0
TOTAL_SECONDS = 30.0


class NoAnswerError(Exception):
    """There was no answer. The message names the kind of error, and never the address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of an answer, its header `Retry-After`, and the first bytes of its body if they were wanted."""

    status: int
    retry_after: str | None = None
    body: bytes = b""

    @property
    def is_success(self) -> bool:
        """Whether the status is of class 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004


class _Connection:
    """The connection of one attempt, which ends after `seconds`, whatever the receiver sends.

    Each read has a time limit of its own. A receiver that sends a byte now and then, or answers "100 Continue" for
    ever, never reaches it. Such an attempt would keep back all later ones, and the second kind a core too.
    """

    def __init__(self, seconds: float) -> None:
        self._socket: socket.socket | None = None
        self._has_ended = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Connection:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        if self._socket is not None:
            self._socket.close()

    def follow(self, step: str, info: dict[str, Any]) -> None:
        """Take the socket of the connection. The client calls this at each step."""
        if step.endswith(".connect_tcp.complete"):
            # A second descriptor of it, because TLS takes the first one over, and its handshake can be slow too.
            self._socket = info["return_value"].get_extra_info("socket").dup()
            if self._has_ended:
                self._end()

    def _end(self) -> None:
        self._has_ended = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    seconds: float = TOTAL_SECONDS,
    tls: ssl.SSLContext | None = None,
    most: int = 0,
) -> Answer:
    """Send `body` and return the answer with `most` bytes of its body. Redirects are not followed.

    `tls` is the context of the connection; without one, the authorities of the system count. Raises
    `NoAnswerError`.
    """
    try:
        # The answer's body is read no further than asked: it could be endless.
        with (
            _Connection(seconds) as connection,
            httpx2.Client(
                timeout=_TIMEOUT_SECONDS, follow_redirects=False, verify=True if tls is None else tls
            ) as client,
            client.stream(
                "POST", url, content=body, headers=headers, extensions={"trace": connection.follow}
            ) as answer,
        ):
            found = b""
            if most:
                # Not decompressed: a small answer could become a huge one.
                for piece in answer.iter_raw():
                    found += piece
                    if len(found) >= most:
                        break
            return Answer(answer.status_code, answer.headers.get("retry-after"), found[:most])
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise NoAnswerError(f"no answer ({type(error).__name__})") from None
