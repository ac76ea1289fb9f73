"""Records the end of grants: as audit events, and as notices for the people whose grants they were.

The grants have ended before. A notice that cannot be stored changes nothing.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.errors import StoreUnavailableError
from oauth_core.flows.notices import Notice, NoticeKind
from oauth_core.limits.rate_limits import NO_ADDRESS
from oauth_core.store.records.revocation import IncompleteError
from oauth_web.http.client_addresses import origin

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from oauth_core.model import Client, Grant, User
    from oauth_core.store.clock import RedisClock
    from oauth_web.runtime.deps import Deps


_WITHOUT_SOURCE = frozenset({NoticeKind.NOT_ELIGIBLE, NoticeKind.TOO_MANY_APPS, NoticeKind.APP_ENDED_BY_RESTORE})
"""The request at which these happen is not their cause."""


class GrantEnd(Enum):
    """Why one grant ends: the reason in the audit log, and the notice for its person, if they get one."""

    REFRESH_TOKEN_REUSED = "refresh token reused", NoticeKind.REFRESH_TOKEN_REUSED
    CODE_REPLAYED = "code replayed", NoticeKind.CODE_REPLAYED
    RESTORED = "refreshed after the backup that was restored", NoticeKind.APP_ENDED_BY_RESTORE
    # These ended before: the notice was written then, or the grant was never usable.
    REVOKED_BEFORE = "revoked before", None
    REVOKED_UNREDEEMED = "revoked before it was redeemed", None
    CLIENT_DELETED = "client deleted", None
    CLIENT_DISABLED = "the client is disabled", None
    USER_BLOCKED = "the user is blocked", None

    def __init__(self, reason: str, notice: NoticeKind | None) -> None:
        self.reason = reason
        self.notice = notice


async def revoke_and_audit(
    deps: Deps,
    revocation: Awaitable[tuple[Grant, ...]],
    *,
    reason: str,
    notice: NoticeKind,
    user: User | None = None,
    grant: Grant | None = None,
) -> tuple[Grant, ...]:
    """Await `revocation`, record every grant that it ended, and return these grants.

    Before that it records the intent, with the person or the grant that are to lose their rights, if one is given.
    Their people get `notice`. Raises `IncompleteError` when it could not end everything; the grants that did end
    are recorded first.
    """
    if user is not None or grant is not None:
        await deps.audit.intend_to_end(EventKind.GRANT_REVOKED, reason=reason, user=user, grant=grant)
    try:
        ended = await revocation
    except IncompleteError as error:
        await _record(deps, error.ended, reason, notice)
        raise
    await _record(deps, ended, reason, notice)
    return ended


async def _record(deps: Deps, ended: tuple[Grant, ...], reason: str, notice: NoticeKind) -> None:
    for grant in ended:
        deps.audit.record(EventKind.GRANT_REVOKED, reason=reason, grant=grant)
    await deps.notices.add_ended(ended, here(notice, deps.clock))


async def end_grant(deps: Deps, grant_id: str, client: Client, why: GrantEnd) -> None:
    """End a grant and all its tokens. If the grant was active, record why, and give its person a notice."""
    grant = None
    if why.notice is not None:
        with suppress(StoreUnavailableError, ValueError):  # the end counts, not the notice
            grant = await deps.grants.get(grant_id)
    if grant is not None:
        await deps.audit.intend_to_end(
            EventKind.GRANT_REVOKED, reason=why.reason, client_id=client.client_id, grant=grant
        )
    if not await deps.grants.end(grant_id):
        return
    deps.audit.record(EventKind.GRANT_REVOKED, reason=why.reason, client_id=client.client_id, grant_id=grant_id)
    if grant is not None and why.notice is not None:
        await deps.notices.add_ended([grant], here(why.notice, deps.clock))


def here(kind: NoticeKind, clock: RedisClock) -> Notice:
    """A notice of this second, with the address of the present request, if that has a part in what happened."""
    source = None if kind in _WITHOUT_SOURCE else origin().source
    return Notice(kind, clock(), source=None if source == NO_ADDRESS else source)
