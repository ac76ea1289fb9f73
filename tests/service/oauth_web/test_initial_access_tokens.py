"""Registration with initial access tokens, and the rights of registration access tokens: rows R16 and R17."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from oauth_core.store import keyspace
from tests.service.oauth_web.client_commands import clients
from tests.support.master_key import change_record
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce
from tests.support.web_process import another_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.web_process import WebServer

GOOD = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none"}


@pytest.fixture(scope="module")
def guarded(web: WebServer) -> Iterator[str]:
    """The same authorization server where registration needs a token; its address."""
    with another_web(web, {"CLIENT_REGISTRATION": "token"}) as address:
        yield address


async def registering(address: str, token: str | None, members: dict[str, Any] | None = None) -> httpx2.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(timeout=60) as http:
        return await http.post(f"{address}/register", json={**GOOD, **(members or {})}, headers=headers)


def invited(web: WebServer, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = clients(web, "invite", "--json", *arguments)
    return document


@pytest.mark.requirement("rfc7591:initial-token-needed")
async def test_a_registration_without_a_token_is_refused_with_a_challenge(guarded: str) -> None:
    answer = await registering(guarded, None)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="register"'


async def test_a_token_allows_exactly_as_many_registrations_as_it_has_uses(web: WebServer, guarded: str) -> None:
    invite = invited(web, "--uses", "3", "--note", "the build machines")
    answers = await asyncio.gather(
        *(registering(guarded, invite["initial_access_token"], {"client_name": f"job {n}"}) for n in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [401] * 7
    assert invite["token_id"] not in {row["token_id"] for row in clients(web, "invites", "--json")}


async def test_a_number_of_uses_that_an_attacker_wrote_to_redis_does_not_count(
    web: WebServer, guarded: str
) -> None:
    invite = invited(web, "--uses", "2")
    with web.redis.client() as redis:
        redis.hset(keyspace.initial_access_token(invite["token_id"]), "left", "1000")
    answers = [await registering(guarded, invite["initial_access_token"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 401]


async def test_a_mistake_in_the_registration_does_not_cost_a_use(web: WebServer, guarded: str) -> None:
    token = invited(web)["initial_access_token"]
    assert (await registering(guarded, token, {"redirect_uris": []})).status_code == 400
    assert (await registering(guarded, token)).status_code == 201


async def test_a_wrong_token_is_refused(web: WebServer, guarded: str, client: OAuthClient) -> None:
    invite = invited(web)
    token_id, _, secret = invite["initial_access_token"].partition(".")
    registration = await client.register()
    access = (await client.tokens(registration.client_id))["access_token"]
    wrong = [
        "x",
        token_id,
        f"{token_id}.",
        f"{token_id}.{'A' * 43}",
        f"{'A' * 22}.{secret}",
        secret,
        f"*.{secret}",
        registration.document["registration_access_token"],
        access,
    ]
    answers = [await registering(guarded, text) for text in wrong]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert 'error="invalid_token"' in answers[1].headers["WWW-Authenticate"]
    assert (await registering(guarded, invite["initial_access_token"])).status_code == 201


async def test_an_initial_access_token_manages_no_client(
    web: WebServer, guarded: str, client: OAuthClient
) -> None:
    token = invited(web, "--uses", "2")["initial_access_token"]
    made = (await registering(guarded, token)).json()
    for method in ("GET", "DELETE"):
        answer = await client.http.request(
            method, made["registration_client_uri"], headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 401


async def test_a_revoked_token_is_refused(web: WebServer, guarded: str) -> None:
    invite = invited(web)
    assert clients(web, "revoke-invite", invite["token_id"], "--json") == {
        "token_id": invite["token_id"],
        "revoked": True,
    }
    assert (await registering(guarded, invite["initial_access_token"])).status_code == 401
    assert "no such" in clients(web, "revoke-invite", invite["token_id"], expect=1)
    assert "no such" in clients(web, "revoke-invite", "*", expect=1)


async def test_a_token_expires(web: WebServer, guarded: str) -> None:
    invite = invited(web, "--days", "2")
    with web.redis.client() as redis:
        key = f"initial-access-token:{invite['token_id']}"
        assert 86_400 < redis.ttl(key) <= 2 * 86_400
        # The expiry is also in its own record, in case the key is kept longer.
        change_record(redis, key, lambda record: {**record, "expires_at": record["issued_at"]})
    assert (await registering(guarded, invite["initial_access_token"])).status_code == 401


async def test_the_token_is_not_stored_and_the_audit_log_names_it_by_its_id(web: WebServer, guarded: str) -> None:
    invite = invited(web, "--note", "for Mona")
    secret = invite["initial_access_token"].partition(".")[2]
    made = (await registering(guarded, invite["initial_access_token"])).json()
    again = invited(web)
    with web.redis.client() as redis:
        kept = str(redis.hgetall(f"initial-access-token:{again['token_id']}"))
    assert again["initial_access_token"].partition(".")[2] not in kept
    log = "".join(path.read_text() for path in web.log.parent.glob("another-*.log"))
    events = [json.loads(line) for line in log.splitlines() if made["client_id"] in line]
    assert [(event["event"], event["reason"]) for event in events] == [
        ("client.registered", f"by initial access token {invite['token_id']}")
    ]
    assert secret not in log


async def test_closed_registration_refuses_all_clients_and_is_not_advertised(
    web: WebServer, client: OAuthClient
) -> None:
    token = invited(web)["initial_access_token"]
    registration = await client.register()
    with another_web(web, {"CLIENT_REGISTRATION": "closed"}) as address:
        for given in (None, token):
            answer = await registering(address, given)
            assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
        metadata = (await client.http.get(f"{address}/.well-known/oauth-authorization-server")).json()
        assert "registration_endpoint" not in metadata
        # A client that registered before can still manage its registration.
        url = f"{address}/register/{registration.client_id}"
        assert (await client.http.get(url, headers=registration.management)).status_code == 200


async def test_the_endpoint_is_still_advertised_when_a_token_is_needed(guarded: str, client: OAuthClient) -> None:
    metadata = (await client.http.get(f"{guarded}/.well-known/oauth-authorization-server")).json()
    assert metadata["registration_endpoint"] == f"{client.issuer}/register"


# -- rights of the registration access token ----------------------------------------------------------------------


async def managing(client: OAuthClient, made: dict[str, Any]) -> dict[str, int]:
    """The status of each way to manage a registration. Deletion comes last."""
    headers = {"Authorization": f"Bearer {made['registration_access_token']}"}
    change = {**GOOD, "client_id": made["client_id"], "client_name": "Renamed"}
    url = made["registration_client_uri"]
    return {
        "read": (await client.http.get(url, headers=headers)).status_code,
        "write": (await client.http.put(url, json=change, headers=headers)).status_code,
        "delete": (await client.http.delete(url, headers=headers)).status_code,
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), {"read": 200, "write": 200, "delete": 204}),
        (("--permission", "registration.read"), {"read": 200, "write": 403, "delete": 403}),
        (("--permission", "registration.write"), {"read": 403, "write": 200, "delete": 403}),
        (("--permission", "registration.delete"), {"read": 403, "write": 403, "delete": 204}),
        (("--no-permissions",), {"read": 403, "write": 403, "delete": 403}),
    ],
)
async def test_a_registration_access_token_has_the_permissions_of_the_invitation(
    web: WebServer, guarded: str, client: OAuthClient, arguments: tuple[str, ...], expected: dict[str, int]
) -> None:
    made = (await registering(guarded, invited(web, *arguments)["initial_access_token"])).json()
    assert await managing(client, made) == expected


async def test_an_operator_can_narrow_an_issued_token(web: WebServer, client: OAuthClient) -> None:
    registration = await client.register()
    url = registration.document["registration_client_uri"]
    clients(web, "permissions", registration.client_id, "--permission", "registration.read", "--json")
    refused = await client.http.delete(url, headers=registration.management)
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    assert 'scope="registration.delete"' in refused.headers["WWW-Authenticate"]
    # An update by the client cannot restore a permission.
    change = {**GOOD, "client_id": registration.client_id, "registration_permissions": ["registration.delete"]}
    assert (await client.http.put(url, json=change, headers=registration.management)).status_code == 403
    shown = clients(web, "permissions", registration.client_id, "--json")
    assert shown["registration_permissions"] == ["registration.read"]


async def test_a_client_cannot_give_itself_permissions(web: WebServer, client: OAuthClient) -> None:
    registration = await client.register(registration_permissions=["registration.read"])
    clients(web, "permissions", registration.client_id, "--permission", "registration.write")
    change = {**GOOD, "client_id": registration.client_id, "registration_permissions": ["registration.delete"]}
    url = registration.document["registration_client_uri"]
    assert (await client.http.put(url, json=change, headers=registration.management)).status_code == 200
    assert (await client.http.delete(url, headers=registration.management)).status_code == 403


async def test_a_client_without_a_valid_token_does_not_learn_about_permissions(
    web: WebServer, client: OAuthClient
) -> None:
    registration = await client.register()
    clients(web, "permissions", registration.client_id, "--no-permissions")
    headers = {"Authorization": "Bearer wrong"}
    known = await client.http.get(registration.document["registration_client_uri"], headers=headers)
    unknown = await client.http.get(f"{client.issuer}/register/{'A' * 22}", headers=headers)
    assert (known.status_code, known.text) == (unknown.status_code, unknown.text)
    assert known.status_code == 401


async def test_the_settings_define_the_permissions_in_open_registration(web: WebServer) -> None:
    narrow = {"CLIENT_REGISTRATION_PERMISSIONS": "registration.read"}
    with another_web(web, narrow) as address:
        made = (await registering(address, None)).json()
        async with OAuthClient(address) as client:
            assert await managing(client, made) == {"read": 200, "write": 403, "delete": 403}


APP = "https://app.example.com/callback"


async def faulty(client: OAuthClient, client_id: str, uri: str = APP) -> httpx2.Response:
    """The answer to a request with an unknown scope, before any person has signed in."""
    challenge = Pkce.fresh().challenge
    return await client.http.get(client.authorize_url(client_id, challenge, redirect_uri=uri, scope="mcp.nothing"))


@pytest.mark.parametrize("mode", ["token", "open"])
async def test_a_client_that_an_operator_invited_gets_its_errors_before_any_consent(
    web: WebServer, guarded: str, client: OAuthClient, mode: str
) -> None:
    invite = invited(web)
    address = guarded if mode == "token" else web.issuer
    registered = await registering(address, invite["initial_access_token"], {"redirect_uris": [APP]})
    me = registered.json()["client_id"]
    answer = await faulty(client, me)
    assert answer.headers["Location"].startswith(f"{APP}?")
    assert "error=invalid_scope" in answer.headers["Location"]
    again = await registering(web.issuer, invite["initial_access_token"], {"redirect_uris": [APP]})
    assert (await faulty(client, again.json()["client_id"])).status_code == 400, "one use is one invitation"
    assert (await faulty(client, (await client.register(redirect_uris=[APP])).client_id)).status_code == 400


async def test_an_invitation_covers_only_the_redirect_uris_registered_with_it(
    web: WebServer, guarded: str, client: OAuthClient
) -> None:
    registered = (
        await registering(guarded, invited(web)["initial_access_token"], {"redirect_uris": [APP]})
    ).json()
    other = "https://phish.example/login"
    headers = {"Authorization": f"Bearer {registered['registration_access_token']}"}
    update = {**GOOD, "client_id": registered["client_id"], "redirect_uris": [other, APP]}
    place = f"{web.issuer}/register/{registered['client_id']}"
    assert (await client.http.put(place, json=update, headers=headers)).status_code == 200
    for uri in (other, APP):
        assert (await faulty(client, registered["client_id"], uri)).status_code == 400
