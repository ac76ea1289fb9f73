"""The token that a client presents at `/revoke` and `/introspect`, and the check that it belongs to the client.

`token_type_hint` is not needed: the two kinds of token have different forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.store.records.refresh_rotation import RefreshState
from oauth_core.tokens import access_tokens, refresh_tokens
from oauth_core.tokens.access_tokens import Verified
from oauth_web.client_auth.siblings import may_act_for

if TYPE_CHECKING:
    from oauth_core.model import AccessClaims, Client, Grant
    from oauth_web.runtime.deps import Deps


@dataclass(frozen=True)
class PresentedAccessToken:
    """An active access token."""

    claims: AccessClaims


@dataclass(frozen=True)
class PresentedRefreshToken:
    """A refresh token of an active grant. If it is not the current one, the current one replaced it."""

    grant: Grant
    is_current: bool


async def find_presented_token(
    deps: Deps, text: str, client: Client
) -> PresentedAccessToken | PresentedRefreshToken | None:
    """The active token with this `text`, or a refresh token that was used recently; `None` for any other text.

    A used refresh token counts, because `/token` may still answer it.

    A token that belongs neither to `client` nor to its sibling is `None` too.
    """
    refresh = refresh_tokens.parse(text)
    if refresh is not None:
        grant = await deps.grants.get(refresh.grant_id)
        state = await deps.grants.state_of(refresh)
        if grant is None or state is RefreshState.OTHER:
            return None
        if not await may_act_for(deps.clients, client, grant.client_id):
            return None
        return PresentedRefreshToken(grant, is_current=state is RefreshState.CURRENT)
    verdict = access_tokens.verify(text, deps.keys.verifying, issuer=deps.settings.issuer, now=deps.clock())
    if not isinstance(verdict, Verified) or not await may_act_for(deps.clients, client, verdict.claims.client_id):
        return None
    return PresentedAccessToken(verdict.claims) if await deps.grants.is_token_active(verdict.claims.jti) else None
