"""Signed webhooks, as Standard Webhooks 1.0 defines them: a JSON body, and three headers with its signature."""

from __future__ import annotations

import base64
import binascii
import json
import time
from typing import TYPE_CHECKING
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
_SUCCESS, _REDIRECT, _GONE = 200, 300, 410


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
    """Return the body: `type`, `timestamp` and `data`, the same in every attempt."""
    kind = "alert.test" if alert.rule == TEST_RULE else "alert.raised"
    document = {"type": kind, "timestamp": alert.raised, "data": {**alert.document(), "text": alert.text()}}
    return json.dumps(document, separators=(",", ":")).encode()


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return f"v1,{base64.b64encode(hmac_sha256_bytes(secret, signed)).decode()}"


class Webhook:
    """Sends alerts to `url`. Any answer of class 2xx accepts one; redirects are not followed."""

    def __init__(self, url: str, secret: bytes, *, now: Callable[[], float] = time.time) -> None:
        self._url = url
        self._secret = secret
        self._now = now
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
            with httpx2.stream(
                "POST", self._url, content=body, headers=headers, timeout=_TIMEOUT_SECONDS, follow_redirects=False
            ) as answer:
                status = answer.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise NotTakenError(f"no answer ({type(error).__name__})") from None
        if not _SUCCESS <= status < _REDIRECT:
            # "410 Gone": the receiver wants no more messages.
            raise NotTakenError(f"it answers {status}", is_final=status == _GONE)
