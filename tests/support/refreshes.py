"""Lets time pass for the refresh tokens of one sign-in, without waiting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis


def let_pass_since_refreshes(redis: Redis, refresh_token: str, seconds: int) -> None:
    """Let the refreshes of one sign-in lie so many seconds further in the past."""
    key = f"grant:{{{refresh_token.split('.', maxsplit=1)[0]}}}"
    ancestors = json.loads(str(redis.hget(key, "ancestors")))
    earlier = [[secret, sealed, used_at - seconds] for secret, sealed, used_at in ancestors or ()]
    redis.hset(key, "ancestors", json.dumps(earlier))
    redis.hincrby(key, "rotated_at", -seconds)
