"""Tokens bound to a key, through Envoy to a service and back (RFC 9449)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.assertions import key, proof, thumbprint
from tests.support.mcp_clients import probe
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce

if TYPE_CHECKING:
    import httpx2

    from tests.support.gateway import RunningGateway


@pytest.mark.requirement("rfc9449:resource", "rfc9449:no-downgrade")
async def test_a_bound_token_works_only_with_a_proof_of_its_key(
    gateway: RunningGateway, oauth: OAuthClient, http: httpx2.AsyncClient
) -> None:
    own, thief, url = key(name="dpop"), key(name="thief"), gateway.resource("whoami")
    client_id, pkce = (await oauth.register()).client_id, Pkce.fresh()
    code = await oauth.code(client_id, pkce, resource=url, dpop_jkt=thumbprint(own))
    form = {"grant_type": "authorization_code", "client_id": client_id, "code": code, "redirect_uri": REDIRECT_URI}
    place = f"{gateway.url}/token"
    answer = await oauth.token({**form, "code_verifier": pkce.verifier}, {"DPoP": proof("POST", place, by=own)})
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]

    def headers(scheme: str, by: object = own, **more: str) -> dict[str, str]:
        signer = own if by is own else thief
        shown = proof(more.get("method", "POST"), more.get("url", url), by=signer, token=token)
        return {"Authorization": f"{scheme} {token}", "DPoP": shown}

    for _ in range(3):
        assert (await probe(http, url, headers=headers("DPoP"))).status_code == 200
    for wrong in (
        headers("Bearer"), headers("DPoP", by=thief), headers("DPoP", method="GET"),
        headers("DPoP", url=gateway.resource("time")), {"Authorization": f"DPoP {token}"},
        {"Authorization": f"Bearer {token}"},
    ):  # fmt: skip
        refused = await probe(http, url, headers=wrong)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("DPoP ")
    reasons = [event.get("reason") for event in gateway.audit("ext_authz") if event.get("client_id") == client_id]
    assert reasons.count("wrong_proof") == 6


async def test_a_browser_based_client_may_send_a_proof(gateway: RunningGateway, http: httpx2.AsyncClient) -> None:
    """A page of another origin asks for permission first (CORS)."""
    asked = {
        "Origin": "http://localhost:6274",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,dpop",
    }
    for url in (gateway.resource("whoami"), f"{gateway.url}/token"):
        allowed = await http.options(url, headers=asked)
        assert allowed.status_code == 200
        assert "dpop" in allowed.headers["Access-Control-Allow-Headers"].lower()
