"""Applies the result of a membership check to all grants and sessions of the person.

The gateway asks GitHub at a sign-in, within a session, at a refresh and on a schedule, mostly because of one
client. The answer is about the person, so it counts for all their grants at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.flows.notices import NoticeKind
from oauth_web.login.eligibility import NotEligibleError, check_still_eligible
from oauth_web.runtime import ended_grants

if TYPE_CHECKING:
    from oauth_core.model import Grant, User
    from oauth_web.login.eligibility import Member
    from oauth_web.runtime.deps import Deps


async def recheck_membership(deps: Deps, user: User, sealed_github_token: str | None) -> Member:
    """`user` and their groups as they are now. If the person is not eligible, all their grants and sessions end.

    Raises `NotEligibleError` then, and `DisplayedError` (503) when GitHub cannot be asked, which ends nothing.
    """
    try:
        return await check_still_eligible(deps, user, sealed_github_token)
    except NotEligibleError as error:
        await end_everything(deps, user, str(error))
        raise


async def end_everything(deps: Deps, user: User, reason: str) -> int:
    """End all grants and sessions of `user` and void what they allowed; returns how many grants ended.

    For a person who was never eligible here it writes nothing: any GitHub user may try to sign in.
    """
    if await deps.users.get(user.github_id) is None and not await deps.grants.of_user(user.github_id):
        return 0
    revocation = deps.revocation.revoke_user(user.github_id)
    ended = await ended_grants.revoke_and_audit(
        deps, revocation, reason=reason, notice=NoticeKind.NOT_ELIGIBLE, user=user
    )
    return len(ended)


async def update_everything(deps: Deps, member: Member) -> int:
    """Write the current login and groups of a person into all their grants; returns how many grants changed.

    The access tokens of those grants end, and clients fetch new ones.
    """
    changed, user, groups = 0, member.user, member.groups
    for grant in await deps.grants.of_user(user.github_id):
        if is_as_granted(member, grant):
            continue
        if await deps.grants.regroup(grant, groups, user) is not None:
            _record(deps, EventKind.GRANT_REGROUPED, grant, f"{user.login}; groups: {' '.join(groups) or 'none'}")
            changed += 1
    return changed


def is_as_granted(member: Member, grant: Grant) -> bool:
    """Whether the login and the groups in `grant` equal the current ones."""
    login = None if grant.user is None else grant.user.login
    return (member.user.login, member.groups) == (login, grant.groups)


def _record(deps: Deps, kind: EventKind, grant: Grant, reason: str) -> None:
    deps.audit.record(kind, reason=reason, grant=grant)
