"""The key that the caller of this token request proved to have (RFC 9449 section 5), to bind its tokens to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import g, request

from oauth_core.jose import dpop
from oauth_core.jose.dpop import Proof, ProofFault
from oauth_core.refusals import OAuthReason, refused
from oauth_web.http.client_addresses import caller_address

if TYPE_CHECKING:
    from oauth_core.model import Client, Grant
    from oauth_web.runtime.deps import Deps


async def look_at_proof(deps: Deps, client: Client) -> None:
    """Check the proof of this request, if it has one, and use it up; `shown` answers the key from then on.

    Raises `DisplayedError`: for a proof that is not good, and for none where the client registered that its tokens
    are always bound. Never a weaker token instead.
    """
    g.dpop_key = None
    proofs = request.headers.getlist(dpop.HEADER)
    if not proofs:
        if client.dpop_bound:
            raise refused(OAuthReason.NO_PROOF)
        return
    if len(proofs) != 1:
        raise refused(OAuthReason.SEVERAL_PROOFS)
    proof = dpop.check(proofs[0], method=request.method, url=f"{deps.settings.issuer}/token", now=deps.clock())
    match proof:
        case ProofFault():
            raise refused(proof.reason)
        case Proof(key, jti, until):
            # No client has such a name, so that nobody's assertions are used up with it.
            if not await deps.assertions.use(
                f"dpop {key}", jti, until=until, now=deps.clock(), caller=caller_address()
            ):
                raise refused(OAuthReason.PROOF_USED_BEFORE)
            g.dpop_key = key


def shown() -> str | None:
    """The thumbprint of the key that this request proved to have; `None` without a proof."""
    key: str | None = g.dpop_key
    return key


def check_binding(grant: Grant, client: Client) -> None:
    """Pass when the caller may refresh `grant` with the key it showed. Raises `DisplayedError` (section 5).

    A public client shows the key that the grant began with, for it proves nothing else. A confidential one may
    have a new key, but not none.
    """
    if grant.dpop_key is None or shown() == grant.dpop_key:
        return
    if shown() is None:
        raise refused(OAuthReason.NO_PROOF_FOR_REFRESH)
    if client.token_endpoint_auth_method == "none":
        raise refused(OAuthReason.OTHER_KEY)
