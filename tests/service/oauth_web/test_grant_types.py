"""A grant type is one descriptor in one list: a made-up one is served, advertised, registered, and revocable."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.crypto.credentials import new_identifier
from oauth_core.grant_types import Registrable
from oauth_core.model import Block, DisabledClient, Grant, User
from oauth_core.settings import WebSettings, load
from oauth_core.store import keyspace
from oauth_core.store.records.disabled_clients import store_mark
from oauth_core.store.records.users import store_block
from oauth_web.app import create_app
from oauth_web.grants.catalog import GRANT_TYPES
from oauth_web.grants.token_grant import NewGrant, TokenGrant
from oauth_web.runtime.deps import Deps, wire
from tests.support.oauth_client import REDIRECT_URI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart.typing import TestClientProtocol

    from oauth_core.model import Client
    from oauth_core.parameters import Parameters
    from oauth_web.grants.token_grant import Handler
    from tests.support.web_process import WebServer

NAME = "urn:example:grant-type:voucher"


def handler(deps: Deps) -> Handler:
    """Allow what the form gives: whose grant it is, and how long ago it was allowed."""
    resource, scope = deps.services.services[0].resource, deps.services.services[0].scope

    async def handle(client: Client, form: Parameters) -> NewGrant:
        now = deps.clock()
        if form.get("disabled") is not None:  # after the client was authenticated
            await store_mark(deps.redis, DisabledClient(client.client_id, now))
        grant = Grant(
            grant_id=form.require("grant_id"),
            client_id=client.client_id,
            user=User(login="voucher-user", github_id=int(form.require("github_id"))),
            scopes=(scope,),
            resources=(resource,),
            created_at=now,
            expires_at=now + 600,
        )

        async def was_replayed() -> bool:
            return form.get("replayed") is not None

        allowed_at = now - int(form.get("seconds_ago") or 0)
        return NewGrant(grant, (resource,), (scope,), allowed_at=allowed_at, was_replayed=was_replayed)

    return handle


VOUCHER = TokenGrant(
    name=NAME,
    registrable=Registrable.BY_ANY_CLIENT,
    gives_refresh_token=True,
    metadata=lambda issuer: {"voucher_endpoint": f"{issuer}/voucher"},
    handler=handler,
)


class Gateway:
    """The authorization server in this process, with the grant type `VOUCHER` in its list."""

    def __init__(self, deps: Deps, http: TestClientProtocol) -> None:
        self.deps = deps
        self.http = http
        self.github_id = int.from_bytes(new_identifier().encode()[:5], "big")

    async def registered(self, *grant_types: str) -> dict[str, Any]:
        answer = await self.http.post(
            "/register",
            json={
                "redirect_uris": [REDIRECT_URI],
                "grant_types": list(grant_types),
                "token_endpoint_auth_method": "none",
            },
        )
        assert answer.status_code == 201, await answer.get_data(as_text=True)
        document: dict[str, Any] = await answer.get_json()
        return document

    async def asked(self, client_id: str, **form: object) -> tuple[int, dict[str, Any]]:
        answer = await self.http.post(
            "/token",
            form={"grant_type": NAME, "client_id": client_id, "github_id": str(self.github_id)}
            | {name: str(value) for name, value in form.items()},
        )
        return answer.status_code, await answer.get_json()

    def keys(self, web: WebServer, grant_id: str) -> list[str]:
        """All keys of a grant in Redis, except its tombstone."""
        with web.redis.client() as redis:
            return [str(key) for key in redis.keys(f"*{grant_id}*") if key != keyspace.ended_grant(grant_id)]


@pytest.fixture
async def gateway(web: WebServer) -> AsyncIterator[Gateway]:
    settings = load(WebSettings, None, {**web.environment, "GRANTS_PER_USER": "2"})
    deps = await wire(settings, (*GRANT_TYPES, VOUCHER))
    app = create_app(deps)
    async with app.test_app():
        yield Gateway(deps, app.test_client())


async def test_it_is_advertised_in_the_metadata(gateway: Gateway) -> None:
    document = await (await gateway.http.get("/.well-known/oauth-authorization-server")).get_json()
    assert document["grant_types_supported"][-1] == NAME
    assert document["voucher_endpoint"] == f"{gateway.deps.settings.issuer}/voucher"


async def test_clients_register_for_it_alone_or_with_other_types(gateway: Gateway) -> None:
    alone = await gateway.registered(NAME)
    assert alone["grant_types"] == ["refresh_token", NAME]
    assert alone["response_types"] == []
    both = await gateway.registered("authorization_code", NAME)
    assert both["grant_types"] == ["authorization_code", "refresh_token", NAME]
    assert both["response_types"] == ["code"]


async def test_the_token_endpoint_issues_and_refreshes_its_tokens(gateway: Gateway) -> None:
    client_id = (await gateway.registered(NAME))["client_id"]
    status, tokens = await gateway.asked(client_id, grant_id=new_identifier())
    assert status == 200, tokens
    assert {"access_token", "refresh_token", "expires_in", "scope", "token_type"} == set(tokens)


async def test_a_client_that_did_not_register_for_it_is_refused(gateway: Gateway) -> None:
    client_id = (await gateway.registered("authorization_code"))["client_id"]
    status, refused = await gateway.asked(client_id, grant_id=new_identifier())
    assert (status, refused["error"]) == (400, "unauthorized_client")


async def test_a_grant_type_that_is_not_in_the_list_is_not_served(web: WebServer) -> None:
    app = create_app(await wire(load(WebSettings, None, web.environment), GRANT_TYPES))
    async with app.test_app():
        http = app.test_client()
        document = await (await http.get("/.well-known/oauth-authorization-server")).get_json()
        assert NAME not in document["grant_types_supported"]
        refused = await http.post("/register", json={"redirect_uris": [REDIRECT_URI], "grant_types": [NAME]})
        assert (refused.status_code, (await refused.get_json())["error"]) == (400, "invalid_client_metadata")
        made = await (await http.post("/register", json={"redirect_uris": [REDIRECT_URI]})).get_json()
        answer = await http.post("/token", form={"grant_type": NAME, "client_id": made["client_id"]})
        assert (answer.status_code, (await answer.get_json())["error"]) == (400, "unsupported_grant_type")


async def test_a_grant_type_whose_setting_is_not_set_is_not_offered(web: WebServer) -> None:
    settings = load(WebSettings, None, web.environment)
    deps = await wire(settings, (*GRANT_TYPES, replace(VOUCHER, setting="trusted_issuers")))
    try:
        assert NAME not in [each.name for each in deps.grant_types]
    finally:
        await deps.aclose()
    assert all(each.setting is None or each.setting in WebSettings.model_fields for each in GRANT_TYPES)


# -- the phases that its handler cannot skip ----------------------------------------------------------------------


async def test_a_revocation_of_its_user_ends_its_grant(web: WebServer, gateway: Gateway) -> None:
    client_id, grant_id = (await gateway.registered(NAME))["client_id"], new_identifier()
    status, _ = await gateway.asked(client_id, grant_id=grant_id)
    assert status == 200
    (ended,) = await gateway.deps.revocation.revoke_user(gateway.github_id)
    assert ended.grant_id == grant_id
    assert gateway.keys(web, grant_id) == []


@pytest.mark.parametrize("overtaken_by", ["revocation", "block", "replay", "disabling"])
async def test_a_grant_that_a_revocation_overtook_ends_and_gets_no_token(
    web: WebServer, gateway: Gateway, overtaken_by: str
) -> None:
    client_id, grant_id = (await gateway.registered(NAME))["client_id"], new_identifier()
    form: dict[str, object] = {"grant_id": grant_id}
    if overtaken_by == "revocation":
        await gateway.deps.revocation.revoke_user(gateway.github_id)
        form["seconds_ago"] = 60
    elif overtaken_by == "block":
        await store_block(gateway.deps.redis, Block(gateway.github_id, since=gateway.deps.clock()))
    elif overtaken_by == "disabling":
        form["disabled"] = 1
    else:
        form["replayed"] = 1
    status, refused = await gateway.asked(client_id, **form)
    error = "unauthorized_client" if overtaken_by == "disabling" else "invalid_grant"
    assert (status, refused["error"]) == (400, error)
    assert gateway.keys(web, grant_id) == []


async def test_the_oldest_grants_of_a_person_are_ended_for_a_new_one(web: WebServer, gateway: Gateway) -> None:
    client_id = (await gateway.registered(NAME))["client_id"]
    grants = [new_identifier() for _ in range(3)]
    for grant_id in grants:
        status, answer = await gateway.asked(client_id, grant_id=grant_id)
        assert status == 200, answer
    living = [grant_id for grant_id in grants if gateway.keys(web, grant_id)]
    assert len(living) == 2
    assert grants[-1] in living
