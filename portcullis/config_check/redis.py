"""Checks of Redis, so that no record is lost: persistence, memory, eviction."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from oauth_core.errors import StoreUnavailableError
from oauth_core.settings.production import Advice
from oauth_core.settings.quotas import QuotaSettings
from oauth_core.store import clock
from oauth_core.store.connection import connect, guarded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from redis.asyncio import Redis

    from oauth_core.settings import RedisSettings

_SETTING = "redis.url"
_NEARLY_FULL = 0.8
_MEGABYTE = 1_048_576
_MAY_NOT_ASK = "this Redis user may not use INFO; use another user"
_NO_FILE = "has no append-only file: make sure that it is persistent in another way"

UNSAID = frozenset({_MAY_NOT_ASK, _NO_FILE})
"""Advice that does not show whether records survive a restart."""


async def check_redis(settings: RedisSettings) -> list[Advice]:
    """Check the Redis of `settings`. Raises `StoreUnavailableError`."""
    redis = connect(settings)
    try:
        async with guarded():
            try:
                about: dict[str, Any] = await redis.info("everything")
            except ResponseError:
                return [Advice("note", _SETTING, _MAY_NOT_ASK)]
            try:
                saves: str | None = (await redis.config_get("save")).get("save")
            except ResponseError:
                saves = None  # a managed Redis refuses CONFIG
        quotas = sum(settings.quotas.values()) if isinstance(settings, QuotaSettings) else 0
        return [*advice(about, saves, quotas=quotas), *await _clocks(redis)]
    finally:
        await redis.aclose()


async def _clocks(redis: Redis) -> list[Advice]:
    """Compare the clocks of this machine and Redis."""
    try:
        ahead = time.time() - await clock.seconds(redis)
    except StoreUnavailableError:
        return []  # this Redis user may not use TIME
    if abs(ahead) < clock.NOTICEABLE:
        return []
    text = f"its clock and this machine's differ by {abs(ahead):.0f} s: keep them in step (NTP)"
    return [Advice("unsafe", _SETTING, text)]


def advice(about: Mapping[str, Any], saves: str | None, *, quotas: int = 0) -> Iterator[Advice]:
    """Advice from `about`, the answer to `INFO`, and `saves`, that to `CONFIG GET save` (`None` if refused).

    `quotas` are the bytes that unauthenticated callers may fill (`oauth_core.limits.quotas`).
    """
    if not about.get("aof_enabled"):
        if saves:
            text = "writes records to disk only at intervals (save): set appendonly yes, or a crash loses sign-ins"
            yield Advice("unsafe", _SETTING, text)
        elif saves is not None:
            text = "keeps records in memory only: set appendonly yes, or a restart signs all people out"
            yield Advice("unsafe", _SETTING, text)
        else:
            yield Advice("note", _SETTING, _NO_FILE)
    if about.get("aof_last_write_status", "ok") != "ok" or about.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Advice("unsafe", _SETTING, "could not write its last file: look at its disk and its log")
    policy, most = about.get("maxmemory_policy", "noeviction"), int(about.get("maxmemory", 0))
    if policy != "noeviction":
        text = f"evicts records when memory runs out ({policy}): set maxmemory-policy noeviction"
        yield Advice("unsafe", _SETTING, text)
    if most == 0:
        yield Advice("note", _SETTING, "has no maxmemory: the kernel may end it when the machine runs out")
    elif int(about.get("used_memory", 0)) > most * _NEARLY_FULL:
        yield Advice("unsafe", _SETTING, "is nearly full: sign-ins will fail soon; raise maxmemory")
    if 0 < most < 2 * quotas:
        yield Advice(
            "unsafe",
            _SETTING,
            f"has a maxmemory of {most // _MEGABYTE} MB, and unauthenticated callers may fill "
            f"{quotas // _MEGABYTE} MB of it: raise it to twice that, or lower the "
            "quotas (quotas.registrations_megabytes and similar)",
        )
