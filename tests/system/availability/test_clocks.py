"""Machines whose clocks differ: tokens of one are valid at the others, and revoked tokens stay refused."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from oauth_core.store import keyspace
from oauth_core.store.clock import NOTICEABLE
from tests.support import forks
from tests.support.authz_process import USERS, environ, publish, remember, running_authz, wait_for_news
from tests.support.check_messages import check_request, read_answer
from tests.support.mcp_clients import claims_of
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.programs import until
from tests.support.redis_server import running_redis
from tests.support.tokens import mint, new_key
from tests.support.web_process import another_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.redis_server import RedisServer
    from tests.support.web_process import WebServer

_TOLERATED = 5
"""Seconds by which the issuer's clock may be ahead of a check service (`oauth_core.tokens.access_tokens`)."""


def clock_off_by(seconds: float) -> dict[str, str]:
    """An environment in which a Python program has a clock with this offset."""
    return {"PYTHONPATH": str(Path(__file__).parent / "skewed"), "SKEW": str(seconds)}


@pytest.fixture
async def client(web: WebServer) -> AsyncIterator[OAuthClient]:
    async with OAuthClient(web.issuer) as client:
        yield client


async def test_tokens_have_the_time_of_redis_whatever_the_clock_of_their_issuer(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = (await client.register()).client_id
    held = await client.tokens(client_id)
    with another_web(web, clock_off_by(3600)) as address:
        form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": held["refresh_token"]}
        answer = await client.http.post(f"{address}/token", data=form)
        assert answer.status_code == 200, answer.text
        issued = claims_of(answer.json()["access_token"])
        assert abs(issued["iat"] - time.time()) < NOTICEABLE
        # The other server, whose clock is right, accepts it as an active token.
        form = {"client_id": client_id, "refresh_token": answer.json()["refresh_token"]}
        again = await client.http.post(f"{web.issuer}/token", data=form | {"grant_type": "refresh_token"})
        assert again.status_code == 200, again.text
    (log,) = web.log.parent.glob(f"another-{address.rpartition(':')[2]}.log")
    assert "clock differs from Redis'" in log.read_text(encoding="utf-8")


async def test_an_operator_whose_clock_is_behind_revokes_what_was_allowed_a_moment_ago(
    web: WebServer, client: OAuthClient
) -> None:
    client_id, pkce = (await client.register()).client_id, Pkce.fresh()
    code = await client.code(client_id, pkce)
    command = ("portcullis", "users", "revoke", "octocat", "--json")
    done = forks.run(*command, environment={**web.environment, **clock_off_by(-_TOLERATED)})
    assert done.returncode == 0, done.stderr
    answer = await client.redeem(client_id, code, pkce.verifier)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_revocation_with_a_clock_that_is_ahead_does_not_block_later_sign_ins(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = (await client.register()).client_id
    await asyncio.sleep(1)  # another test may have revoked; a grant within that second is revoked too
    await client.tokens(client_id)  # so that the person is known
    command = ("portcullis", "users", "revoke", "octocat", "--json")
    done = forks.run(*command, environment={**web.environment, **clock_off_by(3600)})
    assert done.returncode == 0, done.stderr
    await asyncio.sleep(1)  # as above
    assert (await client.tokens(client_id))["access_token"]


def test_config_check_reports_a_difference_between_clocks(web: WebServer) -> None:
    command = ("portcullis", "config", "check")
    right = forks.run(*command, environment=web.environment)
    wrong = forks.run(*command, environment={**web.environment, **clock_off_by(30)})
    assert "differ by" not in right.stdout + right.stderr
    assert "differ by 30 s" in wrong.stdout + wrong.stderr


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return new_key()


@pytest.fixture(scope="module")
def redis(key: SigningKey) -> Iterator[RedisServer]:
    with running_redis(password="admin-password-of-tests", users=USERS) as server:
        publish(server, key)
        yield server


@pytest.mark.parametrize(
    ("off", "fresh", "ending"),
    [
        (-_TOLERATED + 1, 200, 200),  # behind: a token that seems to be from the future is accepted
        (-_TOLERATED - 10, 401, 401),  # bounded
        (600, 200, 401),  # ahead: a token that has expired by this clock is refused, although Redis keeps it
    ],
)
def test_a_check_service_tolerates_a_difference_of_a_few_seconds(
    redis: RedisServer, key: SigningKey, off: int, fresh: int, ending: int
) -> None:
    now = int(time.time())
    with running_authz(environ(redis, **clock_off_by(off))) as authz:
        authz.wait_for_health("SERVING")
        for jti, exp, wanted in (("fresh", now + 1800, fresh), ("ending", now + 300, ending)):
            remember(redis, jti)
            token = mint(key, jti=jti, iat=now, exp=exp)
            answer = read_answer(authz.check(check_request(token=token)))
            assert answer.status == wanted, jti


def test_a_token_expires_by_the_clock_of_redis_if_that_of_the_check_service_is_behind(
    redis: RedisServer, key: SigningKey
) -> None:
    with running_authz(environ(redis, **clock_off_by(-_TOLERATED + 1))) as authz:
        authz.wait_for_health("SERVING")
        now = int(time.time())
        token = mint(key, jti="brief", iat=now, exp=now + 600)
        with redis.client() as client:
            client.set(keyspace.token("brief"), "grant-1", ex=600)

            def status() -> int:
                return read_answer(authz.check(check_request(token=token))).status

            assert status() == 200
            end = int(time.time()) + 2
            client.expireat(keyspace.token("brief"), end)
            wait_for_news(client)
            until(lambda: status() == 401, "its end")
            assert time.time() >= end
