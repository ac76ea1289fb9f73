"""Assertions of an identity provider (ID-JAG): which tokens they give at the token endpoint, and which clients may
present them.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.oauth_web.issued_tokens import assert_refused, claims_of, live_tokens
from tests.support import forks
from tests.support.assertions import KEY_NAME, PROVIDER, SUBJECT, as_form, as_grant, asserted, jwks, key, signed
from tests.support.oauth_client import OAuthClient
from tests.support.publisher import Publisher, running_publisher
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx2

_AT_AN_ADDRESS = "https://idp.at-an-address.example"

# The client's id is not known before the server runs; the id of a document is.
_TRUSTED = """
[[trusted_issuers]]
issuer = "{provider}"
jwks_file = "{file}"
clients = ["{client}"]
github_id_claim = "github_id"
github_user_claim = "github_user"

[trusted_issuers.users]
{subject} = {{ github_id = 583231, github_user = "octocat" }}

[[trusted_issuers]]
issuer = "{other}"
jwks_uri = "{address}"
clients = ["{client}"]
github_id_claim = "github_id"
github_user_claim = "github_user"
"""


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with running_publisher() as publisher:
        publisher.client(
            "/app.json",
            token_endpoint_auth_method="private_key_jwt",
            jwks=jwks(key()),
            grant_types=["urn:ietf:params:oauth:grant-type:jwt-bearer"],
        )
        publisher.client("/public.json")
        publisher.put("/keys.json", jwks(key(name="at an address")))
        yield publisher


@pytest.fixture(scope="module")
def web(publisher: Publisher) -> Iterator[WebServer]:
    """A server that trusts two providers for one client, and for one public client."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys.json"
        file.write_text(json.dumps(jwks(key(name=KEY_NAME))), encoding="utf-8")
        more = _TRUSTED.format(
            provider=PROVIDER,
            file=file,
            client=f'{publisher.url("/app.json")}", "{publisher.url("/public.json")}',
            subject=SUBJECT,
            other=_AT_AN_ADDRESS,
            address=publisher.url("/keys.json"),
        )
        settings = {
            "ALLOW_LOOPBACK_CLIENT_DOCUMENTS": "true",
            "CLIENT_DOCUMENTS_CA_FILE": str(publisher.ca_file),
            "ALLOWED_GITHUB_USERS": "octocat, Monalisa, hubot",
        }
        with running_web(settings, more=more) as server:
            yield server


@pytest.fixture
async def client(web: WebServer) -> AsyncIterator[OAuthClient]:
    async with OAuthClient(web.issuer) as client:
        yield client


@pytest.fixture
def client_id(publisher: Publisher) -> str:
    return publisher.url("/app.json")


async def presented(client: OAuthClient, client_id: str, assertion: str, **form: str) -> httpx2.Response:
    """The client authenticates and presents `assertion`."""
    return await client.token({**as_grant(assertion), **as_form(signed(client_id, client.issuer)), **form})


def events(web: WebServer, kind: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in web.log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == kind]


@pytest.mark.requirement("id-jag:metadata")
async def test_the_metadata_advertises_assertions_and_not_their_issuers(client: OAuthClient) -> None:
    answer = await client.http.get(f"{client.issuer}/.well-known/oauth-authorization-server")
    document = answer.json()
    assert "urn:ietf:params:oauth:grant-type:jwt-bearer" in document["grant_types_supported"]
    assert document["authorization_grant_profiles_supported"] == ["urn:ietf:params:oauth:grant-profile:id-jag"]
    assert "idp" not in answer.text


@pytest.mark.requirement("id-jag:no-refresh")
async def test_an_assertion_gives_a_token_for_its_person_and_no_refresh_token(
    web: WebServer, client: OAuthClient, client_id: str
) -> None:
    answer = await presented(client, client_id, asserted(client_id, client.issuer), resource=web.resource)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert answer.headers["Cache-Control"] == "no-store"
    claims = await claims_of(client, answer.json()["access_token"])
    assert (claims["sub"], claims["github_id"], claims["github_user"]) == ("583231", 583231, "octocat")
    assert (claims["aud"], claims["scope"], claims["client_id"]) == (web.resource, "mcp.time", client_id)
    assert claims["jti"] in live_tokens(web)
    (told,) = [one for one in events(web, "identity.asserted") if one["reason"] == f"{SUBJECT} of {PROVIDER}"][-1:]
    assert (told["user"], told["user_id"], told["client_id"]) == ("octocat", 583231, client_id)


