"""Complaints about other gateways that only a complete gateway can answer; `docs/generated/requirements.md` has
all.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from portcullis.github_standin.settings import PREFIX
from tests.support.mcp_clients import McpUser, probe, whoami

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.gateway import RunningGateway
    from tests.support.oauth_client import OAuthClient

PATIENCE = 60.0


@pytest.fixture
def envoy_admin(gateway: RunningGateway) -> Iterator[httpx2.Client]:
    """Envoy's own statistics."""
    socket = gateway.state_dir / "run" / "envoy-admin.sock"
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(socket)), base_url="http://localhost") as client:
        yield client


def _checks(admin: httpx2.Client) -> tuple[int, int]:
    """The number of connections that Envoy has opened to the check service so far, and the number
    of its checks.
    """
    stats = admin.get("/stats?format=json&filter=^cluster.ext_authz.upstream_(cx|rq)_total$").json()["stats"]
    found = {stat["name"].rpartition(".")[2]: int(stat["value"]) for stat in stats}
    return found["upstream_cx_total"], found["upstream_rq_total"]


@pytest.mark.requirement("complaints:envoy-gateway-5014")
async def test_many_checks_share_few_connections(
    gateway: RunningGateway, oauth: OAuthClient, envoy_admin: httpx2.Client
) -> None:
    resource = gateway.resource("whoami")
    token = (await oauth.tokens((await oauth.register()).client_id, resource=resource))["access_token"]
    for _ in range(5):
        await probe(oauth.http, resource, token)
    connections, questions = _checks(envoy_admin)
    for _ in range(40):
        assert (await probe(oauth.http, resource, token)).status_code == 200
    more_connections, more_questions = _checks(envoy_admin)
    assert more_questions - questions >= 40
    assert more_connections - connections <= 4


@pytest.mark.requirement("complaints:fastmcp-3543")
async def test_using_a_service_sends_no_request_to_github(gateway: RunningGateway) -> None:
    user = McpUser(gateway.resource("whoami"))
    async with user.connected() as client:
        await whoami(client)
        await _logged(gateway, "/whoami/mcp/before")
        asked = _requests_to_github(gateway)
        assert asked, "a sign-in does send requests to GitHub, and they are visible here"
        for _ in range(5):
            await whoami(client)
        await _logged(gateway, "/whoami/mcp/after")
    assert _requests_to_github(gateway) == asked


async def _logged(gateway: RunningGateway, path: str) -> None:
    """Wait until Envoy has logged everything until now, of which a request to `path` is the last."""
    async with httpx2.AsyncClient() as http:
        assert (await http.get(f"{gateway.url}{path}")).status_code == 401
    deadline = time.monotonic() + PATIENCE
    while not any(line["path"] == path for line in _access_log(gateway)):
        assert time.monotonic() < deadline
        time.sleep(0.05)  # noqa: ASYNC251 - nothing else is to happen meanwhile


def _access_log(gateway: RunningGateway) -> list[dict[str, Any]]:
    return [entry for entry in gateway.entries("envoy") if "path" in entry]


def _requests_to_github(gateway: RunningGateway) -> int:
    return sum(line["path"].startswith(PREFIX) for line in _access_log(gateway))


@pytest.mark.requirement("complaints:supabase-mcp-355")
async def test_a_client_with_a_deleted_registration_gets_the_error_after_which_it_registers_again(
    gateway: RunningGateway, oauth: OAuthClient
) -> None:
    gone = await oauth.register(client_name="Forgotten")
    assert (
        await oauth.http.delete(gone.document["registration_client_uri"], headers=gone.management)
    ).status_code == 204
    refused = await oauth.refresh(gone.client_id, "whatever")
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    page = await oauth.http.get(oauth.authorize_url(gone.client_id, "x" * 43))
    assert page.status_code == 400
    assert page.headers["Content-Type"].startswith("text/html")
    again = await oauth.register(client_name="Forgotten")
    assert again.client_id != gone.client_id
    assert (await oauth.tokens(again.client_id, resource=gateway.resource("whoami")))["access_token"]
