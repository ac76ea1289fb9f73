"""An issuer with a path: the official SDK's client finds it, signs in and calls, and every address is below the
path.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.support.gateway import WHOAMI_ALONE, RunningGateway, operate, running_gateway
from tests.support.mcp_clients import McpUser, whoami
from tests.support.oauth_client import SESSION, OAuthClient, Pkce, form_value

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/sign/in"


@pytest.fixture(scope="module")
def below() -> Iterator[RunningGateway]:
    """A gateway whose issuer is `http://localhost:PORT/sign/in`."""
    config = WHOAMI_ALONE.replace('issuer = "http://localhost:8080"', f'issuer = "http://localhost:8080{PATH}"')
    _, table, service = config.partition("[[services]]")
    # so that the doctor can present a token of one to the other
    other = (table + service).replace("whoami", "another")
    with running_gateway(config=config + other) as gateway:
        yield gateway


@pytest.fixture
def origin(below: RunningGateway) -> str:
    assert below.url.endswith(PATH)
    return below.url.removesuffix(PATH)


async def test_the_sdks_client_signs_in_calls_and_refreshes(below: RunningGateway, origin: str) -> None:
    user = McpUser(f"{origin}/whoami/mcp")
    async with user.connected() as client:
        before = await whoami(client)
        first = user.access_token
        user.provider.context.token_expiry_time = 1.0  # as a client would find that checks its clock
        assert await whoami(client) == before
    assert user.access_token != first
    (visit,) = user.visits
    assert visit.startswith(f"{below.url}/authorize?")


@pytest.mark.parametrize(
    "place",
    [
        f"/.well-known/oauth-authorization-server{PATH}",
        f"/.well-known/openid-configuration{PATH}",
        f"{PATH}/.well-known/openid-configuration",
    ],
)
def test_all_three_well_known_forms_give_the_same_metadata_with_every_address_below_the_path(
    below: RunningGateway, origin: str, place: str
) -> None:
    document: dict[str, Any] = httpx2.get(f"{origin}{place}").json()
    assert document["issuer"] == below.url
    addresses = {name: value for name, value in document.items() if name.endswith(("_endpoint", "_uri"))}
    assert len(addresses) == 7
    for name, address in addresses.items():
        assert address.startswith(f"{below.url}/"), name
        assert httpx2.get(address).status_code != 404, name
    assert httpx2.get(document["jwks_uri"]).json()["keys"]
    assert document["protected_resources"] == [f"{origin}/whoami/mcp", f"{origin}/another/mcp"]


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-authorization-server",
        "/authorize",
        "/token",
        "/register",
        "/account",
        "/account/sign-in",
        "/",
    ],
)
def test_no_endpoint_is_at_the_root_of_the_host(below: RunningGateway, origin: str, path: str) -> None:
    assert httpx2.get(f"{origin}{path}").status_code == 404


def test_the_metadata_of_resources_has_the_exact_issuer(below: RunningGateway, origin: str) -> None:
    document = httpx2.get(f"{origin}/.well-known/oauth-protected-resource/whoami/mcp").json()
    assert document["authorization_servers"] == [below.url]
    challenge = httpx2.post(f"{origin}/whoami/mcp", json={}).headers["WWW-Authenticate"]
    assert f'resource_metadata="{origin}/.well-known/oauth-protected-resource/whoami/mcp"' in challenge


async def test_success_and_error_contain_the_issuer_and_forms_stay_below_it(below: RunningGateway) -> None:
    async with OAuthClient(below.url) as client:
        registration = await client.register()
        assert registration.document["registration_client_uri"].startswith(f"{below.url}/register/")
        pkce = Pkce.fresh()
        url = client.authorize_url(registration.client_id, pkce.challenge)
        page = await client.http.get(url)
        assert f'action="{PATH}/authorize/consent"' in page.text
        answer = await client.authorize(url)
        assert answer["iss"] == below.url
        declined = await client.consent(client.authorize_url(registration.client_id, pkce.challenge), "deny")
        told = parse_qs(urlsplit(declined.headers["Location"]).query)
        assert (told["error"], told["iss"]) == (["access_denied"], [below.url])


async def test_forms_are_accepted_from_the_origin_without_the_path_and_refused_from_others(
    below: RunningGateway, origin: str
) -> None:
    async with OAuthClient(below.url) as client:
        registration = await client.register()
        url = client.authorize_url(registration.client_id, Pkce.fresh().challenge)
        for sender, status in (("https://evil.example", 400), (below.url, 400), (origin, 303)):
            form = await client.consent_form(url)
            answer = await client.http.post(
                f"{below.url}/authorize/consent", data={**form, "decision": "allow"}, headers={"Origin": sender}
            )
            assert answer.status_code == status, sender
    page = httpx2.get(f"{below.url}/device")
    assert f'action="{PATH}/device"' in page.text


async def test_the_account_page_is_below_the_path_from_signing_in_to_signing_out(
    below: RunningGateway, origin: str
) -> None:
    account = f"{below.url}/account"
    async with OAuthClient(below.url) as client:
        registration, pkce = await client.register(client_name="App below a path"), Pkce.fresh()
        url = client.authorize_url(registration.client_id, pkce.challenge, resource=f"{origin}/whoami/mcp")
        code = (await client.authorize(url, "hubot"))["code"]
        tokens = (await client.redeem(registration.client_id, code, pkce.verifier)).json()
        client.forget_session()
        assert actions_on(await client.http.get(account)) == [f"{PATH}/account/sign-in"]
        to_github = await client.http.post(f"{account}/sign-in", headers={"Origin": origin})
        back = await client.http.get(await client.from_github(to_github, "hubot"))
        assert (back.status_code, back.headers["Location"]) == (303, f"{PATH}/account")

        page = await client.http.get(account)
        assert "<strong>hubot</strong>" in page.text
        assert "App below a path" in page.text
        places = ("disconnect", "sign-out", "sign-out-everywhere")
        assert actions_on(page) == [f"{PATH}/account/{place}" for place in places]
        asked = await client.http.get(client.authorize_url(registration.client_id, pkce.challenge))
        assert f'href="{PATH}/account"' in asked.text, "the consent page has a link to it"

        async def sent(place: str, **form: str) -> str:
            form["form_token"] = form_value(page.text, "form_token")
            refused = await client.http.post(f"{account}/{place}", data=form, headers={"Origin": below.url})
            assert refused.status_code == 403, "a browser never sends a path in its origin"
            answer = await client.http.post(f"{account}/{place}", data=form, headers={"Origin": origin})
            assert answer.status_code == 303
            return str(answer.headers["Location"])

        done = await sent("disconnect", grant=tokens["refresh_token"].split(".")[0])
        assert done == f"{PATH}/account?done=disconnected"
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await client.http.post(f"{origin}/whoami/mcp", json={}, headers=bearer)).status_code == 401
        assert (await client.refresh(registration.client_id, tokens["refresh_token"])).status_code == 400
        told = await client.http.get(f"{origin}{done}")
        assert "The app is disconnected" in told.text
        assert "App below a path" not in told.text.partition('<h2 id="notices">')[0]

        session = client.http.cookies[SESSION]
        assert await sent("sign-out") == f"{PATH}/account?done=signed-out"
        assert SESSION not in client.http.cookies
        kept = await client.http.get(account, headers={"Cookie": f"{SESSION}={session}"})
        assert actions_on(kept) == [f"{PATH}/account/sign-in"], "a stored cookie is not valid either"


def actions_on(page: httpx2.Response) -> list[str]:
    """The targets of the forms of a page, in order."""
    assert page.status_code == 200
    return re.findall(r'<form method="post" action="([^"]+)"', page.text)


def test_the_home_page_is_at_the_path_and_the_doctor_finds_no_fault(below: RunningGateway) -> None:
    for address in (below.url, f"{below.url}/"):
        page = httpx2.get(address)
        assert page.status_code == 200
        assert f"/.well-known/oauth-authorization-server{PATH}" in page.text
    findings = operate(below, "doctor", "--url", below.url)
    assert {finding["outcome"] for finding in findings} == {"ok"}
