"""Eligibility: whether a person may sign in, and their groups; checked at sign-in, each refresh and on a schedule.

A grant outlives the day on which its user leaves. So the rule is applied again each time a client refreshes: a
user removed from the list, the organisation or the team loses the grant at that refresh, after half an hour at
most. `oauth_web.login.membership_schedule` checks the people whose clients do not refresh.
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
from oauth_web.login_providers.github import GitHubRefusedError, GitHubUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oauth_core.model import User
    from oauth_web.login_providers.github import SignedIn
    from oauth_web.runtime.deps import Deps

_MOST_OTHERS = 3


class NotEligibleError(Exception):
    """`user` may not use the gateway. The message is for the audit log."""

    def __init__(self, user: User, reason: str) -> None:
        super().__init__(reason)
        self.user = user


@dataclass(frozen=True)
class Eligibility:
    """The result of a sign-in: `groups` as in `Grant`, and the sealed GitHub token, to ask again."""

    groups: tuple[str, ...] = ()
    sealed_github_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Member:
    """An eligible person under their current login, and their groups."""

    user: User
    groups: tuple[str, ...]


def groups_that_matter(deps: Deps) -> frozenset[str]:
    """Every organisation and team that an eligibility rule or a role names."""
    return deps.settings.eligibility.groups | _groups_of_policy(deps)


def logins_that_matter(deps: Deps) -> frozenset[str]:
    """Every login that a list or a role names without the id of the account."""
    return logins_among(deps.settings.eligibility.users) | deps.policy.current.logins_mentioned


async def check_eligibility(deps: Deps, signed_in: SignedIn) -> Eligibility:
    """Pass if `signed_in` is eligible. Raises `NotEligibleError`, `GitHubRefusedError` and
    `GitHubUnavailableError`.
    """
    user = signed_in.user
    await _check_not_blocked(deps, user)
    await _check_login_is_theirs(deps, user, by_github=True)
    was_github_asked = asks_github(deps, user)
    member = await _member(deps, user, signed_in.token if was_github_asked else None)
    await deps.users.record_user(KnownUser(user, deps.clock()))
    if not was_github_asked:
        return Eligibility(member.groups)
    sealed = seal(signed_in.token.encode(), deps.settings.master_key_bytes, context=_context(user))
    return Eligibility(member.groups, base64.b64encode(sealed).decode())


def can_be_asked_about(deps: Deps, user: User, sealed_github_token: str | None) -> bool:
    """Whether the gateway can check `user` again. If not, the person has to sign in again."""
    return sealed_github_token is not None or not asks_github(deps, user)


async def check_still_eligible(deps: Deps, user: User, sealed_github_token: str | None) -> Member:
    """Pass when the user of a grant is still eligible; returns their current login and groups.

    Raises `NotEligibleError` when not, and `DisplayedError` (503) when GitHub cannot be asked: an outage there
    must not sign anyone out.
    """
    await _check_not_blocked(deps, user)
    # A later sign-in may have recorded a new login.
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
    # If groups did not matter at the sign-in and matter now, the person has to sign in again: to be in no group
    # may mean fewer restrictions.
    unknown = (
        "groups matter now" if deps.settings.eligibility.is_eligible_by_name(user) else "no longer on the list"
    )
    raise NotEligibleError(user, fault or f"{unknown}, and no GitHub token was kept to ask with")


async def _check_login_is_theirs(deps: Deps, user: User, *, by_github: bool) -> None:
    """Pass unless a list or role means another account by the login of `user`; else raise `NotEligibleError`.

    GitHub gives a login that became free to the next account that asks for it. So a listed login means the first
    account that was seen under it, until an operator accepts another. Only a sign-in at GitHub counts as seen
    (`by_github`): a person may be able to edit what an identity provider asserts about them.
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
    """Whether the eligibility or the groups of `user` depend on an answer of GitHub."""
    return bool(_groups_to_ask_about(deps, user))


async def _kept_tokens(deps: Deps, user: User, own: str | None) -> AsyncIterator[str]:
    """Sealed GitHub tokens of `user`: that of the given grant, then those of later sign-ins, newest first.

    GitHub keeps ten tokens for a person and an app and drops the oldest; a dropped token proves nothing about the
    person.
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
    """Pass unless an operator blocked `user`; else raise `NotEligibleError`."""
    if await deps.users.block_of(user.github_id) is not None:
        raise NotEligibleError(user, "blocked by the operator")


async def _member(deps: Deps, user: User, token: str | None) -> Member:
    """`user` as they are now, if eligible. Without a `token` GitHub is not asked.

    Raises `NotEligibleError` and the errors of `github.groups`.
    """
    rule = deps.settings.eligibility
    groups: frozenset[str] = frozenset()
    if token is not None:
        current, groups = await deps.github.groups(token, user, lambda now: _groups_to_ask_about(deps, now))
        if current != user:
            user = current
            await deps.users.rename(user)
        await _check_login_is_theirs(deps, user, by_github=True)
    if not rule.is_eligible_by_name(user) and not rule.is_eligible_by_group(groups):
        in_none = ", and in none of the organisations and teams" if rule.groups else ""
        raise NotEligibleError(user, f"not on the list of allowed users{in_none}")
    return Member(user, tuple(sorted(groups)))


def _groups_to_ask_about(deps: Deps, user: User) -> frozenset[str]:
    """The groups that matter for `user`: a person on the list by name needs no membership to be eligible."""
    rule = deps.settings.eligibility
    return _groups_of_policy(deps) if rule.is_eligible_by_name(user) else groups_that_matter(deps)


def _groups_of_policy(deps: Deps) -> frozenset[str]:
    return deps.policy.current.groups_mentioned


def _context(user: User) -> str:
    """The sealing context of a GitHub token: it binds the token to its user, so no other person's grant can use
    it.
    """
    return f"portcullis github token {user.github_id}"
