"""Two OAuth libraries, which check every answer as their specifications demand, use every grant that needs no
identity provider.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import device_flow
from tests.support.gateway import operate
from tests.support.oauth_client import OAuthClient
from tests.system.clients import node
from tests.system.clients.programs import Visit

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway
    from tests.system.clients.person import Person
    from tests.system.clients.table import Record

_PATIENCE = 120.0


@pytest.mark.parametrize("library", ["openid-client", "oauth4webapi"])
async def test_a_library_uses_every_grant(
    gateway: RunningGateway, person: Person, record: Record, library: str
) -> None:
    resource, scope = gateway.resource("whoami"), "mcp.whoami"
    machine = operate(gateway, "clients", "create", "--name", library, "--scope", scope)
    understood = await _understood(
        gateway, person, library, resource, scope, machine["client_id"], machine["client_secret"]
    )

    assert understood.keys() == {
        *("register", "authorization_code", "refresh_token", "user_code", "device_code"),
        *("dpop", "client_credentials", "introspect", "revoke"),
    }
    for step in ("authorization_code", "refresh_token", "device_code", "client_credentials"):
        assert (understood[step]["token_type"], understood[step]["scope"]) == ("bearer", scope)
    assert understood["refresh_token"]["access_token"] != understood["authorization_code"]["access_token"]
    assert understood["dpop"]["token_type"] == "dpop"
    assert understood["introspect"]["active"] is True
    assert understood["introspect"]["client_id"] == machine["client_id"]
    assert understood["revoke"] == {"active": False}
    record.used_grants(library, node.version_of(library), sorted(understood.keys() - {"user_code", "register"}))


async def _understood(
    gateway: RunningGateway, person: Person, library: str, resource: str, *more: str
) -> dict[str, Any]:
    """The answers of each step, as the library understood them. A person enters the code of the device."""
    log = person.browser.parent / "client.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *("node", str(node.HERE / "grants.mjs"), library, gateway.url, resource, *more),
            env=Visit(resource, person).environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    understood: dict[str, Any] = {}
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            async for line in process.stdout:
                said = json.loads(line)
                understood[said["step"]] = said["value"]
                if said["step"] == "user_code":
                    async with OAuthClient(gateway.url) as http:
                        await device_flow.approved(http, said["value"])
            assert await process.wait() == 0, log.read_text(encoding="utf-8")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return understood
