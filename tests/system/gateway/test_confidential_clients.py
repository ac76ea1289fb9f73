"""Clients with a secret, through Envoy: the complete sign-in works, and fails without the secret."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.support.mcp_clients import McpUser, whoami
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce

if TYPE_CHECKING:
    from redis import Redis

    from tests.support.gateway import RunningGateway

METHODS = pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])


def _basic(client_id: str, secret: str) -> dict[str, str]:
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


@METHODS
async def test_the_sdks_client_signs_in_calls_and_refreshes_with_its_secret(
    gateway: RunningGateway, redis: Redis, method: str
) -> None:
    user = McpUser(gateway.resource("whoami"), auth_method=method)
    async with user.connected() as client:
        before = await whoami(client)
        first = user.access_token
        user.provider.context.token_expiry_time = 1.0  # as a client would find that checks its clock
        after = await whoami(client)
    assert user.wallet.client is not None
    assert user.wallet.client.client_secret
    assert user.wallet.client.token_endpoint_auth_method == method
    assert after == before
    assert user.access_token != first
    assert len(user.visits) == 1


@METHODS
async def test_without_the_right_secret_a_code_is_refused_and_not_consumed(
    gateway: RunningGateway, oauth: OAuthClient, method: str
) -> None:
    registration = await oauth.register(token_endpoint_auth_method=method)
    pkce = Pkce.fresh()
    code = await oauth.code(registration.client_id, pkce, resource=gateway.resource("whoami"))
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": pkce.verifier,
        "redirect_uri": REDIRECT_URI,
    }

    def with_secret(secret: str) -> tuple[dict[str, str], dict[str, str]]:
        if method == "client_secret_basic":
            return form, _basic(registration.client_id, secret)
        return {**form, "client_id": registration.client_id, "client_secret": secret}, {}

    without = await oauth.token({**form, "client_id": registration.client_id})
    wrong = await oauth.token(*with_secret(registration.secret[::-1]))
    for refused in (without, wrong):
        assert refused.status_code == 401
        assert refused.json()["error"] == "invalid_client"
    assert (await oauth.token(*with_secret(registration.secret))).status_code == 200
