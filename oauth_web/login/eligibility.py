"""Whether somebody may be here, and in which groups: asked when they sign in, at every refresh and on a schedule.

A grant outlives the day on which its user left. So the rule is applied anew each time a client refreshes: a user
taken off the list, out of the organisation or out of the team loses the grant then, half an hour later at most.
`oauth_web.login.membership_schedule` asks about those who do not refresh.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.crypto.sealing import UnsealError, seal, unseal
from oauth_core.model import KnownUser
from oauth_core.policy.eligibility import logins_among
from oauth_core.refusals import OAuthReason, refused
from oauth_web.connectors.github import GitHubRefusedError, GitHubUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oauth_core.model import User
    from oauth_web.connectors.github import SignedIn
    from oauth_web.runtime.deps import Deps

_MOST_OTHERS = 3


class NotEligibleError(Exception):
    """`user` may not use the gateway. The message is for the audit log."""

    def __init__(self, user: User, reason: str) -> None:
        super().__init__(reason)
        self.user = user


@dataclass(frozen=True)
class Eligibility:
    """What a sign-in found out: `groups` as in `Grant`, and the GitHub token, sealed, to ask again."""

    groups: tuple[str, ...] = ()
    sealed_github_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Member:
    """Somebody who may be here, as they are called at this moment, and their groups."""

    user: User
    groups: tuple[str, ...]


def groups_that_matter(deps: Deps) -> frozenset[str]:
    """Every organisation and team that may decide about somebody."""
    return deps.settings.admission.groups | _groups_of_policy(deps)


def logins_that_matter(deps: Deps) -> frozenset[str]:
    """Every login that a list or a role names without saying which account is meant."""
    return logins_among(deps.settings.admission.users) | deps.policy.current.logins_mentioned


async def check_eligibility(deps: Deps, signed_in: SignedIn) -> Eligibility:
    """Let `signed_in` in. Raises `NotEligibleError`, `GitHubRefusedError` and `GitHubUnavailableError`."""
    user = signed_in.user
    await _check_not_blocked(deps, user)
    await _check_login_is_theirs(deps, user, by_github=True)
    asked = asks_github(deps, user)
    member = await _member(deps, user, signed_in.token if asked else None)
    await deps.users.remember(KnownUser(user, deps.clock()))
    if not asked:
        return Eligibility(member.groups)
    sealed = seal(signed_in.token.encode(), deps.settings.master_key_bytes, context=_context(user))
    return Eligibility(member.groups, base64.b64encode(sealed).decode())


def can_be_asked_about(deps: Deps, user: User, sealed_github_token: str | None) -> bool:
    """Whether we can find out anew what we must know of `user`. If not, they have to sign in again."""
    return sealed_github_token is not None or not asks_github(deps, user)


async def check_still_eligible(deps: Deps, user: User, sealed_github_token: str | None) -> Member:
    """Pass when the user of a grant may still be here; answers what they are called and their groups now.

    Raises `NotEligibleError` when not, and `DisplayedError` (503) when GitHub cannot be asked: an outage there
    must not sign anybody out.
    """
    await _check_not_blocked(deps, user)
    # Somebody who signed in since may have been called otherwise then.
    known = await deps.users.get(user.github_id)
    user = user if known is None else known.user
    if not asks_github(deps, user):
        await _check_login_is_theirs(deps, user, by_github=known is not None and not known.is_vouched_for)
        return await _member(deps, user, None)
    fault = None
    async for sealed in _kept_tokens(deps, user, sealed_github_token):
        try:
            return await _member(deps, user, _unsealed(deps, user, sealed))
        except UnsealError:
            fault = "the kept GitHub token cannot be opened"
        except GitHubRefusedError as error:
            fault = f"GitHub refused: {error}"
        except GitHubUnavailableError:
            raise refused(OAuthReason.GITHUB_UNREACHABLE) from None
    # Somebody whose groups matter and who signed in when they did not has to sign in again: to be in no group may
    # mean to be forbidden less.
    unknown = "groups matter now" if deps.settings.admission.admits_by_name(user) else "no longer on the list"
    raise NotEligibleError(user, fault or f"{unknown}, and no GitHub token was kept to ask with")


async def _check_login_is_theirs(deps: Deps, user: User, *, by_github: bool) -> None:
    """Pass when no list or role means another account by the login of `user`; else raise `NotEligibleError`.

    GitHub gives a login that became free to the next account that asks for it. So a listed login means the first
    account that was seen under it, until an operator agrees to another. Only what GitHub says counts as seen
    (`by_github`): a person may be able to edit what an identity provider says of them.
    """
    login = user.login.lower()
    if login not in logins_that_matter(deps):
        return
    account = await deps.users.account_of(login, first_seen=user.github_id if by_github else None)
    if account in {None, user.github_id}:
        return
    reason = (
        f"the listed login {user.login} means account {account}, not {user.github_id}; "
        f"to agree: portcullis users accept {user.login}#{user.github_id}"
    )
    deps.audit.record(EventKind.LOGIN_CHANGED_HANDS, reason=reason, user=user)
    raise NotEligibleError(user, reason)


def asks_github(deps: Deps, user: User) -> bool:
    """Whether GitHub has to be asked to know the standing of `user`."""
    return bool(_groups_to_ask_about(deps, user))


async def _kept_tokens(deps: Deps, user: User, own: str | None) -> AsyncIterator[str]:
    """Sealed GitHub tokens of `user`: that of the grant in question, then those of later sign-ins, the last first.

    GitHub keeps ten tokens of a person and an app and drops the oldest, which says nothing about the person.
    """
    if own is not None:
        yield own
    later = {grant.sealed_github_token: None for grant in reversed(await deps.grants.of_user(user.github_id))}
    for sealed in [token for token in later if token not in {None, own}][:_MOST_OTHERS]:
        yield str(sealed)


def _unsealed(deps: Deps, user: User, sealed_github_token: str) -> str:
    """The GitHub token. Raises `UnsealError`."""
    try:
        sealed = base64.b64decode(sealed_github_token)
    except binascii.Error:
        raise UnsealError(_context(user)) from None
    return unseal(sealed, deps.settings.master_key_bytes, context=_context(user)).decode()


async def _check_not_blocked(deps: Deps, user: User) -> None:
    """Pass when no operator shut `user` out; else raise `NotEligibleError`."""
    if await deps.users.block_of(user.github_id) is not None:
        raise NotEligibleError(user, "blocked by the operator")


async def _member(deps: Deps, user: User, token: str | None) -> Member:
    """`user` as they are now, who may be here. Without a `token` GitHub is not asked.

    Raises `NotEligibleError` and what asking GitHub raises.
    """
    admission = deps.settings.admission
    groups: frozenset[str] = frozenset()
    if token is not None:
        current, groups = await deps.github.groups(token, user, lambda now: _groups_to_ask_about(deps, now))
        if current != user:
            user = current
            await deps.users.rename(user)
        await _check_login_is_theirs(deps, user, by_github=True)
    if not admission.admits_by_name(user) and not admission.admits_by_group(groups):
        in_none = ", and in none of the organisations and teams" if admission.groups else ""
        raise NotEligibleError(user, f"not on the list of allowed users{in_none}")
    return Member(user, tuple(sorted(groups)))


def _groups_to_ask_about(deps: Deps, user: User) -> frozenset[str]:
    """Those that matter for `user`: who is let in by name needs no membership for that."""
    admission = deps.settings.admission
    return _groups_of_policy(deps) if admission.admits_by_name(user) else groups_that_matter(deps)


def _groups_of_policy(deps: Deps) -> frozenset[str]:
    return deps.policy.current.groups_mentioned


def _context(user: User) -> str:
    """Ties a sealed token to its user, so that it opens in nobody else's grant."""
    return f"portcullis github token {user.github_id}"
