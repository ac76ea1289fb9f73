"""An attacker with write access to Redis, but without a master key, cannot act as another person.

The attacker can read every record, has sign-ins of their own, and has seen how records are written.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from oauth_core.crypto.credentials import hash_secret, new_identifier, new_secret
from oauth_core.crypto.record_authentication import RecordKey
from oauth_core.store import keyspace
from oauth_core.store.records.grants import stored_refresh_hash
from oauth_core.tokens import refresh_tokens
from tests.support import device_flow
from tests.support.oauth_client import SESSION, OAuthClient, Pkce

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.web_process import WebServer

ATTACKERS_KEY = RecordKey(bytes(32))
"""The attacker's own key: its records are well-formed, but not ours."""

FORGED: dict[str, Callable[[str, str], str]] = {
    "without a code": lambda _place, record: record.partition(".")[2],
    "with the code of another place": lambda _place, record: record,
    "with the code of another key": lambda place, record: ATTACKERS_KEY.sign(place, record.partition(".")[2]),
}


@pytest.fixture(params=list(FORGED.values()), ids=list(FORGED))
def forge(request: pytest.FixtureRequest) -> Callable[[str, str], str]:
    """Makes the attacker's record for one key from a valid record of another key."""
    forged: Callable[[str, str], str] = request.param
    return forged


async def test_an_attackers_refresh_token_does_not_refresh_the_grant_of_another(
    web: WebServer, client: OAuthClient, forge: Callable[[str, str], str]
) -> None:
    client_id = (await client.register()).client_id
    victims = refresh_tokens.parse((await client.tokens(client_id))["refresh_token"])
    own_text = (await client.tokens(client_id))["refresh_token"]
    own = refresh_tokens.parse(own_text)
    assert victims is not None
    assert own is not None
    here, there = keyspace.grant(own.grant_id), keyspace.grant(victims.grant_id)
    with web.redis.client() as redis:
        kept = redis.hget(here, "record")
        redis.hset(here, "record", forge(here, str(redis.hget(there, "record"))))
        answer = await client.refresh(client_id, own_text)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        redis.hset(here, "record", str(kept))
    assert (await client.refresh(client_id, own_text)).status_code == 200


HASHES: dict[str, Callable[[str, str], str]] = {
    "plain": lambda _place, secret_hash: secret_hash,
    "keyed by another key": lambda place, secret_hash: stored_refresh_hash(ATTACKERS_KEY, place, secret_hash),
}


@pytest.mark.parametrize("stored", HASHES.values(), ids=HASHES)
async def test_a_hash_that_an_attacker_wrote_is_not_accepted_in_the_grant_of_another(
    web: WebServer, client: OAuthClient, stored: Callable[[str, str], str]
) -> None:
    client_id = (await client.register()).client_id
    victims = refresh_tokens.parse((await client.tokens(client_id))["refresh_token"])
    assert victims is not None
    place = keyspace.grant(victims.grant_id)
    planted = refresh_tokens.first_token(victims.grant_id)
    with web.redis.client() as redis:
        for field, value in (("family", planted.family_hash), ("current", planted.secret_hash)):
            redis.hset(place, field, stored(place, value))
    answer = await client.refresh(client_id, str(planted))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_the_stored_hash_of_one_token_is_not_accepted_in_the_grant_of_another(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = (await client.register()).client_id
    victims = refresh_tokens.parse((await client.tokens(client_id))["refresh_token"])
    own = refresh_tokens.parse((await client.tokens(client_id))["refresh_token"])
    assert victims is not None
    assert own is not None
    with web.redis.client() as redis:
        for field in ("family", "current"):
            value = redis.hget(keyspace.grant(own.grant_id), field)
            redis.hset(keyspace.grant(victims.grant_id), field, str(value))
    answer = await client.refresh(client_id, f"{victims.grant_id}.{own.family}.{own.secret}")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_code_with_the_record_of_another_code_is_not_accepted(
    web: WebServer, client: OAuthClient, forge: Callable[[str, str], str]
) -> None:
    client_id = (await client.register()).client_id
    pkce = Pkce.fresh()
    victims, planted = await client.code(client_id, pkce), new_secret()
    here, there = keyspace.code(hash_secret(planted)), keyspace.code(hash_secret(victims))
    with web.redis.client() as redis:
        redis.hset(here, "record", forge(here, str(redis.hget(there, "record"))))
    answer = await client.redeem(client_id, planted, pkce.verifier)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert (await client.redeem(client_id, victims, pkce.verifier)).status_code == 200


async def test_a_session_with_the_record_of_another_session_is_not_accepted(
    web: WebServer, client: OAuthClient, forge: Callable[[str, str], str]
) -> None:
    client_id = (await client.register()).client_id
    await client.tokens(client_id)
    secret = next(str(cookie.value) for cookie in client.http.cookies.jar if cookie.name == SESSION)
    planted = new_secret()
    here, there = keyspace.session(hash_secret(planted)), keyspace.session(hash_secret(secret))
    with web.redis.client() as redis:
        redis.set(here, forge(here, str(redis.get(there))), ex=600)
    for cookie, signed_in in ((secret, True), (planted, False)):
        client.forget_session()
        client.http.cookies.set(SESSION, cookie, domain="localhost.local", path="/")
        page = await client.http.get(f"{client.issuer}/account")
        assert ("<strong>octocat</strong>" in page.text) is signed_in
        assert ("Sign in with GitHub" in page.text) is not signed_in


async def test_a_client_record_with_the_secret_of_another_client_is_not_accepted(
    web: WebServer, client: OAuthClient, forge: Callable[[str, str], str]
) -> None:
    own = await client.register(token_endpoint_auth_method="client_secret_post")
    planted_id = new_identifier()
    here, there = keyspace.client(planted_id), keyspace.client(own.client_id)
    with web.redis.client() as redis:
        record = str(redis.get(there))
        redis.set(here, forge(here, record.replace(own.client_id, planted_id)), ex=600)
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    for client_id, status in ((own.client_id, 400), (planted_id, 401)):
        answer = await client.token({**form, "client_id": client_id, "client_secret": own.secret})
        assert answer.status_code == status, answer.text


async def test_the_decision_about_one_device_is_not_accepted_for_another(
    web: WebServer, client: OAuthClient, forge: Callable[[str, str], str]
) -> None:
    client_id = await device_flow.registered(client)
    allowed, planted = await device_flow.started(client, client_id), await device_flow.started(client, client_id)
    await device_flow.approved(client, allowed["user_code"])
    here, there = (keyspace.device(hash_secret(codes["device_code"])) for codes in (planted, allowed))
    with web.redis.client() as redis:
        redis.hset(here, "decision", forge(here, str(redis.hget(there, "decision"))))
    answer = await device_flow.polled(client, client_id, planted["device_code"])
    assert answer.json()["error"] == "authorization_pending"
    assert (await device_flow.polled(client, client_id, allowed["device_code"])).status_code == 200


async def test_a_forged_record_is_logged_without_its_key(web: WebServer, client: OAuthClient) -> None:
    client_id = (await client.register()).client_id
    refresh = (await client.tokens(client_id))["refresh_token"]
    token = refresh_tokens.parse(refresh)
    assert token is not None
    with web.redis.client() as redis:
        redis.hset(keyspace.grant(token.grant_id), "record", json.dumps({"grant_id": token.grant_id}))
    assert (await client.refresh(client_id, refresh)).status_code == 400
    lines = web.log.read_text(encoding="utf-8").splitlines()
    forged = [line for line in lines if '"record.forged"' in line and '"grant"' in line]
    assert forged
    assert token.grant_id not in "".join(forged)
