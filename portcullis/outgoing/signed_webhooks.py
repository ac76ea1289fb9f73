"""Signed webhooks, as Standard Webhooks 1.0 defines them: a JSON body, and three headers with its signature."""

from __future__ import annotations

import base64
import binascii

from oauth_core.crypto.digests import hmac_sha256_bytes

SECRET_PREFIX = "whsec_"
_SHORTEST_SECRET, _LONGEST_SECRET = 24, 64


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


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return f"v1,{base64.b64encode(hmac_sha256_bytes(secret, signed)).decode()}"


def headers(secret: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt; `timestamp` is in seconds since the epoch."""
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, message_id, timestamp, body),
    }
