"""`/introspect` returns the present status of a token (RFC 7662).

It serves only clients that prove their identity, and only about their own tokens. Anyone may register here, so an
answer about another client's token would be an oracle for any caller that found a token (RFC 7662 section 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response

from oauth_core.jose import cnf
from oauth_core.policy import scopes
from oauth_core.refusals import OAuthReason, refused
from oauth_core.tokens import access_tokens
from oauth_web.client_auth.authentication import authenticate_client
from oauth_web.client_auth.presented_token import PresentedAccessToken, PresentedRefreshToken, find_presented_token
from oauth_web.http.responses import form_parameters, json_answer

if TYPE_CHECKING:
    from oauth_web.runtime.deps import Deps


def blueprint(deps: Deps) -> Blueprint:
    """The endpoint `/introspect`."""
    bp = Blueprint("introspect", __name__)

    @bp.post("/introspect")
    async def introspect() -> Response:
        form = await form_parameters()
        form.check_unique()
        client = await authenticate_client(deps, form)
        if client.token_endpoint_auth_method == "none":
            raise refused(OAuthReason.PUBLIC_CLIENT_INTROSPECTS)
        match await find_presented_token(deps, form.require("token"), client):
            case PresentedAccessToken(claims):
                return json_answer(
                    {
                        "active": True,
                        "token_type": access_tokens.type_of(claims),
                        **access_tokens.claims_payload(claims),
                        # A machine client has no user name.
                        **({"username": claims.github_user} if claims.github_user else {}),
                    }
                )
            case PresentedRefreshToken(grant, is_current=True):
                return json_answer(
                    {
                        "active": True,
                        "iss": deps.settings.issuer,
                        "sub": grant.subject,
                        "exp": grant.expires_at,
                        "iat": grant.created_at,
                        "client_id": grant.client_id,
                        "scope": scopes.join(grant.scopes),
                        **({"username": grant.user.login} if grant.user else {}),
                        **({"groups": list(grant.groups)} if grant.groups else {}),
                        **cnf.cnf_claim(grant.certificate, grant.dpop_key),
                    }
                )
            case _:
                return json_answer({"active": False})

    return bp
