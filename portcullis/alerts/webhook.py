"""Alerts as signed webhooks (Standard Webhooks 1.0)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from portcullis.alerts.alert import TEST_RULE
from portcullis.alerts.sending import NotTakenError
from portcullis.outgoing import posting, signed_webhooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from portcullis.alerts.alert import Alert


def body_of(alert: Alert) -> bytes:
    """Return the body: `type`, `timestamp` and `data`, the same in every attempt but for `causes`."""
    kind = "alert.test" if alert.rule == TEST_RULE else "alert.raised"
    document = {"type": kind, "timestamp": alert.raised, "data": {**alert.document(), "text": alert.text()}}
    return json.dumps(document, separators=(",", ":")).encode()


class Webhook:
    """Sends alerts to `url`. Any answer of class 2xx accepts one; redirects are not followed."""

    def __init__(
        self,
        url: str,
        secret: bytes,
        *,
        now: Callable[[], float] = time.time,
        seconds: float = posting.TOTAL_SECONDS,
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
        headers = signed_webhooks.headers(self._secret, f"alert_{alert.id}", int(self._now()), body)
        try:
            answer = posting.post(self._url, body, headers, seconds=self._seconds)
        except posting.NoAnswerError as error:
            raise NotTakenError(str(error)) from None
        if not answer.is_success:
            raise NotTakenError.answered(answer.status, answer.retry_after, self._now())
