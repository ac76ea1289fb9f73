"""Records of the authorization server in Redis, read and changed with the key that authenticates them.

Tests change a record to make it older than it is. A change without the key would make it a forged one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from oauth_core.store.records.client_documents import Copy, code_of_copy
from tests.support.published_keys import RECORD_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis


def read_record(redis: Redis, place: str) -> dict[str, Any]:
    """The record at a Redis key: a text, or the field `record` of a hash."""
    found = redis.hget(place, "record") if redis.type(place) == "hash" else redis.get(place)
    record: dict[str, Any] = json.loads(RECORD_KEY.open(place, str(found)))
    return record


def change_record(redis: Redis, place: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Put what `change` makes of the record in its place. Its life stays as it is."""
    signed = RECORD_KEY.sign(place, json.dumps(change(read_record(redis, place))))
    if redis.type(place) == "hash":
        redis.hset(place, "record", signed)
    else:
        redis.set(place, signed, keepttl=True)


def age_documents(redis: Redis, then: int) -> None:
    """Let every copy of a client's document have been fetched, and gone stale, at second `then`."""
    for place in redis.scan_iter("document:*"):
        body = str(redis.hget(place, "body"))
        code = code_of_copy(RECORD_KEY, str(place), Copy(body, then, then))
        redis.hset(place, mapping={"fetched_at": then, "fresh_until": then, "code": code})
