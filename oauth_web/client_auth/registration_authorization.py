"""Authorization to register a client: for all, with an initial access token, or for none (RFC 7591 section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from oauth_core.errors import DisplayedError
    from oauth_core.model import InitialAccessToken, User
    from oauth_core.store.records.initial_access_tokens import InitialAccessTokenStore
    from oauth_web.runtime.deps import Deps


@dataclass(frozen=True)
class RegistrationAuthorization:
    """Authorizes one registration; its registration token will carry `registration_permissions`.

    The client ends after `unused_lifetime` seconds, unless a person consents to it before. It may request to act
    as itself within `machine_scopes`; then it exists until it is deleted. `by_operator` is true if an operator
    made the token, and false if a person made it on the account page.
    """

    registration_permissions: tuple[str, ...]
    unused_lifetime: int
    token_id: str | None
    _tokens: InitialAccessTokenStore
    machine_scopes: tuple[str, ...] = ()
    by_operator: bool = False

    async def use_up(self) -> None:
        """Use the token for one registration. Raises `DisplayedError` when other requests used it up first.

        Called when the registration is known to be valid: a mistake in it does not cost a use.
        """
        if self.token_id is not None and not await self._tokens.use(self.token_id):
            raise _not_good()

    @property
    def reason(self) -> str | None:
        """The reason for the audit log."""
        return None if self.token_id is None else f"by initial access token {self.token_id}"


async def authorize_registration(deps: Deps, authorization: str | None) -> RegistrationAuthorization:
    """This caller's authorization. Raises `DisplayedError`: 401 without a good token, 403 if no client may."""
    mode = deps.settings.client_registration
    match mode:
        case "open":
            # A token is not needed, but clients may send one. Only an operator's token allows more.
            settings = deps.settings
            token = await _good_token(deps, authorization)
            if token is not None and (token.machine_scopes or token.issued_to is None):
                return _authorized_by(deps, token)
            return RegistrationAuthorization(
                settings.client_registration_permissions,
                settings.unused_client_lifetime,
                None,
                deps.initial_access_tokens,
            )
        case "closed":
            raise refused(OAuthReason.REGISTRATION_CLOSED)
        case "token":
            return await _by_token(deps, authorization)
        case _:
            assert_never(mode)


async def _by_token(deps: Deps, authorization: str | None) -> RegistrationAuthorization:
    if (authorization or "").partition(" ")[0].lower() != "bearer":
        # RFC 6750 section 3.1: no error code for a caller that sent no token.
        raise refused(OAuthReason.INVITATION_NEEDED)
    token = await _good_token(deps, authorization)
    if token is None:
        raise _not_good()
    return _authorized_by(deps, token)


async def _good_token(deps: Deps, authorization: str | None) -> InitialAccessToken | None:
    """The initial access token that the caller sent, if it is valid."""
    scheme, _, text = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    token = await deps.initial_access_tokens.find_by_secret(text.strip(), now=deps.clock())
    if token is None or (token.issued_to is not None and await _is_void(deps, token.issued_to, token.issued_at)):
        return None
    return token


def _authorized_by(deps: Deps, token: InitialAccessToken) -> RegistrationAuthorization:
    return RegistrationAuthorization(
        token.registration_permissions,
        deps.settings.invited_client_lifetime,
        token.token_id,
        deps.initial_access_tokens,
        token.machine_scopes,
        by_operator=token.issued_to is None,
    )


async def _is_void(deps: Deps, holder: User, issued_at: int) -> bool:
    """Whether a token from the account page is void: its holder was blocked or revoked since."""
    blocked = await deps.users.block_of(holder.github_id) is not None
    return blocked or await deps.revocation.is_person_cut_off(holder.github_id, at=issued_at)


def _not_good() -> DisplayedError:
    return refused(OAuthReason.INVITATION_NOT_GOOD)
