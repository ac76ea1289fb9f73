"""Signed webhooks, as Standard Webhooks 1.0 defines them: a JSON body, and three headers with its signature."""

from __future__ import annotations

import base64
import binascii
import json
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2

from oauth_core.crypto.digests import hmac_sha256_bytes
from portcullis.alerts.alert import TEST_RULE
from portcullis.alerts.sending import NotTakenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from portcullis.alerts.alert import Alert

SECRET_PREFIX = "whsec_"
_SHORTEST_SECRET, _LONGEST_SECRET = 24, 64
_TIMEOUT_SECONDS = 10.0
_TOTAL_SECONDS = 30.0
_SUCCESS, _REDIRECT = 200, 300


def secret_of(text: str) -> bytes:
    """Return the secret in the text of its file. Raises `ValueError`, whose message does not show it."""
    fault = f"must be {SECRET_PREFIX} and {_SHORTEST_SECRET} to {_LONGEST_SECRET} bytes in base64"
    if not text.startswith(SECRET_PREFIX):
        raise ValueError(fault)
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(fault) from None
    if not _SHORTEST_SECRET <= len(secret) <= _LONGEST_SECRET:
        raise ValueError(fault)
    return secret


def body_of(alert: Alert) -> bytes:
    """Return the body: `type`, `timestamp` and `data`, the same in every attempt but for `causes`."""
    kind = "alert.test" if alert.rule == TEST_RULE else "alert.raised"
    document = {"type": kind, "timestamp": alert.raised, "data": {**alert.document(), "text": alert.text()}}
    return json.dumps(document, separators=(",", ":")).encode()


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return f"v1,{base64.b64encode(hmac_sha256_bytes(secret, signed)).decode()}"


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


class Webhook:
    """Sends alerts to `url`. Any answer of class 2xx accepts one; redirects are not followed."""

    def __init__(
        self, url: str, secret: bytes, *, now: Callable[[], float] = time.time, seconds: float = _TOTAL_SECONDS
    ) -> None:
        self._url = url
        self._secret = secret
        self._now = now
        self._seconds = seconds
        parts = urlsplit(url)
        self.address = f"{parts.scheme}://{parts.hostname or ''}"

    def send(self, alert: Alert) -> None:
        """Send an alert. Raises `NotTakenError`, whose message does not show the address."""
        body = body_of(alert)
        message_id, timestamp = f"alert_{alert.id}", int(self._now())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secret, message_id, timestamp, body),
        }
        try:
            # The answer's body is not read: it could be endless.
            with (
                _Connection(self._seconds) as connection,
                httpx2.Client(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client,
                client.stream(
                    "POST", self._url, content=body, headers=headers, extensions={"trace": connection.follow}
                ) as answer,
            ):
                status, retry_after = answer.status_code, answer.headers.get("retry-after")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise NotTakenError(f"no answer ({type(error).__name__})") from None
        if not _SUCCESS <= status < _REDIRECT:
            raise NotTakenError.answered(status, retry_after, self._now())
