"""Disabled clients: all that they hold ends at once, and they do not come back until an operator enables them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.crypto.credentials import new_identifier
from oauth_core.model import DisabledClient
from oauth_core.store import keyspace
from oauth_core.store.records.disabled_clients import DisabledClientStore
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.revocation import Revocation
from tests.service.oauth_web.client_commands import clients
from tests.support import device_flow
from tests.support.master_key import RECORD_KEY
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce, Registration
from tests.support.publisher import Publisher, running_publisher
from tests.support.web_process import WebServer, another_web, running_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2
    from redis.asyncio import Redis

_CHALLENGE = Pkce.fresh().challenge


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with running_publisher() as publisher:
        yield publisher


@pytest.fixture(scope="module")
def web(publisher: Publisher) -> Iterator[WebServer]:
    """A server for this module, which may read the documents of the publisher."""
    settings = {
        "ALLOWED_GITHUB_USERS": "*",
        "CLIENT_DOCUMENTS_CA_FILE": str(publisher.ca_file),
        "ALLOW_LOOPBACK_CLIENT_DOCUMENTS": "true",
    }
    with running_web(settings) as server:
        yield server


def metadata(**members: object) -> dict[str, Any]:
    """The metadata of a public client, different from that of any other test."""
    public = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none"}
    return {"client_name": new_identifier(), **public, **members}


async def registers(client: OAuthClient, document: dict[str, Any]) -> httpx2.Response:
    return await client.http.post(f"{client.issuer}/register", json=document)


async def registered(client: OAuthClient, document: dict[str, Any]) -> Registration:
    answer = await registers(client, document)
    assert answer.status_code == 201, answer.text
    return Registration(answer.json())


async def asked(client: OAuthClient, client_id: str) -> httpx2.Response:
    return await client.http.get(client.authorize_url(client_id, _CHALLENGE))


def assert_disabled(answer: httpx2.Response) -> None:
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client"), answer.text
    assert "disabled" in answer.json()["error_description"]


async def is_active(redis: Redis, tokens: dict[str, Any]) -> bool:
    grant_id = tokens["refresh_token"].partition(".")[0]
    return bool(await redis.exists(keyspace.grant(grant_id), keyspace.grant_tokens(grant_id)))


def disabled(web: WebServer, client_id: str, *more: str) -> dict[str, Any]:
    document: dict[str, Any] = clients(web, "disable", *more, "--json", "--", client_id)
    return document


async def enabled(web: WebServer, redis: Redis, client_id: str) -> None:
    clients(web, "enable", "--", client_id)
    await redis.delete(keyspace.cutoff_of_client(client_id))  # the second it was made is over


async def test_a_disabled_client_loses_everything_and_is_refused_at_every_door_until_it_is_enabled(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    app = await registered(client, metadata())
    tokens, others = await client.tokens(app.client_id), await client.tokens((await client.register()).client_id)
    done = disabled(web, app.client_id, "--reason", "It sends mails.")
    assert done == {"client_id": app.client_id, "disabled": [app.client_id], "grants_ended": 1}
    assert not await is_active(redis, tokens)
    assert await is_active(redis, others)
    assert_disabled(await client.refresh(app.client_id, tokens["refresh_token"]))
    page = await asked(client, app.client_id)
    assert page.status_code == 400
    assert "disabled this app" in page.text
    started = await client.http.post(f"{client.issuer}/device_authorization", data={"client_id": app.client_id})
    assert_disabled(started)
    managed = str(app.document["registration_client_uri"])
    assert_disabled(await client.http.get(managed, headers=app.management))
    assert_disabled(await client.http.put(managed, headers=app.management, json={}))

    shown = clients(web, "show", "--json", "--", app.client_id)
    assert shown["disabled_reason"] == "It sends mails."
    assert app.client_id in {row["client_id"] for row in clients(web, "list", "--json") if row["disabled_since"]}

    await enabled(web, redis, app.client_id)
    clients(web, "enable", "--", app.client_id, expect=1)
    assert clients(web, "show", "--json", "--", app.client_id)["disabled_since"] is None
    assert await is_active(redis, await client.tokens(app.client_id))


async def test_a_disabled_client_may_still_give_its_access_back(web: WebServer, client: OAuthClient) -> None:
    app = await registered(client, metadata())
    disabled(web, app.client_id)
    given = {"client_id": app.client_id, "token": "none"}
    assert (await client.http.post(f"{client.issuer}/revoke", data=given)).status_code == 200
    deleted = await client.http.delete(str(app.document["registration_client_uri"]), headers=app.management)
    assert deleted.status_code == 204
    listed = {row["client_id"] for row in clients(web, "list", "--json") if row["disabled_since"]}
    assert app.client_id in listed, "its record is gone, and it stays disabled"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"redirect_uris": ["http://127.0.0.1:1/cb"]}, {"redirect_uris": ["http://127.0.0.1:2/cb"]}),
        (
            {"token_endpoint_auth_method": "client_secret_basic"},
            {"token_endpoint_auth_method": "client_secret_basic"},
        ),
        ({"redirect_uris": ["https://evil.example/a"]}, {"redirect_uris": ["https://EVIL.example:8443/b"]}),
        (
            {"redirect_uris": ["https://evil.example./a", REDIRECT_URI]},
            {"redirect_uris": ["https://evil.example/a"], "client_name": "Another name"},
        ),
        (
            {"redirect_uris": ["com.example.evil:/a"]},
            {"redirect_uris": ["com.example.evil:/b"], "client_name": "Another name"},
        ),
    ],
)
async def test_a_disabled_client_does_not_come_back_by_registering_again(
    web: WebServer, client: OAuthClient, redis: Redis, first: dict[str, Any], second: dict[str, Any]
) -> None:
    document = metadata()
    harmless = await registered(client, metadata())
    app = await registered(client, {**document, **first})
    disabled(web, app.client_id)
    assert_disabled(await registers(client, {**document, **second}))
    changed = {**document, **second, "client_id": harmless.client_id}
    managed = str(harmless.document["registration_client_uri"])
    assert_disabled(await client.http.put(managed, headers=harmless.management, json=changed))
    assert (await registers(client, metadata())).status_code == 201, "other apps register as before"
    await enabled(web, redis, app.client_id)
    assert (await registers(client, {**document, **second})).status_code == 201


async def test_an_app_may_register_again_only_when_all_of_its_disabled_clients_are_enabled(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    document = metadata()
    first, second = await registered(client, document), await registered(client, document)
    assert disabled(web, first.client_id, "--siblings")["disabled"] == [first.client_id, second.client_id]
    assert (await asked(client, second.client_id)).status_code == 400
    await enabled(web, redis, first.client_id)
    assert_disabled(await registers(client, document))
    disabled(web, second.client_id)  # a second time changes nothing
    await enabled(web, redis, second.client_id)
    assert (await registers(client, document)).status_code == 201


async def test_a_client_that_continued_the_grant_of_a_sibling_loses_it(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    document = metadata()
    first = await registered(client, document)
    tokens = await client.tokens(first.client_id)
    second = await registered(client, document)
    continued = (await client.refresh(second.client_id, tokens["refresh_token"])).json()
    assert disabled(web, second.client_id)["grants_ended"] == 1
    assert not await is_active(redis, continued)
    assert (await asked(client, first.client_id)).status_code == 200, "the sibling itself is not disabled"


async def test_a_code_and_an_allowed_device_of_a_disabled_client_become_no_tokens(
    web: WebServer, client: OAuthClient
) -> None:
    app, pkce = await registered(client, metadata()), Pkce.fresh()
    code = await client.code(app.client_id, pkce)
    device_id = await device_flow.registered(client)
    codes = await device_flow.started(client, device_id)
    await device_flow.approved(client, codes["user_code"])
    for client_id in (app.client_id, device_id):
        disabled(web, client_id)
    assert_disabled(await client.redeem(app.client_id, code, pkce.verifier))
    assert_disabled(await device_flow.polled(client, device_id, codes["device_code"]))


async def test_a_consent_page_that_was_open_leads_nowhere(web: WebServer, client: OAuthClient) -> None:
    app = await registered(client, metadata())
    form = await client.consent_form(client.authorize_url(app.client_id, _CHALLENGE))
    disabled(web, app.client_id)
    answer = await client.http.post(
        f"{client.issuer}/authorize/consent",
        data={**form, "decision": "allow"},
        headers={"Origin": client.issuer},
    )
    assert answer.status_code == 400
    assert "disabled this app" in answer.text


async def test_a_replica_that_has_the_document_of_a_client_in_its_cache_refuses_it(
    web: WebServer, publisher: Publisher, client: OAuthClient, redis: Redis
) -> None:
    redirect = "https://documented.example/cb"
    client_id = publisher.client(f"/{new_identifier()}.json", redirect_uris=[redirect])
    with another_web(web, {}) as replica:
        for issuer in (web.issuer, replica):
            url = client.authorize_url(client_id, _CHALLENGE, redirect_uri=redirect)
            assert (await client.http.get(url.replace(client.issuer, issuer))).status_code == 200
        disabled(web, client_id)
        for issuer in (web.issuer, replica):
            url = client.authorize_url(client_id, _CHALLENGE, redirect_uri=redirect)
            page = await client.http.get(url.replace(client.issuer, issuer))
            assert (page.status_code, "disabled this app" in page.text) == (400, True)
    assert_disabled(await registers(client, metadata(redirect_uris=[redirect])))
    elsewhere = publisher.client(f"/{new_identifier()}.json", redirect_uris=[redirect])
    assert (await asked(client, elsewhere)).status_code == 400, "the same app under another URL"
    await enabled(web, redis, client_id)
    url = client.authorize_url(elsewhere, _CHALLENGE, redirect_uri=redirect)
    assert (await client.http.get(url)).status_code == 200


async def test_a_disabled_confidential_client_cannot_introspect(web: WebServer, client: OAuthClient) -> None:
    app = await registered(client, metadata(token_endpoint_auth_method="client_secret_post"))
    form = {"client_id": app.client_id, "client_secret": app.secret, "token": "any"}
    assert (await client.http.post(f"{client.issuer}/introspect", data=form)).json() == {"active": False}
    disabled(web, app.client_id)
    assert_disabled(await client.http.post(f"{client.issuer}/introspect", data=form))
    wrong = await client.http.post(f"{client.issuer}/introspect", data=form | {"client_secret": "wrong"})
    assert wrong.json()["error"] == "invalid_client", "without its secret a caller learns nothing"


async def test_the_account_page_says_that_an_app_is_disabled_and_why(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    app = await registered(client, metadata(client_name="Mail Sender"))
    await client.tokens(app.client_id)
    disabled(web, app.client_id, "--reason", "It sends mails.")
    page = (await client.http.get(f"{client.issuer}/account")).text
    for text in ("Mail Sender", "was disabled", "It sends mails.", "You cannot connect it while it is disabled."):
        assert text in page
    await enabled(web, redis, app.client_id)
    page = (await client.http.get(f"{client.issuer}/account")).text
    assert "It was enabled again since." in page


async def test_a_client_that_does_not_exist_cannot_be_disabled_and_a_url_can(web: WebServer, redis: Redis) -> None:
    unknown = new_identifier()
    clients(web, "disable", "--", unknown, expect=1)
    assert not await DisabledClientStore(redis).is_disabled(unknown)
    url = f"https://{new_identifier().lower().replace('_', '-').strip('-')}.example/app.json"
    disabled(web, url)
    assert await DisabledClientStore(redis).is_disabled(url)
    await enabled(web, redis, url)


async def test_a_disabled_client_whose_record_has_ended_stays_disabled_when_it_is_disabled_again(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    document = metadata()
    app = await registered(client, document)
    disabled(web, app.client_id)
    await redis.delete(keyspace.client(app.client_id))
    disabled(web, app.client_id, "--reason", "again")
    assert clients(web, "show", "--json", "--", app.client_id)["disabled_reason"] == "again"
    assert_disabled(await registers(client, document))
    await enabled(web, redis, app.client_id)
    assert (await registers(client, document)).status_code == 201


async def test_an_operator_who_disables_a_client_meanwhile_keeps_its_traits(redis: Redis) -> None:
    """Another client with the same trait is disabled after the first look and before the deletion."""
    trait, first, second = (new_identifier() for _ in range(3))
    revocation = Revocation(redis, GrantStore(redis, RECORD_KEY, client_lifetime=60, backup_days=1))
    await revocation.disable_client(DisabledClient(first, 1, traits=(trait,)))

    class Interrupted(DisabledClientStore):
        looks = 0

        async def all(self) -> list[DisabledClient]:
            found = await super().all()
            self.looks += 1
            if self.looks == 1:
                await revocation.disable_client(DisabledClient(second, 2, traits=(trait,)))
            return found

    assert await Interrupted(redis).enable(first)
    store = DisabledClientStore(redis)
    assert await store.is_any_disabled([trait])
    assert await store.enable(second)
    assert not await store.is_any_disabled([trait])