async def test_the_account_page_reports_that_a_provider_vouched_for_the_person(
    web: WebServer, client: OAuthClient, client_id: str
) -> None:
    to_github = await client.http.post(f"{client.issuer}/account/sign-in")
    await client.http.get(await client.from_github(to_github, "hubot"))
    with web.redis.client() as redis:
        (index,) = redis.keys("user-sessions:*")
    own: dict[str, Any] = {
        "iss": _AT_AN_ADDRESS,
        "github_id": int(str(index).partition(":")[2]),
        "github_user": "hubot",
        "scope": None,
        "resource": web.resource,
    }
    vouched = asserted(client_id, client.issuer, by=key(name="at an address"), **own)
    answer = await presented(client, client_id, vouched)
    assert answer.status_code == 200, answer.text
    page = (await client.http.get(f"{client.issuer}/account")).text
    assert "An identity provider that this gateway trusts vouched for you to this app." in page
    assert "You allowed this app" not in page


async def test_scopes_of_other_servers_are_left_out(client: OAuthClient, client_id: str) -> None:
    for asked in ("openid email profile", "openid mcp.time offline_access"):
        answer = await presented(client, client_id, asserted(client_id, client.issuer), scope=asked)
        assert (answer.status_code, answer.json().get("scope")) == (200, "mcp.time"), answer.text


async def test_keys_at_an_address_are_fetched_and_followed(
    web: WebServer, client: OAuthClient, client_id: str
) -> None:
    own: dict[str, Any] = {
        "iss": _AT_AN_ADDRESS,
        "github_id": 7,
        "github_user": "Monalisa",
        "scope": None,
        "resource": web.resource,
    }
    good = asserted(client_id, client.issuer, by=key(name="at an address"), **own)
    answer = await presented(client, client_id, good)
    assert answer.status_code == 200, answer.text
    claims = await claims_of(client, answer.json()["access_token"])
    assert (claims["github_user"], claims["scope"], claims["aud"]) == ("Monalisa", "mcp.time", web.resource)
    # The keys of one provider do not verify assertions of the other.
    mixed = asserted(client_id, client.issuer, by=key(name=KEY_NAME), **own)
    assert_refused(await presented(client, client_id, mixed), "invalid_grant")


@pytest.mark.requirement("id-jag:replay")
async def test_an_assertion_is_accepted_once_even_with_concurrent_requests(
    client: OAuthClient, client_id: str
) -> None:
    assertion = asserted(client_id, client.issuer)
    answers = await asyncio.gather(*(presented(client, client_id, assertion) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200, *[400] * 9]
    for answer in answers:
        if answer.status_code != 200:
            assert_refused(answer, "invalid_grant")


async def test_an_assertion_can_be_used_again_after_a_wrong_request(
    web: WebServer, client: OAuthClient, client_id: str
) -> None:
    assertion = asserted(client_id, client.issuer)
    wrong = await presented(client, client_id, assertion, resource=web.other_resource)
    assert_refused(wrong, "invalid_scope")
    unknown = await presented(client, client_id, assertion, resource="https://elsewhere.example")
    assert_refused(unknown, "invalid_target")
    assert (await presented(client, client_id, assertion, resource=web.resource)).status_code == 200


@pytest.mark.requirement("id-jag:confidential")
async def test_a_public_client_may_not_present_an_assertion(
    publisher: Publisher, client: OAuthClient, client_id: str
) -> None:
    """Anyone can present the id of a public client, so a stolen assertion would be enough."""
    public = publisher.url("/public.json")
    answer = await client.token({**as_grant(asserted(public, client.issuer)), "client_id": public})
    assert_refused(answer, "unauthorized_client")
    stolen = await client.token({**as_grant(asserted(client_id, client.issuer)), "client_id": public})
    assert_refused(stolen, "unauthorized_client")


@pytest.mark.requirement("id-jag:client")
async def test_an_assertion_for_another_client_is_refused(client: OAuthClient, client_id: str) -> None:
    assert_refused(await presented(client, client_id, asserted("another", client.issuer)), "invalid_grant")


async def test_a_client_that_is_not_named_in_the_settings_is_refused_even_with_a_secret(
    client: OAuthClient,
) -> None:
    registration = await client.register(token_endpoint_auth_method="client_secret_post")
    proof = {"client_id": registration.client_id, "client_secret": registration.secret}
    answer = await client.token({**as_grant(asserted(registration.client_id, client.issuer)), **proof})
    assert_refused(answer, "invalid_grant")
    # The answer is the same as for an unknown provider: it does not reveal which ones are trusted.
    unheard = asserted(registration.client_id, client.issuer, iss="https://unheard.example")
    assert (await client.token({**as_grant(unheard), **proof})).json() == answer.json()


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://another.example"},
        {"exp": 1, "iat": 1},
        {"sub": "nobody we know"},
        {"sub": "U1", "github_id": True, "github_user": "octocat"},
        {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
        {"headers": {"typ": "JWT"}},
        {"headers": {"kid": "../../etc/passwd"}},
    ],
)
async def test_an_invalid_assertion_is_refused(
    client: OAuthClient, client_id: str, claims: dict[str, Any]
) -> None:
    audience = claims.pop("aud", client.issuer)
    assert_refused(await presented(client, client_id, asserted(client_id, audience, **claims)), "invalid_grant")


