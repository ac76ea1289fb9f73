"""Refuses callers that exceed a rate limit: 429 with `Retry-After`, and an audit event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.limits.rate_limits import Limit, too_many_requests
from oauth_core.refusals import OAuthReason
from oauth_web.http.client_addresses import caller_address

if TYPE_CHECKING:
    from oauth_web.runtime.deps import Deps


async def enforce_limit(deps: Deps, limit: Limit, subject: str, *, cost: int = 1) -> None:
    """Count `cost` for `subject`. Raises `DisplayedError` when its limit is reached."""
    _refuse(deps, limit, await deps.rates.take(limit, deps.settings.rate_of(limit), subject, cost=cost))


async def enforce_address_limit(deps: Deps, limit: Limit, *, cost: int = 1) -> None:
    """Count `cost` for the address of this request. Raises `DisplayedError`."""
    await enforce_limit(deps, limit, caller_address(), cost=cost)


async def enforce_failure_limit(deps: Deps, client_id: str) -> None:
    """Raises `DisplayedError` when this address failed too often to authenticate as `client_id`."""
    limit = Limit.FAILURES_PER_ADDRESS
    _refuse(deps, limit, await deps.rates.wait_of(limit, deps.settings.rate_of(limit), _pair(client_id)))


async def count_failure(deps: Deps, client_id: str) -> None:
    """Count a failed authentication as `client_id` from this address."""
    limit = Limit.FAILURES_PER_ADDRESS
    await deps.rates.take(limit, deps.settings.rate_of(limit), _pair(client_id))


def _pair(client_id: str) -> str:
    return f"{caller_address()} {client_id}"


def _refuse(deps: Deps, limit: Limit, wait: int) -> None:
    if wait:
        deps.audit.record(OAuthReason.TOO_MANY_REQUESTS.event, reason=limit)
        raise too_many_requests(wait)
