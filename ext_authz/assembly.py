"""Puts a check service together: Redis, the local view, the keys, the facts, the record. A transport uses it."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

import structlog

from ext_authz.access_log import AccessLog
from ext_authz.check import Authorizer, Unrecorded
from ext_authz.facts import FactFinder
from ext_authz.key_cache import KeyCache
from ext_authz.permissions import Permissions
from ext_authz.token_memory import TokenMemory
from ext_authz.wire import Names
from oauth_core.errors import SettingsError
from oauth_core.resources import ServiceIndex
from oauth_core.store.connection import connect
from oauth_core.store.local_view import LocalView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from oauth_core.audit import AuditSink
    from oauth_core.settings import AuthzSettings


@dataclass(frozen=True, slots=True)
class Assembled:
    """A check service without a transport.

    `failed` is done when a task in the background has failed, which must end the process: its exception says why.
    """

    authorizer: Authorizer
    keys: KeyCache
    view: LocalView
    failed: asyncio.Future[list[Never]]


@asynccontextmanager
async def assembled(
    settings: AuthzSettings, audit: AuditSink, report: Callable[[bool], Awaitable[None]]
) -> AsyncIterator[Assembled]:
    """A check service that keeps itself up to date inside the block, in the running loop.

    `report` is told again and again whether it can decide anything. Raises `SettingsError` for an address of
    Redis that is none.
    """
    try:
        redis = connect(settings)
    except ValueError:
        # Without what was said: it may repeat the address, and that may hold a password.
        raise SettingsError(["redis_url: is not the address of a Redis server"]) from None
    view = LocalView(
        redis,
        timeout=settings.redis_timeout,
        bound=settings.revocation_bound,
        remembered=settings.remembered_tokens,
        concurrent=settings.concurrent_reads,
        report=_tell_of_link,
    )
    keys = KeyCache(view, changed=view.keys_changed)
    facts = FactFinder(
        services=ServiceIndex(settings.resolved_services),
        keys=keys,
        tokens=TokenMemory(issuer=settings.issuer, size=settings.remembered_tokens),
        liveness=view,
        clock=lambda: int(time.time()),
    )
    log = AccessLog(audit, sys.stdout, program="ext_authz")
    permissions = Permissions(
        Names(settings.identity_headers),
        stream_seconds=settings.stream_seconds,
        call_seconds=settings.call_seconds,
    )
    authorizer = Authorizer(facts, log, Unrecorded() if settings.audit_allowed == "none" else log, permissions)
    # These have no end of their own: if one fails, what is known would be trusted for ever.
    background = [asyncio.create_task(view.keep()), asyncio.create_task(keys.watch(report))]
    failed = asyncio.gather(*background)
    try:
        yield Assembled(authorizer, keys, view, failed)
    finally:
        failed.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        log.close()
        await redis.aclose()


def _tell_of_link(error: str | None) -> None:
    log = structlog.get_logger("view")
    if error is None:
        log.info("view.linked")
    else:
        # Until there is a link again every check asks Redis, and is refused as unknown if that is silent.
        log.warning("view.unlinked", error=error)
