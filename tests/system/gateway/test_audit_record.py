"""The audit record of a whole gateway: each program has its own part, and Envoy logs the same request ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portcullis.audit.segments import boots
from tests.support.audit_record import recorded
from tests.support.gateway import operate
from tests.support.mcp_clients import probe
from tests.support.programs import until

if TYPE_CHECKING:
    import httpx2

    from tests.support.gateway import RunningGateway
    from tests.support.oauth_client import OAuthClient


def found(gateway: RunningGateway, writer: str, **fields: str) -> dict[str, Any]:
    """The newest event of a writer, or of all its workers, with these fields; waits for one."""

    def events() -> list[dict[str, Any]]:
        writers = {boot.writer for boot in boots(gateway.audit_dir) if boot.writer.partition(".")[0] == writer}
        return [event for event in recorded(gateway.audit_dir, *writers) if fields.items() <= event.items()]

    until(events, f"{writer} records {fields}")
    return events()[-1]


async def test_a_call_and_a_token_request_have_the_request_ids_of_envoys_log(
    gateway: RunningGateway, oauth: OAuthClient, http: httpx2.AsyncClient
) -> None:
    client = await oauth.register()
    resource = gateway.resource("whoami")
    tokens = await oauth.tokens(client.client_id, resource=resource)
    # The caller cannot choose the id.
    http.headers |= {"X-Request-Id": "of-the-caller", "User-Agent": "agent/1", "Mcp-Method": "ping"}
    assert (await probe(http, resource, tokens["access_token"])).status_code == 200
    issued = found(gateway, "oauth_web", event="token.issued", outcome="success", client_id=client.client_id)
    allowed = found(gateway, "ext_authz", event="access.allowed", client_id=client.client_id)
    for event, path in ((issued, "/token"), (allowed, "/whoami/mcp")):

        def lines(event: dict[str, Any] = event, path: str = path) -> list[dict[str, Any]]:
            asked = {"request_id": event["request_id"], "path": path}
            return [line for line in gateway.entries("envoy") if asked.items() <= line.items()]

        until(lines, f"Envoy logs {event['request_id']}")
        assert event["source"] == "127.0.0.1"
    assert allowed["user_agent"] == "agent/1"
    assert allowed["policy_version"] == issued["policy_version"]
    assert allowed["jti"] == issued["jti"]


def test_a_command_is_in_the_record_of_its_gateway(gateway: RunningGateway) -> None:
    operate(gateway, "clients", "invite", "--note", "for the record")
    intent = found(gateway, "command", event="initial_access_token.issued", outcome="intent")
    assert intent["reason"].endswith("for the record")
    assert found(gateway, "command", event="initial_access_token.issued", outcome="success")["key"]
