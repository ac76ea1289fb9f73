"""What a look at somebody's membership means for everything that they hold here.

GitHub is asked at a sign-in, within a session, at a refresh and on a schedule, mostly because of one client. The
answer is about the person, so it counts for all their grants at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_web.login.eligibility import NotEligibleError, check_still_eligible
from oauth_web.runtime import ended_grants

if TYPE_CHECKING:
    from oauth_core.model import Grant, User
    from oauth_web.login.eligibility import Member
    from oauth_web.runtime.deps import Deps


async def look_again(deps: Deps, user: User, sealed_github_token: str | None) -> Member:
    """`user` and their groups as they are now. If they may not be here, everything that they hold ends.

    Raises `NotEligibleError` then, and `DisplayedError` (503) when GitHub cannot be asked, which ends nothing.
    """
    try:
        return await check_still_eligible(deps, user, sealed_github_token)
    except NotEligibleError as error:
        await end_everything(deps, user, str(error))
        raise


async def end_everything(deps: Deps, user: User, reason: str) -> int:
    """End all grants and sessions of `user` and void what they allowed; answers how many grants ended.

    Nothing is written for somebody who was never admitted here: anybody at GitHub may try to sign in.
    """
    if await deps.users.get(user.github_id) is None and not await deps.grants.of_user(user.github_id):
        return 0
    return len(await ended_grants.recorded(deps, deps.revocation.of_user(user.github_id), reason=reason))


async def update_everything(deps: Deps, member: Member) -> int:
    """Note in all grants of a person what they are called now and their groups; answers how many said otherwise.

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
    """Whether `grant` says the same of its user as was found now."""
    login = None if grant.user is None else grant.user.login
    return (member.user.login, member.groups) == (login, grant.groups)


def _record(deps: Deps, kind: EventKind, grant: Grant, reason: str) -> None:
    deps.audit.record(kind, reason=reason, grant=grant)
