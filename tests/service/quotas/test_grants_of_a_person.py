"""The limit on the grants of one person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.web_process import running_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.web_process import WebServer


@pytest.fixture(scope="module")
def few() -> Iterator[WebServer]:
    with running_web({"GRANTS_PER_USER": "3"}) as server:
        yield server


async def test_a_grant_beyond_the_limit_ends_the_persons_oldest_and_no_other_persons(few: WebServer) -> None:
    async with OAuthClient(few.issuer) as client:
        made = (await client.register()).client_id
        tokens = [await tokens_of(client, made, login) for login in ("Monalisa", *["octocat"] * 5)]
        other, *own = tokens
        assert (await client.refresh(made, other)).status_code == 200
        answers = [(await client.refresh(made, token)).status_code for token in own]
        # Of those that were made within one second any may end first, except the newest.
        assert sorted(answers) == [200, 200, 200, 400, 400]
        assert answers[-1] == 200
    assert few.log.read_text().count("its user has too many grants") == 2
    with few.redis.client() as redis:
        assert sorted(redis.zcard(key) for key in redis.keys("user-grants:*")) == [1, 3]


async def test_a_client_with_many_grants_of_a_person_ends_its_own_and_not_those_of_other_clients(
    few: WebServer,
) -> None:
    with few.redis.client() as redis:
        redis.delete(*redis.keys("user-grants:*"), "no-key")  # those of the test before
    async with OAuthClient(few.issuer) as client:
        first, second, greedy = [(await client.register()).client_id for _ in range(3)]
        kept = [(made, await tokens_of(client, made, "Monalisa")) for made in (first, second)]
        many = [await tokens_of(client, greedy, "Monalisa") for _ in range(6)]
        for made, token in kept:
            assert (await client.refresh(made, token)).status_code == 200
        answers = [(await client.refresh(greedy, token)).status_code for token in many]
        assert answers == [400] * 5 + [200]


async def tokens_of(client: OAuthClient, client_id: str, login: str) -> str:
    """The refresh token of a sign-in as `login`."""
    pkce = Pkce.fresh()
    came_back = await client.authorize(client.authorize_url(client_id, pkce.challenge), login)
    answer = await client.redeem(client_id, came_back["code"], pkce.verifier)
    return str(answer.json()["refresh_token"])
