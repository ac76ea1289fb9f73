"""The official Python SDK's client with its metadata document instead of a registration, through Envoy."""

from __future__ import annotations

import pytest
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import OAuthClientMetadata

from tests.support.gateway import WHOAMI_ALONE, running_gateway
from tests.support.mcp_clients import McpUser, whoami
from tests.support.publisher import running_publisher


@pytest.mark.requirement("mcp:cimd")
async def test_the_sdk_signs_in_with_the_url_of_its_document_and_does_not_register() -> None:
    with running_publisher() as publisher:
        client_id = publisher.client("/sdk/client.json", client_name="SDK client")
        environ = {
            "CLIENT_DOCUMENTS_CA_FILE": str(publisher.ca_file),
            "ALLOW_LOOPBACK_CLIENT_DOCUMENTS": "true",
        }
        with running_gateway(config=WHOAMI_ALONE, environ=environ) as gateway:
            user = McpUser(gateway.resource("whoami"))
            user.provider = OAuthClientProvider(
                user.resource,
                OAuthClientMetadata.model_validate(
                    {"client_name": "SDK client", "redirect_uris": ["http://127.0.0.1:7777/callback"]}
                ),
                user.wallet,
                redirect_handler=user._redirect,
                callback_handler=user._callback,
                client_metadata_url=client_id,
            )
            async with user.connected() as client:
                told = await whoami(client)
            kinds = {event["event"] for event in gateway.audit("oauth_web")}
    assert told["client_id"] == client_id
    assert user.wallet.management is None
    assert "token.issued" in kinds
    assert "client.registered" not in kinds
    assert publisher.times_asked("/sdk/client.json") == 1
