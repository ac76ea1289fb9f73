"""Sends records as signed webhooks (Standard Webhooks 1.0): one request for each batch."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from oauth_core.crypto.digests import sha256
from portcullis.outgoing import posting, signed_webhooks
from portcullis.outgoing.retry_after import seconds_of
from portcullis.sinks.sending import ATTEMPT_SECONDS, REFUSALS, NotTakenError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from portcullis.sinks.records import Record

TYPE = "audit.records"


class WebhookSender:
    """Sends to `url`. Any answer of class 2xx accepts a batch; redirects are not followed."""

    def __init__(
        self,
        url: str,
        secret: bytes,
        tls: ssl.SSLContext | None = None,
        *,
        now: Callable[[], float] = time.time,
        seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._url = url
        self._secret = secret
        self._tls = tls
        self._now = now
        self._seconds = seconds

    def send(self, records: Sequence[Record]) -> int:
        """Send records. Raises `NotTakenError`, whose message does not show the address."""
        body = body_of(records)
        # The same records have the same id, in every attempt and after a restart.
        message_id = f"audit_{sha256(body).hex()[:32]}"
        headers = signed_webhooks.headers(self._secret, message_id, int(self._now()), body)
        try:
            answer = posting.post(self._url, body, headers, seconds=self._seconds, tls=self._tls)
        except posting.NoAnswerError as error:
            raise NotTakenError(str(error)) from None
        if not answer.is_success:
            raise NotTakenError(
                f"it answers {answer.status}",
                retry_after=seconds_of(answer.retry_after, self._now()),
                is_refused=answer.status in REFUSALS,
            )
        return 0

    def close(self) -> None:
        """Do nothing: there is no connection between two batches."""


def body_of(records: Sequence[Record]) -> bytes:
    """Return the body: `type` and `data` with the records, the same in every attempt."""
    documents = [record.document() for record in records]
    return json.dumps({"type": TYPE, "data": {"records": documents}}, separators=(",", ":")).encode("ascii")
