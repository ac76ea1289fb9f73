"""Access tokens that the server issued: their claims, which are active, and the refusal of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt

if TYPE_CHECKING:
    import httpx2

    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer


async def claims_of(client: OAuthClient, token: str) -> dict[str, Any]:
    """The claims, checked by an independent library against the published keys."""
    keys = jwt.PyJWKSet.from_dict((await client.http.get(f"{client.issuer}/.well-known/jwks.json")).json())
    claims: dict[str, Any] = jwt.decode(
        token, keys[jwt.get_unverified_header(token)["kid"]], algorithms=["ES256"], options={"verify_aud": False}
    )
    return claims


def live_tokens(web: WebServer) -> set[str]:
    """The ids of the active access tokens."""
    with web.redis.client() as redis:
        return {key.removeprefix("token:") for key in redis.keys("token:*")}


def assert_refused(answer: httpx2.Response, error: str, status: int = 400) -> None:
    """Fail unless `answer` is this error, and no cache may keep it."""
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def alive(web: WebServer, access_token: str) -> bool:
    """Whether Redis still has this access token."""
    jti = jwt.decode(access_token, options={"verify_signature": False})["jti"]
    with web.redis.client() as redis:
        return bool(redis.exists(f"token:{jti}"))
