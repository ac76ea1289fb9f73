"""The master key of tests, and data authenticated with it: signed key sets, and records in Redis.

Tests change a record to make it older. A change without the key makes it a forged record.
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

from oauth_core.crypto.record_authentication import RecordKey
from oauth_core.jose.jwk_set_signature import KeySetSigner
from oauth_core.jose.signing_keys import public_jwks
from oauth_core.policy.session_binding import session_key
from oauth_core.store.records.client_documents import Copy, code_of_copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from oauth_core.jose.signing_keys import SigningKey

MASTER_KEY_BYTES = bytes(range(32))
MASTER_KEY = base64.b64encode(MASTER_KEY_BYTES).decode()
SIGNER = KeySetSigner(MASTER_KEY_BYTES)
SESSION_KEY = session_key(MASTER_KEY_BYTES)
CHECK_KEYS = {"JWKS_VERIFICATION_KEY": SIGNER.verification_key, "SESSION_KEY": SESSION_KEY}
"""The variables of the check service that belong to the master key."""
RECORD_KEY = RecordKey(MASTER_KEY_BYTES)


def published(*keys: SigningKey, signer: KeySetSigner = SIGNER) -> str:
    """The document that publishes exactly these keys. A later call returns a later version."""
    return signer.sign(public_jwks(keys), version=time.time_ns() // 1000)


def read_record(redis: Redis, place: str) -> dict[str, Any]:
    """The record at a Redis key: a text, or the field `record` of a hash."""
    found = redis.hget(place, "record") if redis.type(place) == "hash" else redis.get(place)
    record: dict[str, Any] = json.loads(RECORD_KEY.open(place, str(found)))
    return record


def change_record(redis: Redis, place: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace the record by the result of `change`. Its expiry is unchanged."""
    signed = RECORD_KEY.sign(place, json.dumps(change(read_record(redis, place))))
    if redis.type(place) == "hash":
        redis.hset(place, "record", signed)
    else:
        redis.set(place, signed, keepttl=True)


def age_documents(redis: Redis, then: int) -> None:
    """Make every copy of a client's document fetched, and outdated, at second `then`."""
    for place in redis.scan_iter("document:*"):
        body = str(redis.hget(place, "body"))
        code = code_of_copy(RECORD_KEY, str(place), Copy(body, then, then))
        redis.hset(place, mapping={"fetched_at": then, "fresh_until": then, "code": code})
