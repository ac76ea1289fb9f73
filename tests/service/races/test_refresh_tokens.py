"""Fifty concurrent refreshes of one token, as concurrent windows of one client do all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.races.racer import PROCESSES
from tests.support.mcp_clients import claims_of

if TYPE_CHECKING:
    from tests.service.races.racer import Race
    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer


def alive(web: WebServer, access_token: str) -> str | None:
    """The grant of the token, while the token is active."""
    with web.redis.client() as redis:
        grant = redis.get(f"token:{claims_of(access_token)['jti']}")
        return None if grant is None else str(grant)


@pytest.mark.requirement("oauth21:refresh-rotation")
async def test_fifty_refreshes_from_several_processes_all_get_working_tokens_of_one_family(
    web: WebServer, client: OAuthClient, race: Race
) -> None:
    client_id = (await client.register()).client_id
    first = await client.tokens(client_id)
    form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": first["refresh_token"]}

    answers = race(*[form] * PROCESSES)

    assert [status for status, _ in answers] == [200] * 50
    (successor,) = {body["refresh_token"] for _, body in answers}
    grant, family, _secret = successor.split(".")
    assert first["refresh_token"].split(".")[:2] == [grant, family]
    tokens = {body["access_token"] for _, body in answers}
    assert {alive(web, token) for token in tokens} == {grant}
    second = await client.refresh(client_id, successor)
    assert second.status_code == 200, "no person has to sign in again"

    # The token that all fifty used, once more, after the grace: by now only a thief would present it.
    web.let_pass_since_refreshes(successor, 11)
    reused = await client.refresh(client_id, first["refresh_token"])
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    assert {alive(web, token) for token in (*tokens, second.json()["access_token"])} == {None}
    assert (await client.refresh(client_id, second.json()["refresh_token"])).status_code == 400


@pytest.mark.requirement("complaints:claude-code-85236")
async def test_windows_that_refresh_concurrently_round_after_round_keep_the_family(
    web: WebServer, client: OAuthClient, race: Race
) -> None:
    """In each round all windows use the token of the last round, with the answers in no order."""
    client_id = (await client.register()).client_id
    current = (await client.tokens(client_id))["refresh_token"]
    for _ in range(4):
        form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": current}
        answers = race(form, form, times=5)
        assert [status for status, _ in answers] == [200] * 10
        (current,) = {body["refresh_token"] for _, body in answers}
    of_this_client = [line for line in web.log.read_text().splitlines() if f'"{client_id}"' in line]
    assert of_this_client
    assert not [line for line in of_this_client if "refresh.reused" in line]
