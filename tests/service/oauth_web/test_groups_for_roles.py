"""Roles that depend on groups: the groups of all people are requested, also of people allowed by
login (row R11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
import pytest

from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.web_process import WebServer, another_web, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

ROLES = """
[roles.reader]
everyone = true
permissions = ["mcp.time.*"]

[roles.outsider]
teams = ["Acme/On-Call"]
orgs = ["birdwatchers"]
forbids = ["mcp.notes.*"]
"""


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """Allows every login, without roles."""
    with running_web({"ALLOWED_GITHUB_USERS": "*", "MEMBERSHIP_CHECK_INTERVAL": "0"}) as server:
        yield server


@pytest.fixture(scope="module")
def config(web: WebServer) -> Path:
    """The settings file of the same server, with roles."""
    file = web.log.with_name("with-roles.toml")
    file.write_text(web.log.with_name("portcullis.toml").read_text() + ROLES)
    return file


@pytest.fixture(scope="module")
def with_roles() -> Iterator[WebServer]:
    """Allows every login, and has roles."""
    with running_web({"ALLOWED_GITHUB_USERS": "*"}, more=ROLES) as server:
        yield server


@pytest.fixture
async def client(with_roles: WebServer) -> AsyncIterator[OAuthClient]:
    async with OAuthClient(with_roles.issuer) as client:
        yield client


async def signed_in(client: OAuthClient, login: str) -> tuple[str, dict[str, Any]]:
    registration, pkce = await client.register(), Pkce.fresh()
    came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), login)
    answer = await client.redeem(registration.client_id, came_back["code"], pkce.verifier)
    return registration.client_id, answer.json()


def groups_in(tokens: dict[str, Any]) -> list[str]:
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    groups: list[str] = claims.get("groups", [])
    return groups


@pytest.mark.parametrize(
    ("login", "groups"), [("octavia", ["acme/on-call", "birdwatchers"]), ("marek", []), ("stranger", [])]
)
async def test_a_token_has_the_groups_that_roles_mention(
    client: OAuthClient, login: str, groups: list[str]
) -> None:
    client_id, tokens = await signed_in(client, login)
    assert groups_in(tokens) == groups
    assert groups_in((await client.refresh(client_id, tokens["refresh_token"])).json()) == groups


async def test_a_sign_in_without_the_org_scope_is_refused(client: OAuthClient) -> None:
    registration = await client.register()
    url = client.authorize_url(registration.client_id, Pkce.fresh().challenge)
    client.rewrite_github = lambda location: location.replace("read%3Aorg", "")
    came_back = await client.authorize(url, "octavia")
    assert came_back["error"] == "access_denied"
    assert "read:org" in came_back["error_description"]


async def test_without_group_roles_github_is_asked_only_for_the_identity(web: WebServer) -> None:
    seen = []

    def look(location: str) -> str:
        seen.append(location)
        return location

    async with OAuthClient(web.issuer) as client:
        client.rewrite_github = look
        _, tokens = await signed_in(client, "octavia")
    assert "read%3Aorg" not in seen[0]
    assert groups_in(tokens) == []


async def test_a_grant_from_before_roles_depended_on_groups_needs_a_new_sign_in(
    web: WebServer, config: Path
) -> None:
    # Without groups no rule of a group would restrict the person.
    async with OAuthClient(web.issuer) as client:
        client_id, tokens = await signed_in(client, "octavia")
    with another_web(web, {"PORTCULLIS_CONFIG": str(config)}) as address:
        async with OAuthClient(address) as elsewhere:
            answer = await elsewhere.refresh(client_id, tokens["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