@pytest.mark.parametrize("assertion", ["", "x", "a.b.c", "e30.e30.e30", "é.b.c"])
async def test_a_malformed_assertion_is_refused(client: OAuthClient, client_id: str, assertion: str) -> None:
    refused = await presented(client, client_id, assertion)
    assert_refused(refused, "invalid_grant" if assertion else "invalid_request")


async def test_a_person_who_is_not_eligible_is_refused_and_that_is_recorded(
    web: WebServer, client: OAuthClient, client_id: str
) -> None:
    stranger: dict[str, Any] = {"sub": "U2", "github_id": 99, "github_user": "stranger"}
    assert_refused(
        await presented(client, client_id, asserted(client_id, client.issuer, **stranger)), "invalid_grant"
    )
    assert events(web, "sign_in.refused")[-1]["user"] == "stranger"


async def test_the_login_that_github_reported_for_an_account_overrides_the_login_of_a_provider(
    client: OAuthClient, client_id: str
) -> None:
    """A provider, or a person with edit rights there, must not give an account a login that is on the list."""
    first: dict[str, Any] = {"sub": "U3", "github_id": 1234, "github_user": "Monalisa"}
    again: dict[str, Any] = {**first, "github_user": "octocat"}
    assert (await presented(client, client_id, asserted(client_id, client.issuer, **first))).status_code == 200
    answer = await presented(client, client_id, asserted(client_id, client.issuer, **again))
    claims = await claims_of(client, answer.json()["access_token"])
    assert (claims["github_id"], claims["github_user"]) == (1234, "Monalisa")


def operate(web: WebServer, *arguments: str) -> None:
    done = forks.run("portcullis", *arguments, environment=web.environment)
    assert done.returncode == 0, done.stderr


async def test_blocking_and_revoking_work_for_people_who_never_signed_in_here(
    web: WebServer, client: OAuthClient, client_id: str
) -> None:
    own: dict[str, Any] = {"sub": "U4", "github_id": 4321, "github_user": "octocat"}
    before = asserted(client_id, client.issuer, **own)
    answer = await presented(client, client_id, asserted(client_id, client.issuer, **own))
    jti = (await claims_of(client, answer.json()["access_token"]))["jti"]
    assert jti in live_tokens(web)
    operate(web, "users", "revoke", "4321")
    assert jti not in live_tokens(web)
    # It was made before the revocation and is presented after it.
    assert_refused(await presented(client, client_id, before), "invalid_grant")
    operate(web, "users", "block", "4321")
    later = asserted(client_id, client.issuer, **own)
    assert_refused(await presented(client, client_id, later), "invalid_grant")
    operate(web, "users", "unblock", "4321")


async def test_revoking_a_client_ends_its_long_grants_even_after_a_later_short_one(
    web: WebServer, client: OAuthClient, client_id: str
) -> None:
    """The index of a client's grants is kept as long as the longest of them, not as the last."""
    answer = await presented(client, client_id, asserted(client_id, client.issuer))
    assert answer.status_code == 200
    with web.redis.client() as redis:
        (name,) = [str(one) for one in redis.keys("client-grants:*")]
        short = redis.ttl(name)
        redis.zadd(name, {"long": int(time.time()) + 1_000_000})
        assert (await presented(client, client_id, asserted(client_id, client.issuer))).status_code == 200
        assert redis.ttl(name) > short + 900_000
    operate(web, "clients", "revoke", client_id)


async def test_a_guessed_refresh_token_of_such_a_grant_is_refused(
    web: WebServer, client: OAuthClient, client_id: str
) -> None:
    answer = await presented(client, client_id, asserted(client_id, client.issuer))
    jti = (await claims_of(client, answer.json()["access_token"]))["jti"]
    with web.redis.client() as redis:
        grant_id = redis.get(f"token:{jti}")
    form = {"grant_type": "refresh_token", "refresh_token": f"{grant_id}.{'A' * 22}.{'A' * 43}"}
    refused = await client.token({**form, **as_form(signed(client_id, client.issuer))})
    assert_refused(refused, "invalid_grant")
    assert jti in live_tokens(web)


async def test_the_log_contains_no_assertion(web: WebServer, client: OAuthClient, client_id: str) -> None:
    good, bad = asserted(client_id, client.issuer), asserted(client_id, "https://another.example")
    await presented(client, client_id, good)
    await presented(client, client_id, bad)
    for assertion in (good, bad):
        assert assertion.split(".")[1] not in web.log.read_text()
