"""Fifty redemptions of one code at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.races.conftest import PROCESSES
from tests.support.knocking import claims_of
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce

if TYPE_CHECKING:
    from tests.races.conftest import Answers, Race
    from tests.support.web_process import WebServer


def _form(client_id: str, code: str, verifier: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": REDIRECT_URI,
    }


def _winner(answers: Answers) -> dict[str, str]:
    """What the one got that won; everybody else was refused."""
    (won,) = [body for status, body in answers if status == 200]
    others = [(status, body["error"]) for status, body in answers if status != 200]
    assert others == [(400, "invalid_grant")] * (len(answers) - 1)
    return won


@pytest.mark.requirement("oauth21:code-once")
async def test_of_fifty_from_several_processes_exactly_one_uses_the_code_up(
    client: OAuthClient, race: Race
) -> None:
    """All fifty are the owner's, so the other 49 end what the one was given, perhaps before it was answered."""
    client_id, pkce = (await client.register()).client_id, Pkce.fresh()
    form = _form(client_id, await client.code(client_id, pkce), pkce.verifier)
    answers = race(*[form] * PROCESSES)
    assert len(answers) == 50
    others = [body for _, body in answers if "used before" in body.get("error_description", "")]
    assert [body["error"] for body in others] == ["invalid_grant"] * 49
    ((status, body),) = [answer for answer in answers if answer[1] not in others]
    assert (status, body.get("error_description")) in ((200, None), (400, "the grant has ended"))


@pytest.mark.requirement("oauth21:code-replay")
async def test_those_without_the_verifier_cannot_win_nor_end_what_the_owner_got(
    web: WebServer, client: OAuthClient, race: Race
) -> None:
    client_id, stranger, pkce = (await client.register()).client_id, await client.register(), Pkce.fresh()
    code = await client.code(client_id, pkce)
    owner = _form(client_id, code, pkce.verifier)
    thief = _form(client_id, code, Pkce.fresh().verifier)
    other_client = _form(stranger.client_id, code, pkce.verifier)

    answers = race({**owner}, thief, thief, other_client, other_client, times=1)
    won = _winner(answers)
    replayed = race(thief, thief, other_client, other_client)
    assert {(status, body["error"]) for status, body in replayed} == {(400, "invalid_grant")}

    with web.redis.client() as redis:
        assert redis.exists(f"token:{claims_of(won['access_token'])['jti']}")
    assert (await client.refresh(client_id, won["refresh_token"])).status_code == 200
