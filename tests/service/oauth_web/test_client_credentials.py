"""Machine clients: programs that act as themselves. Only the operator's command makes them."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.oauth_web.client_commands import clients
from tests.service.oauth_web.issued_tokens import assert_refused, claims_of, live_tokens

if TYPE_CHECKING:
    import httpx2

    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer

BOTH = ("--scope", "mcp.time", "--scope", "mcp.notes")


def made(web: WebServer, *arguments: str) -> dict[str, Any]:
    """A new machine client that authenticates in the form."""
    given = ("create", "--name", "Nightly job", "--method", "client_secret_post", "--json", *(arguments or BOTH))
    document: dict[str, Any] = clients(web, *given)
    return document


async def asked(client: OAuthClient, machine: dict[str, Any], **form: str | list[str]) -> httpx2.Response:
    """Request a token as the machine client."""
    proof = {"client_id": machine["client_id"], "client_secret": machine["client_secret"]}
    return await client.token({"grant_type": "client_credentials", **proof, **form})


@pytest.mark.requirement("sep-1046:secret")
async def test_a_machine_client_gets_a_token_with_itself_as_the_subject_and_no_person(
    web: WebServer, client: OAuthClient
) -> None:
    machine = made(web)
    answer = await asked(client, machine)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert answer.headers["Cache-Control"] == "no-store"
    claims = await claims_of(client, answer.json()["access_token"])
    assert claims.keys() == {"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope"}
    assert claims["sub"] == claims["client_id"] == machine["client_id"]
    assert (claims["aud"], claims["scope"]) == ([web.resource, web.other_resource], "mcp.time mcp.notes")
    assert claims["jti"] in live_tokens(web)


@pytest.mark.requirement("sep-1046:secret")
async def test_a_machine_client_may_authenticate_with_the_basic_header(
    web: WebServer, client: OAuthClient
) -> None:
    machine = clients(web, "create", "--name", "Job", "--json", *BOTH)
    pair = base64.b64encode(f"{machine['client_id']}:{machine['client_secret']}".encode()).decode()
    answer = await client.token({"grant_type": "client_credentials"}, {"Authorization": f"Basic {pair}"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("form", "scope", "services"),
    [
        ({"scope": "mcp.time"}, "mcp.time", ["time"]),
        ({"resource": "notes"}, "mcp.notes", ["notes"]),
        ({"resource": ["time", "notes"]}, "mcp.time mcp.notes", ["time", "notes"]),
        ({"scope": "mcp.notes mcp.time", "resource": "time"}, "mcp.time", ["time"]),
        ({"scope": "mcp.time offline_access"}, "mcp.time", ["time"]),
    ],
)
@pytest.mark.requirement("sep-1046:scope")
async def test_a_token_has_no_more_than_the_requested_scope_and_resources(
    web: WebServer, client: OAuthClient, form: dict[str, Any], scope: str, services: list[str]
) -> None:
    named = {"time": web.resource, "notes": web.other_resource}
    if wanted := form.get("resource"):
        form = {**form, "resource": [named[name] for name in ([wanted] if isinstance(wanted, str) else wanted)]}
    answer = await asked(client, made(web), **form)
    assert answer.status_code == 200, answer.text
    claims = await claims_of(client, answer.json()["access_token"])
    audience = [claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"]
    assert (claims["scope"], audience) == (scope, [named[name] for name in services])


@pytest.mark.requirement("sep-1046:scope")
async def test_a_machine_client_gets_nothing_beyond_the_operators_choice(
    web: WebServer, client: OAuthClient
) -> None:
    machine = made(web, "--scope", "mcp.time")
    assert_refused(await asked(client, machine, scope="mcp.notes"), "invalid_scope")
    assert_refused(await asked(client, machine, scope="mcp.time mcp.notes"), "invalid_scope")
    assert (await asked(client, machine, scope="mcp.time openid email")).json()["scope"] == "mcp.time"
    assert_refused(await asked(client, machine, resource=web.other_resource), "invalid_target")
    both = await asked(client, made(web), scope="mcp.time", resource=web.other_resource)
    assert_refused(both, "invalid_target")


@pytest.mark.requirement("oauth21:client-credentials")
async def test_a_wrong_secret_is_refused(web: WebServer, client: OAuthClient) -> None:
    machine = made(web)
    assert_refused(await asked(client, {**machine, "client_secret": "wrong"}), "invalid_client", 401)
    bare = {"grant_type": "client_credentials", "client_id": machine["client_id"]}
    assert_refused(await client.token(bare), "invalid_client", 401)


@pytest.mark.requirement("oauth21:client-credentials")
@pytest.mark.parametrize("method", ["none", "client_secret_post"])
@pytest.mark.requirement("sep-1046:registered")
async def test_a_self_registered_client_cannot_use_client_credentials(client: OAuthClient, method: str) -> None:
    """Registration is open to all: rights without a person would be rights for all."""
    registration = await client.register(
        token_endpoint_auth_method=method,
        grant_types=["authorization_code", "client_credentials"],
        machine_scopes=["mcp.time"],
        scope="mcp.time",
    )
    assert "client_credentials" not in registration.document["grant_types"]
    secret = {} if method == "none" else {"client_secret": registration.secret}
    form = {"grant_type": "client_credentials", "client_id": registration.client_id, **secret}
    assert_refused(await client.token(form), "unauthorized_client")
    only = {"grant_types": ["client_credentials"]}
    assert (await client.http.post(f"{client.issuer}/register", json=only)).status_code == 400


async def test_a_machine_client_cannot_have_a_person_sign_in_for_it(web: WebServer, client: OAuthClient) -> None:
    machine = made(web)
    page = await client.http.get(client.authorize_url(machine["client_id"], "x" * 43))
    assert (page.status_code, page.has_redirect_location) == (400, False)
    proof = {"client_id": machine["client_id"], "client_secret": machine["client_secret"]}
    answer = await client.http.post(f"{client.issuer}/device_authorization", data=proof)
    assert_refused(answer, "unauthorized_client")


async def test_a_machine_client_cannot_be_managed_over_http(web: WebServer, client: OAuthClient) -> None:
    machine = made(web)
    url = f"{client.issuer}/register/{machine['client_id']}"
    for token in ("x", machine["client_secret"]):
        answer = await client.http.delete(url, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
    assert (await asked(client, machine)).status_code == 200


async def test_a_machine_has_no_refresh_token_that_could_be_guessed(web: WebServer, client: OAuthClient) -> None:
    machine = made(web)
    assert (await asked(client, machine)).status_code == 200
    guess = f"{machine['client_id']}.{'A' * 22}.{'A' * 43}"
    proof = {"client_id": machine["client_id"], "client_secret": machine["client_secret"]}
    form = {"grant_type": "refresh_token", "refresh_token": guess, **proof}
    assert_refused(await client.token(form), "invalid_grant")
    looked_up = await client.http.post(f"{client.issuer}/introspect", data={"token": guess, **proof})
    assert looked_up.json() == {"active": False}


async def test_a_machine_clients_token_is_introspected_without_a_user_name_and_can_be_revoked(
    web: WebServer, client: OAuthClient
) -> None:
    machine = made(web)
    token = (await asked(client, machine)).json()["access_token"]
    form = {"client_id": machine["client_id"], "client_secret": machine["client_secret"], "token": token}
    document = (await client.http.post(f"{client.issuer}/introspect", data=form)).json()
    assert (document["active"], document["sub"]) == (True, machine["client_id"])
    assert "username" not in document
    assert (await client.http.post(f"{client.issuer}/revoke", data=form)).status_code == 200
    assert (await client.http.post(f"{client.issuer}/introspect", data=form)).json() == {"active": False}


async def test_deleting_a_machine_ends_every_token_it_has(web: WebServer, client: OAuthClient) -> None:
    machine = made(web)
    answers = await asyncio.gather(*(asked(client, machine) for _ in range(10)))
    ids = {(await claims_of(client, answer.json()["access_token"]))["jti"] for answer in answers}
    assert len(ids) == 10
    assert ids <= live_tokens(web)
    assert clients(web, "delete", machine["client_id"], "--json")["grants_ended"] == 1
    assert not ids & live_tokens(web)
    assert_refused(await asked(client, machine), "invalid_client", 401)


# -- the operator's command --------------------------------------------------------------------------------------


async def test_a_machine_client_has_no_expiry(web: WebServer, client: OAuthClient) -> None:
    machine = made(web)
    await asked(client, machine)
    with web.redis.client() as redis:
        assert redis.ttl(f"client:{machine['client_id']}") == -1


async def test_the_secret_is_shown_once_and_not_stored(web: WebServer, client: OAuthClient) -> None:
    machine = made(web)
    await asked(client, machine)
    later = json.dumps([clients(web, "show", machine["client_id"], "--json"), clients(web, "list", "--json")])
    with web.redis.client() as redis:
        record = str(redis.get(f"client:{machine['client_id']}"))
    for text in (later, record, web.log.read_text()):
        assert machine["client_secret"] not in text
    assert "hash" not in later


async def test_clients_are_listed_and_shown(web: WebServer, client: OAuthClient) -> None:
    machine, registration = made(web), await client.register()
    everybody = {row["client_id"]: row for row in clients(web, "list", "--json")}
    machines = {row["client_id"] for row in clients(web, "list", "--machine", "--json")}
    assert machine["client_id"] in machines
    assert registration.client_id in everybody.keys() - machines
    shown = clients(web, "show", machine["client_id"], "--json")
    assert shown == everybody[machine["client_id"]]
    assert (shown["name"], shown["machine_scopes"]) == ("Nightly job", "mcp.time mcp.notes")
    assert machine["client_id"] in clients(web, "list")


async def test_an_operator_deletes_any_client_with_its_grants(web: WebServer, client: OAuthClient) -> None:
    registration = await client.register()
    tokens = await client.tokens(registration.client_id)
    assert "ended 1 of its grants" in clients(web, "delete", registration.client_id)
    assert_refused(await client.refresh(registration.client_id, tokens["refresh_token"]), "invalid_client", 401)


@pytest.mark.parametrize(
    ("arguments", "expect", "said"),
    [
        (("create", "--name", "Job", "--scope", "mcp.unknown"), 2, "no service has the scope mcp.unknown"),
        (("create", "--name", "\x1b[2J", "--scope", "mcp.time"), 2, "printable"),
        (("create", "--name", "", "--scope", "mcp.time"), 2, "printable"),
        (("create", "--name", "Job"), 2, "--scope"),
        (("create", "--name", "Job", "--scope", "mcp.time", "--method", "none"), 2, "--method"),
        (("show", "unknown"), 1, "no such client"),
        (("show", "*"), 1, "no such client"),
        (("delete", "A" * 22), 1, "no such client"),
        (("delete", "*"), 1, "no such client"),
    ],
)
def test_a_wrong_command_is_one_readable_line(
    web: WebServer, arguments: tuple[str, ...], expect: int, said: str
) -> None:
    output = clients(web, *arguments, expect=expect)
    assert said in output
    assert "Traceback" not in output
