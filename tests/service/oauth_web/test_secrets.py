"""Issued secrets are stored hashed, and never logged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from oauth_core.crypto.credentials import hash_secret
from tests.support.oauth_client import Pkce

if TYPE_CHECKING:
    from redis import Redis

    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer


@pytest.mark.requirement("mcp:secure-storage", "rfc6750:no-cookies")
async def test_no_secret_is_readable_in_redis_or_in_the_log(web: WebServer, client: OAuthClient) -> None:
    registration = await client.register(token_endpoint_auth_method="client_secret_post")
    pkce = Pkce.fresh()
    code = await client.code(registration.client_id, pkce)
    answer = await client.redeem(registration.client_id, code, pkce.verifier, client_secret=registration.secret)
    tokens = answer.json()
    unused_code = await client.code(registration.client_id, pkce)
    refreshed = (
        await client.refresh(registration.client_id, tokens["refresh_token"], client_secret=registration.secret)
    ).json()
    secrets = {
        "client secret": registration.secret,
        "registration token": registration.document["registration_access_token"],
        "code": code,
        "unused code": unused_code,
        "refresh token": tokens["refresh_token"].split(".")[2],
        "its successor": refreshed["refresh_token"].split(".")[2],
        "family": tokens["refresh_token"].split(".")[1],
        "access token": tokens["access_token"].split(".")[2],
        "cookie": next(iter(client.http.cookies.values())),
        "redis password": "redis-password-of-tests",
        "github secret": "github-secret-of-tests",
        "verifier": pkce.verifier,
    }
    with web.redis.client() as redis:
        stored = _everything(redis)
    assert "octocat" in stored, "the search can find something"
    log = web.log.read_text()
    assert "octocat" in log
    for name, secret in secrets.items():
        assert secret not in stored, f"{name} is readable in Redis"
        assert secret not in log, f"{name} is in the log"
    assert "PRIVATE KEY" not in stored


async def test_the_pkce_verifier_for_github_cannot_be_derived_from_redis(
    web: WebServer, client: OAuthClient
) -> None:
    """With it, and a code that leaked on its way from GitHub, an attacker with read access to Redis could finish
    the sign-in.
    """
    registration = await client.register()
    to_github = await client.consent(client.authorize_url(registration.client_id, Pkce.fresh().challenge))
    asked = parse_qs(urlsplit(to_github.headers["Location"]).query)
    with web.redis.client() as redis:
        stored = _everything(redis)
    assert f"signin:{hash_secret(asked['state'][0])}" in stored, "the sign-in is in progress"
    texts = set(re.findall(r"[A-Za-z0-9._~-]{43,128}", stored))
    assert not [text for text in texts if hash_secret(text) in asked["code_challenge"]]
    assert hash_secret(asked["state"][0]) not in asked["code_challenge"], "the state alone is not enough either"


def _everything(redis: Redis) -> str:
    """Every key and every value, as text."""
    found = []
    for key in redis.keys("*"):
        kind = redis.type(key)
        value = (
            redis.get(key) if kind == "string"
            else redis.hgetall(key) if kind == "hash"
            else redis.smembers(key) if kind == "set"
            else redis.zrange(key, 0, -1)
        )  # fmt: skip
        found.append(f"{key!r} {value!r}")
    return "\n".join(found)
