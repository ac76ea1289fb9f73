"""The check server of one worker: assembled here, and kept alive for as long as the worker serves.

It implements no protocol: the transports carry the bytes.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

from ext_authz.service.assembly import assemble
from ext_authz.service.health import Health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from ext_authz.answers.answer_filter import AnswerFilter
    from ext_authz.decision.check import Authorizer
    from ext_authz.decision.envoy_refusals import EnvoyRefusals
    from oauth_core.process.audit_output import AuditOutput
    from oauth_core.process.metrics import Figures
    from oauth_core.settings import AuthzSettings

_FIRST_KEYS_SECONDS = 5.0
# Both together are less than the time after which the parent replaces a worker that is not ready.
_AGREEMENT_SECONDS = 5.0
_NEVER = 1_000_000_000
"""Collections of the young generation before one of an older one."""


@dataclass(frozen=True, slots=True)
class CheckServer:
    """One worker's decisions. `failed` ends, with the error, only when the worker must end.

    `figures` returns the counts; it is `None` if there are no metrics.
    """

    authorizer: Authorizer
    health: Health
    failed: asyncio.Future[list[Never]]
    envoy_refusals: EnvoyRefusals
    answers: AnswerFilter
    figures: Callable[[], Figures] | None = None


@asynccontextmanager
async def check_server(
    settings: AuthzSettings, audit: AuditOutput, environ: Mapping[str, str]
) -> AsyncIterator[CheckServer]:
    """Yield everything between a `CheckRequest` and its answer, with its own connections.

    The settings were read from `environ`. The block begins once the keys have been read, or Redis was found to be
    unreachable. Raises `SettingsError` for an invalid address of Redis.
    """
    health = Health()

    async def report_state(fresh: bool) -> None:  # noqa: FBT001 - what the assembly calls
        health.report(able=fresh)

    async with assemble(settings, audit, report_state, environ) as service:
        with suppress(TimeoutError):
            # A worker that accepts calls before it has keys would refuse valid tokens without reason.
            async with asyncio.timeout(_FIRST_KEYS_SECONDS):
                await health.wait_for_first_report()
        with suppress(TimeoutError):
            # Sentinels and the servers of a cluster take a moment to agree; until then every status is unknown.
            async with asyncio.timeout(min(settings.revocation_bound, _AGREEMENT_SECONDS)):
                await health.wait_until_able()
        figures = service.figures if settings.metrics_listen else None
        # Present objects stay for ever: the collector need not visit them again and again.
        gc.collect()
        gc.freeze()
        with nullcontext() if settings.authz_transport == "grpcio" else _young_collections_only():
            yield CheckServer(
                service.authorizer, health, service.failed, service.envoy_refusals, service.answers, figures
            )


@contextmanager
def _young_collections_only() -> Iterator[None]:
    """Do no full collection, which would visit all cached tokens: a pause of 50 ms for 20,000 of them.

    None is needed, because checks and connections that end leave no cycles; but calls of grpcio do. Other young
    cycles are still collected.
    """
    before = gc.get_threshold()
    gc.set_threshold(before[0], _NEVER, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
