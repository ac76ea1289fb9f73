"""Records the audit events of grants that an `oauth_core.store.records.revocation.Revocation` ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.store.records.revocation import IncompleteError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from oauth_core.model import Grant
    from oauth_web.runtime.deps import Deps


async def revoke_and_audit(
    deps: Deps, revocation: Awaitable[tuple[Grant, ...]], *, reason: str
) -> tuple[Grant, ...]:
    """Await `revocation`, record every grant that it ended, and return these grants.

    Raises `IncompleteError` when it could not end everything; the grants that did end are recorded first.
    """
    try:
        ended = await revocation
    except IncompleteError as error:
        _record(deps, error.ended, reason)
        raise
    _record(deps, ended, reason)
    return ended


def _record(deps: Deps, ended: tuple[Grant, ...], reason: str) -> None:
    for grant in ended:
        deps.audit.record(EventKind.GRANT_REVOKED, reason=reason, grant=grant)
