"""Service assertions through a real Envoy: the published keys are enough to verify them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import jwt
import pytest

from oauth_core.tokens import service_assertions
from tests.support.gateway import WHOAMI_ALONE, RunningGateway, running_gateway
from tests.support.mcp_clients import McpUser, claims_of, probe, whoami, whoami_as

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER = """
[[services]]
name = "other"
url = "/other/mcp"
command = ["portcullis", "example-server", "--listen", "unix:{socket}"]
transport = "http"
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    """A gateway with a service that has the setting for assertions, and one that has not."""
    with running_gateway(config=f"{WHOAMI_ALONE}assertion = true\n{OTHER}") as gateway:
        yield gateway


def verified(gateway: RunningGateway, assertion: str, audience: str = "service:whoami") -> dict[str, Any]:
    """The claims, as a service verifies them."""
    keys = jwt.PyJWKSet.from_dict(httpx2.get(f"{gateway.url}{service_assertions.PATH}").raise_for_status().json())
    header = jwt.get_unverified_header(assertion)
    assert header["typ"] == "service-assertion+jwt"
    claims: dict[str, Any] = jwt.decode(
        assertion, keys[header["kid"]], algorithms=["ES256"], audience=audience, issuer=gateway.url
    )
    return claims


async def test_a_service_can_verify_the_identity_of_the_caller(gateway: RunningGateway) -> None:
    user = McpUser(gateway.resource("whoami"), login="hubot")
    async with user.connected(headers={"X-Portcullis-Assertion": "forged"}) as client:
        told = await whoami(client)
    claims = verified(gateway, told["assertion"])
    token = claims_of(user.access_token)
    assert claims["sub"] == told["user_id"] == token["sub"]
    assert claims["preferred_username"] == "hubot"
    assert claims["client_id"] == token["client_id"]
    assert claims["scope"] == "mcp.whoami"
    assert claims["exp"] - claims["iat"] == 120
    # Another service refuses it.
    with pytest.raises(jwt.InvalidAudienceError):
        verified(gateway, told["assertion"], "service:other")


async def test_an_assertion_is_not_accepted_as_a_token(gateway: RunningGateway) -> None:
    user = McpUser(gateway.resource("whoami"))
    async with user.connected() as client:
        assertion = (await whoami(client))["assertion"]
    async with httpx2.AsyncClient() as http:
        assert (await probe(http, gateway.resource("whoami"), assertion)).status_code == 401
        assert (await probe(http, gateway.resource("whoami"), user.access_token)).status_code == 200
        access_token_keys = (await http.get(f"{gateway.url}/.well-known/jwks.json")).json()
    kid = jwt.get_unverified_header(assertion)["kid"]
    assert kid not in {key["kid"] for key in access_token_keys["keys"]}


async def test_an_assertion_is_reused_for_a_while_and_each_token_has_its_own(gateway: RunningGateway) -> None:
    resource = gateway.resource("whoami")
    octocat, hubot = McpUser(resource), McpUser(resource, login="hubot")
    async with octocat.connected() as client:
        told = [(await whoami(client))["assertion"] for _ in range(5)]
    async with hubot.connected() as client:
        theirs = (await whoami(client))["assertion"]
    # A signature for each call would cost as much as verifying the token each time; the workers cache one each.
    assert len(set(told)) <= 4
    assert {verified(gateway, one)["preferred_username"] for one in told} == {"octocat"}
    assert verified(gateway, theirs)["preferred_username"] == "hubot"


async def test_a_service_without_the_setting_gets_neither_ours_nor_the_callers(gateway: RunningGateway) -> None:
    user = McpUser(gateway.resource("other"))
    async with user.connected(headers={"X-Portcullis-Assertion": "forged"}) as client:
        assert (await whoami(client))["assertion"] is None


async def test_only_the_check_service_has_the_key(gateway: RunningGateway) -> None:
    """The private half is in no published document, no log and no environment except that of the check service."""
    secret = (gateway.state_dir / "secrets" / "assertion-key.pem").read_text(encoding="utf-8")
    body = "".join(secret.splitlines()[1:-1])
    published = httpx2.get(f"{gateway.url}{service_assertions.PATH}").text
    assert '"d"' not in published
    user = McpUser(gateway.resource("whoami"))
    async with user.connected() as client:
        await whoami(client)
    assertion = (await whoami_as(gateway.resource("whoami"), user.access_token))["assertion"]
    gateway.audited("ext_authz", event="access.allowed", jti=claims_of(user.access_token)["jti"])
    secrets = (body, secret.splitlines()[1], assertion)
    assert not any(one in text for text in gateway.logs().values() for one in secrets)
