"""Holds back who asks too often: 429 with `Retry-After`, and a line in the audit log."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import structlog
from quart import request

from oauth_core.audit import AuditEvent, EventKind
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.rate_limits import Limit, read_address, subject_of_address

if TYPE_CHECKING:
    from oauth_web.deps import Deps

_ADDRESS = "X-Portcullis-Address"
_TOO_MANY_REQUESTS = 429
_REPORT_SECONDS = 60


class _MissingAddress:
    """Logs an error when requests come without the address of their caller, at most once a minute.

    Without it every caller behind the proxy shares the limits that are meant for one address.
    """

    def __init__(self) -> None:
        self._silent_until = 0.0

    def report(self) -> None:
        now = monotonic()
        if now < self._silent_until:
            return
        self._silent_until = now + _REPORT_SECONDS
        structlog.get_logger("rates").error(
            "all callers are counted as one address",
            reason=f"the proxy in front of oauth_web sets no usable {_ADDRESS} header",
            see="docs/own-envoy.md",
        )


_missing = _MissingAddress()


def named_address() -> str | None:
    """The subject of the address that the proxy in front names for this request; `None` when it names none.

    Two headers count as none: one of them may be the caller's own.
    """
    named = request.headers.getlist(_ADDRESS)
    return subject_of_address(named[0]) if len(named) == 1 and read_address(named[0]) else None


def caller_address() -> str:
    """The name under which this request's address is counted.

    Envoy sets the address in a header, and removes the caller's own copy of that header. Where no proxy sets it,
    the peer of the connection is counted and an error is logged.
    """
    if (named := named_address()) is not None:
        return named
    _missing.report()
    return subject_of_address(request.remote_addr)


async def hold_back(deps: Deps, limit: Limit, subject: str) -> None:
    """Count one for `subject`. Raises `DisplayedError` when it has had its share."""
    _refuse(deps, limit, await deps.rates.take(limit, deps.settings.rate_of(limit), subject))


async def hold_back_address(deps: Deps, limit: Limit) -> None:
    """Count one for the address of this request. Raises `DisplayedError`."""
    await hold_back(deps, limit, caller_address())


async def hold_back_failures(deps: Deps, client_id: str) -> None:
    """Raises `DisplayedError` when this address failed too often to prove that it is `client_id`."""
    limit = Limit.FAILURES_PER_ADDRESS
    _refuse(deps, limit, await deps.rates.wait_of(limit, deps.settings.rate_of(limit), _pair(client_id)))


async def count_failure(deps: Deps, client_id: str) -> None:
    """Somebody at this address failed to prove that they are `client_id`."""
    limit = Limit.FAILURES_PER_ADDRESS
    await deps.rates.take(limit, deps.settings.rate_of(limit), _pair(client_id))


def _pair(client_id: str) -> str:
    return f"{caller_address()} {client_id}"


def _refuse(deps: Deps, limit: Limit, wait: int) -> None:
    if wait:
        deps.audit.record(AuditEvent(EventKind.RATE_LIMITED, reason=limit))
        raise DisplayedError(
            ErrorCode.TOO_MANY_REQUESTS,
            f"too many requests; try again in {wait} seconds",
            status=_TOO_MANY_REQUESTS,
            retry_after=wait,
        )
