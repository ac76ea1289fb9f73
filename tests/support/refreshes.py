"""Moves the refreshes of one sign-in into the past, so that a test need not wait."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis


def let_pass_since_refreshes(redis: Redis, refresh_token: str, seconds: int) -> None:
    """Move the refreshes of one sign-in this number of seconds further into the past."""
    key = f"grant:{{{refresh_token.split('.', maxsplit=1)[0]}}}"
    ancestors = json.loads(str(redis.hget(key, "ancestors")))
    earlier = [[secret, sealed, used_at - seconds] for secret, sealed, used_at in ancestors or ()]
    redis.hset(key, "ancestors", json.dumps(earlier))
    redis.hincrby(key, "rotated_at", -seconds)
