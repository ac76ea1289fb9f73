"""Every audit event of a request has the address that the request came from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer

ADDRESS = "203.0.113.99"


def events(web: WebServer) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in web.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    return [event for event in found if event.get("audit") and event.get("source") == ADDRESS]


async def test_a_registration_and_a_refused_token_request_have_their_address(
    web: WebServer, client: OAuthClient
) -> None:
    client.http.headers["X-Portcullis-Address"] = ADDRESS
    registration = await client.register()
    refused = await client.token(
        {"grant_type": "authorization_code", "code": "made-up", "client_id": registration.client_id}
    )
    assert refused.status_code == 400
    told = {event["event"] for event in events(web) if event.get("client_id") == registration.client_id}
    assert told == {"client.registered", "token.refused"}


@pytest.mark.parametrize("claimed", ["not-an-address", "203.0.113.99, 203.0.113.98"])
async def test_an_invalid_address_is_not_recorded_as_the_source(
    web: WebServer, client: OAuthClient, claimed: str
) -> None:
    client.http.headers["X-Portcullis-Address"] = claimed
    registration = await client.register()
    sources = [
        event["source"]
        for line in web.log.read_text(encoding="utf-8").splitlines()
        if line.startswith("{") and (event := json.loads(line)).get("client_id") == registration.client_id
    ]
    assert sources == ["127.0.0.1"]
