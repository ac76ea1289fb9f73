"""What answers checks inside one worker: wired here, and kept alive for as long as the worker serves.

It speaks no protocol: the transports bring the bytes and take them away.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

from ext_authz.service.assembly import assembled
from ext_authz.service.health import Health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from ext_authz.decision.check import Authorizer
    from ext_authz.metrics.families import Figures
    from oauth_core.audit import AuditSink
    from oauth_core.settings import AuthzSettings

_FIRST_KEYS_SECONDS = 5.0
_NEVER = 1_000_000_000
"""Collections of the young before one of the older."""


@dataclass(frozen=True, slots=True)
class CheckServer:
    """One worker's decisions. `failed` ends, with the error, only when the worker must not go on.

    `figures` returns the counts; it is `None` where there are no metrics.
    """

    authorizer: Authorizer
    health: Health
    failed: asyncio.Future[list[Never]]
    figures: Callable[[], Figures] | None = None


@asynccontextmanager
async def check_server(
    settings: AuthzSettings, audit: AuditSink, environ: Mapping[str, str]
) -> AsyncIterator[CheckServer]:
    """Everything between a `CheckRequest` and its answer, with connections of its own.

    `environ` is what the settings were read from. It is entered once the keys have been read, or Redis was found
    to be away. Raises `SettingsError` for an address of Redis that is none.
    """
    health = Health()

    async def tell(fresh: bool) -> None:  # noqa: FBT001 - what the assembly calls
        health.report(able=fresh)

    async with assembled(settings, audit, tell, environ) as service:
        with suppress(TimeoutError):
            # A worker that takes calls before it has keys would refuse good tokens for no reason.
            async with asyncio.timeout(_FIRST_KEYS_SECONDS):
                await health.reported()
        with suppress(TimeoutError):
            # Sentinels and the servers of a cluster take a moment to agree; until then every status is unknown.
            async with asyncio.timeout(settings.revocation_bound):
                await health.able()
        figures = service.figures if settings.metrics_listen else None
        # What is here by now stays for good: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        with nullcontext() if settings.authz_transport == "grpcio" else _young_collections_only():
            yield CheckServer(service.authorizer, health, service.failed, figures)


@contextmanager
def _young_collections_only() -> Iterator[None]:
    """No collection of everything, which would walk all remembered tokens: a pause of 50 ms for 20,000 of them.

    Nor is one needed, as checks and connections that end leave no circles behind; but calls of grpcio do. Should
    anything else leave a young one, it is collected still.
    """
    before = gc.get_threshold()
    gc.set_threshold(before[0], _NEVER, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
