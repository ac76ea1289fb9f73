"""What answers checks inside one worker: wired here, and kept alive for as long as the worker serves.

It speaks no protocol: the transports bring the bytes and take them away.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ext_authz.check import Authorizer
from ext_authz.facts import FactFinder
from ext_authz.health import Health
from ext_authz.key_cache import KeyCache
from oauth_core.errors import SettingsError
from oauth_core.resources import ServiceIndex
from oauth_core.store.connection import connect
from oauth_core.store.liveness import RedisLiveness
from oauth_core.store.public_keys import PublicKeysStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from oauth_core.audit import AuditSink
    from oauth_core.settings import AuthzSettings

LARGEST_MESSAGE = 1024 * 1024
"""Bytes of a Check. Envoy's own limit on all headers together is 60 KiB unless it is raised."""

_FIRST_KEYS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class CheckServer:
    """One worker's decisions. `failed` ends, with the error, only when the worker must not go on."""

    authorizer: Authorizer
    health: Health
    failed: asyncio.Task[None]

    @property
    def check_now(self) -> Callable[[bytes], bytes | None]:
        """Answers a check that needs no waiting; `None` when it takes `authorizer.check` to answer."""
        return getattr(self.authorizer, "check_now", _never_now)


def _never_now(_message: bytes) -> bytes | None:
    return None


@asynccontextmanager
async def check_server(settings: AuthzSettings, audit: AuditSink) -> AsyncIterator[CheckServer]:
    """Everything between a `CheckRequest` and its answer, with connections of its own.

    It is entered once the keys have been read, or Redis was found to be away. Raises `SettingsError` for an
    address of Redis that is none.
    """
    try:
        redis = connect(settings)
    except ValueError:
        # Without what was said: it may repeat the address, and that may hold a password.
        raise SettingsError(["redis_url: is not the address of a Redis server"]) from None
    health = Health()
    keys = KeyCache(PublicKeysStore(redis, timeout=settings.redis_timeout))
    facts = FactFinder(
        services=ServiceIndex(settings.resolved_services),
        issuer=settings.issuer,
        keys=keys,
        liveness=RedisLiveness(redis, timeout=settings.redis_timeout),
        clock=lambda: int(time.time()),
    )

    async def tell(fresh: bool) -> None:  # noqa: FBT001 - what `watch` calls
        health.report(able=fresh)

    # Watching has no end of its own: if it fails, old keys would be trusted for ever, so the worker ends.
    watching = asyncio.create_task(keys.watch(tell))
    try:
        with suppress(TimeoutError):
            # A worker that takes calls before it has keys would refuse good tokens for no reason.
            async with asyncio.timeout(_FIRST_KEYS_SECONDS):
                await health.reported()
        yield CheckServer(Authorizer(facts, audit), health, watching)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await redis.aclose()
