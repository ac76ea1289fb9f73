"""Several redemptions of one code at once: which tokens are active afterwards, and what the audit log contains."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.races.racer import PROCESSES
from tests.support.mcp_clients import claims_of
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce

if TYPE_CHECKING:
    from tests.service.races.racer import Answers, Race
    from tests.support.web_process import WebServer


def _form(client_id: str, code: str, verifier: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": REDIRECT_URI,
    }


def living(web: WebServer) -> set[str]:
    """The keys of the active grants and access tokens."""
    with web.redis.client() as redis:
        return {str(key) for pattern in ("grant:*", "token:*") for key in redis.scan_iter(pattern)}


def _audited(web: WebServer, event: str) -> list[dict[str, Any]]:
    """The audit records of one kind, from both servers."""
    lines = [line for log in web.log.parent.glob("*.log") for line in log.read_text().splitlines()]
    records = [json.loads(line) for line in lines if f'"{event}"' in line]
    return [record for record in records if record.get("event") == event]


def _winner(answers: Answers) -> dict[str, str]:
    """The answer of the only request that succeeded; all others were refused."""
    (won,) = [body for status, body in answers if status == 200]
    others = [(status, body["error"]) for status, body in answers if status != 200]
    assert others == [(400, "invalid_grant")] * (len(answers) - 1)
    return won


@pytest.mark.requirement("oauth21:code-once")
async def test_of_fifty_redemptions_from_several_processes_exactly_one_consumes_the_code(
    web: WebServer, client: OAuthClient, race: Race
) -> None:
    """All fifty are correct, so the 49 replays end the grant of the first one, even before its answer."""
    client_id, pkce = (await client.register()).client_id, Pkce.fresh()
    form = _form(client_id, await client.code(client_id, pkce), pkce.verifier)
    before = living(web)
    answers = race(*[form] * PROCESSES)
    assert len(answers) == 50
    assert living(web) == before, "the grant of the code has ended"
    others = [body for _, body in answers if "used before" in body.get("error_description", "")]
    assert [body["error"] for body in others] == ["invalid_grant"] * 49
    ((status, body),) = [answer for answer in answers if answer[1] not in others]
    assert status == 200 or body["error"] == "invalid_grant", body


@pytest.mark.requirement("oauth21:code-replay")
async def test_a_code_redeemed_twice_at_the_same_moment_leaves_no_active_token(
    web: WebServer, client: OAuthClient, token_urls: list[str]
) -> None:
    """The replay often arrives after the first redemption consumed the code and before its grant exists."""
    client_id = (await client.register()).client_id
    for trial in range(30):
        pkce = Pkce.fresh()
        form = _form(client_id, await client.code(client_id, pkce), pkce.verifier)
        before = living(web)
        answers = await asyncio.gather(*(client.http.post(url, data=form) for url in token_urls))
        assert living(web) == before, (trial, [answer.text for answer in answers])
        for won in [answer.json() for answer in answers if answer.status_code == 200]:
            assert (await client.refresh(client_id, won["refresh_token"])).status_code == 400
    ends = [line["grant_id"] for line in _audited(web, "grant.revoked") if line["client_id"] == client_id]
    replays = {line["grant_id"] for line in _audited(web, "code.replayed") if line["client_id"] == client_id}
    assert len(replays) == 30
    assert sorted(ends) == sorted(replays), "one revocation for each grant that a replay ended"


@pytest.mark.requirement("oauth21:code-replay")
async def test_requests_without_the_verifier_can_neither_succeed_nor_end_the_owners_grant(
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
