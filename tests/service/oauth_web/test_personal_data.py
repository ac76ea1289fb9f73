"""An operator exports all that is kept about a person, and erases it."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from oauth_core.flows.mail_notices import Contact, MailKind
from oauth_core.store.records.contacts import ContactStore
from tests.support import forks
from tests.support.master_key import RECORD_KEY
from tests.support.oauth_client import OAuthClient, Pkce, form_value
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio import Redis


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A server for this module, on which every test uses its own people."""
    with running_web({"ALLOWED_GITHUB_USERS": "*"}) as server:
        yield server


def run(web: WebServer, *arguments: str) -> str:
    done = forks.run("portcullis", *arguments, environment=web.environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def exported(web: WebServer, person: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(web, "users", "export", person))
    return found


async def signed_in(client: OAuthClient, redis: Redis, login: str) -> tuple[int, dict[str, Any], str]:
    """Sign in, allow an app and have a mail address; the person, the tokens, and the app's id."""
    registration, pkce = await client.register(client_name="Editor"), Pkce.fresh()
    came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), login)
    tokens = (await client.redeem(registration.client_id, came_back["code"], pkce.verifier)).json()
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    contact = Contact(f"{login}@example.com", (MailKind.BLOCKED,), 1_700_000_000)
    await ContactStore(redis, RECORD_KEY).put(int(claims["sub"]), contact)
    return int(claims["sub"]), tokens, registration.client_id


async def keys_of(redis: Redis, github_id: int) -> set[str]:
    """The families of keys that name the person."""
    return {key.removesuffix(f":{github_id}") async for key in redis.scan_iter(f"*:{github_id}")}


async def test_an_export_has_everything_and_no_secret(web: WebServer, client: OAuthClient, redis: Redis) -> None:
    login = f"p{secrets.token_hex(6)}"
    github_id, tokens, client_id = await signed_in(client, redis, login)
    page = (await client.http.get(f"{web.issuer}/account")).text
    found = exported(web, login)
    assert (found["id"], found["profile"]["login"]) == (github_id, login)
    assert found["mail"] == {
        "address": f"{login}@example.com",
        "kinds": ["blocked"],
        "confirmed": "2023-11-14T22:13:20+00:00",
    }
    assert [grant["client_id"] for grant in found["grants"]] == [client_id]
    assert len(found["sessions"]) == 1
    assert {notice["kind"] for notice in found["notices"]} == {"signed_in", "app_allowed"}
    assert found["block"] is None
    text = json.dumps(found)
    cookies = [cookie.value or "" for cookie in client.http.cookies.jar]
    for secret in (tokens["access_token"], tokens["refresh_token"], form_value(page, "form_token"), *cookies):
        assert secret.rpartition(".")[2] not in text


async def test_erasure_ends_all_access_and_leaves_only_required_data(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    login = f"p{secrets.token_hex(6)}"
    github_id, tokens, client_id = await signed_in(client, redis, login)
    assert {"notices", "contact", "user"} <= await keys_of(redis, github_id)
    output = run(web, "users", "erase", login, "--yes", "--reason", "asked for it")
    assert f"{github_id} erased; 1 grants ended." in output
    assert "audit record" in output
    assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 400
    assert "Sign in to see" in (await client.http.get(f"{web.issuer}/account")).text
    left = await keys_of(redis, github_id)
    assert left <= {"cut:user", "ended:consents", "ended:person"}, "only what keeps ended rights ended"
    found = exported(web, str(github_id))
    assert [name for name, value in found.items() if value not in (None, [], 0)] == ["id"]


async def test_a_block_stays_when_its_person_is_erased(web: WebServer, client: OAuthClient, redis: Redis) -> None:
    login = f"p{secrets.token_hex(6)}"
    github_id, _, _ = await signed_in(client, redis, login)
    run(web, "users", "block", login, "--reason", "abuse")
    run(web, "users", "erase", login, "--yes")
    found = exported(web, str(github_id))
    assert found["block"]["reason"] == "abuse"
    assert found["notices"] == []
    registration, pkce = await client.register(), Pkce.fresh()
    client.forget_session()
    refused = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), login)
    assert refused["error"] == "access_denied"


def test_no_data_is_erased_without_a_confirmation(web: WebServer) -> None:
    done = forks.run("portcullis", "users", "erase", "id:583231", environment=web.environment, given="n\n")
    assert done.returncode != 0
    assert "End all access of id:583231" in done.stderr
