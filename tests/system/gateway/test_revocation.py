"""Revocation: the very next request with the token is refused, and the client signs in again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.authz_process import end_token, wait_for_news
from tests.support.mcp_clients import McpUser, challenge, claims_of, probe, whoami

if TYPE_CHECKING:
    import httpx2
    from redis import Redis

    from tests.support.gateway import RunningGateway
    from tests.support.oauth_client import OAuthClient


@pytest.mark.requirement("complaints:envoy-39366", "rfc7009:immediate")
async def test_the_next_request_after_the_operator_deleted_the_token_is_refused(
    gateway: RunningGateway, redis: Redis, oauth: OAuthClient, http: httpx2.AsyncClient
) -> None:
    resource = gateway.resource("whoami")
    registration = await oauth.register()
    token = (await oauth.tokens(registration.client_id, resource=resource))["access_token"]
    assert (await probe(http, resource, token)).status_code == 200

    end_token(redis, claims_of(token)["jti"])

    refused = await probe(http, resource, token)
    assert refused.status_code == 401
    told = challenge(refused)
    assert told["error"] == "invalid_token"
    assert told["resource_metadata"] == f"{gateway.url}/.well-known/oauth-protected-resource/whoami/mcp"
    assert told["scope"] == "mcp.whoami"


async def test_revoking_one_token_keeps_the_other_tokens(
    gateway: RunningGateway, redis: Redis, oauth: OAuthClient, http: httpx2.AsyncClient
) -> None:
    resource = gateway.resource("whoami")
    registration = await oauth.register()
    revoked, kept = [
        (await oauth.tokens(registration.client_id, resource=resource))["access_token"] for _ in range(2)
    ]
    end_token(redis, claims_of(revoked)["jti"])
    assert (await probe(http, resource, revoked)).status_code == 401
    assert (await probe(http, resource, kept)).status_code == 200


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdks_client_signs_in_again_by_itself(gateway: RunningGateway, redis: Redis, mode: str) -> None:
    user = McpUser(gateway.resource("whoami"))
    async with user.connected(mode) as client:
        before = await whoami(client)
        revoked = user.access_token
        end_token(redis, claims_of(revoked)["jti"])
        after = await whoami(client)
    assert after == before, "the same person, with the same registration"
    assert user.access_token != revoked
    assert len(user.visits) == 2


@pytest.mark.requirement("rfc7592:delete-tokens")
async def test_deleting_a_client_ends_its_tokens_at_once(
    gateway: RunningGateway, redis: Redis, oauth: OAuthClient, http: httpx2.AsyncClient
) -> None:
    resource = gateway.resource("whoami")
    registration = await oauth.register()
    tokens = await oauth.tokens(registration.client_id, resource=resource)
    assert (await probe(http, resource, tokens["access_token"])).status_code == 200

    where = registration.document["registration_client_uri"]
    assert (await http.delete(where, headers=registration.management)).status_code == 204
    wait_for_news(redis)

    assert (await probe(http, resource, tokens["access_token"])).status_code == 401
    refreshed = await oauth.refresh(registration.client_id, tokens["refresh_token"])
    assert refreshed.status_code == 401
    assert refreshed.json()["error"] == "invalid_client"
