"""A sign-in outlives its Redis: from a backup, through an empty Redis, to the next refresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jwt

from tests.support import forks
from tests.support.oauth_client import OAuthClient
from tests.support.redis_server import running_redis
from tests.support.web_process import WebServer, another_web

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_old_refresh_token_is_valid_in_a_restored_redis(
    web: WebServer, client: OAuthClient, tmp_path: Path
) -> None:
    file = str(tmp_path / "backup")
    client_id = (await client.register()).client_id
    held = await client.tokens(client_id)
    written = forks.run("portcullis", "backup", file, environment=web.environment)
    assert written.returncode == 0, written.stderr
    with running_redis(password=web.environment["REDIS_PASSWORD"]) as empty:
        place = {"REDIS_URL": empty.url()}
        restored = forks.run("portcullis", "restore", file, environment={**web.environment, **place})
        assert restored.returncode == 0, restored.stderr
        with another_web(web, place) as address:
            async with OAuthClient(address) as later:
                first = await later.refresh(client_id, held["refresh_token"])
                assert first.status_code == 200, first.text
                assert (await later.refresh(client_id, first.json()["refresh_token"])).status_code == 200
                published = jwt.PyJWKSet.from_dict(
                    (await later.http.get(f"{address}/.well-known/jwks.json")).json()
                )
        # The keys are restored: earlier tokens can still be verified, and access tokens are issued anew.
        before, after = held["access_token"], first.json()["access_token"]
        for token in (before, after):
            kid = jwt.get_unverified_header(token)["kid"]
            jwt.decode(token, published[kid], algorithms=["ES256"], audience=web.resource)
        with empty.client() as redis:
            alive = {str(key).removeprefix("token:") for key in redis.scan_iter("token:*")}
    jtis = [jwt.decode(token, options={"verify_signature": False})["jti"] for token in (before, after)]
    assert jtis[0] not in alive
