"""Checks the DPoP proof of a token request (RFC 9449 section 5).

The issued tokens are bound to the key of the proof.
"""

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


async def check_proof(deps: Deps, client: Client) -> None:
    """Check the proof of this request, if it has one, and use it up; afterwards `proven_key` returns the key.

    Raises `DisplayedError` for an invalid proof, and for a missing one where the client registered that its tokens
    are always bound: it never issues a weaker token.
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
            # No client has such an id, so this uses up no client's assertions.
            if not await deps.assertions.use(
                f"dpop {key}", jti, until=until, now=deps.clock(), caller=caller_address()
            ):
                raise refused(OAuthReason.PROOF_USED_BEFORE)
            g.dpop_key = key


def proven_key() -> str | None:
    """The thumbprint of the proven key of this request; `None` without a proof."""
    key: str | None = g.dpop_key
    return key


def check_binding(grant: Grant, client: Client) -> None:
    """Pass when the caller may refresh `grant` with its proven key. Raises `DisplayedError` (section 5).

    A public client must prove the key with which the grant began, because it has no other credential. A
    confidential client may use a new key, but must use one.
    """
    if grant.dpop_key is None or proven_key() == grant.dpop_key:
        return
    if proven_key() is None:
        raise refused(OAuthReason.NO_PROOF_FOR_REFRESH)
    if client.token_endpoint_auth_method == "none":
        raise refused(OAuthReason.OTHER_KEY)
