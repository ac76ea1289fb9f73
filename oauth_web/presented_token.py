"""What a token is that a client shows us, at `/revoke` and `/introspect`: alive, of ours, and that client's own.

`token_type_hint` is not needed: the two kinds of token cannot be taken for one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core import access_tokens, refresh_tokens
from oauth_core.access_tokens import Verified

if TYPE_CHECKING:
    from oauth_core.model import AccessClaims, Client, Grant
    from oauth_web.deps import Deps


@dataclass(frozen=True)
class GivenAccess:
    """A live access token."""

    claims: AccessClaims


@dataclass(frozen=True)
class GivenRefresh:
    """A refresh token in force, and its grant."""

    grant: Grant


async def recognise(deps: Deps, text: str, client: Client) -> GivenAccess | GivenRefresh | None:
    """The live token that `text` is, if it was given to `client`; else `None`, whatever the reason."""
    refresh = refresh_tokens.parse(text)
    if refresh is not None:
        grant = await deps.grants.get(refresh.grant_id)
        if grant is None or grant.client_id != client.client_id or not await deps.grants.holds(refresh):
            return None
        return GivenRefresh(grant)
    verdict = access_tokens.verify(text, deps.keys.verifying, issuer=deps.settings.issuer, now=deps.clock())
    if not isinstance(verdict, Verified) or verdict.claims.client_id != client.client_id:
        return None
    return GivenAccess(verdict.claims) if await deps.grants.token_lives(verdict.claims.jti) else None
