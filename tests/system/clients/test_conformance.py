"""The MCP project's conformance suite for authorization servers, against the gateway, through Envoy."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from tests.support.oauth_client import OAuthClient
from tests.system.clients import node

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gateway import RunningGateway
    from tests.system.clients.person import Person
    from tests.system.clients.table import Record

_PACKAGE = node.MODULES / "@modelcontextprotocol" / "conformance"
_PORT = 3055
_PATIENCE = 60.0
_FOLLOW = re.compile(r"http://\S+/authorize\?\S+")

_CHECKS = {"authorization-server-metadata", "authorization-server-metadata-cimd", "authorization-code-grant"}
"""Every check that this version of the suite makes of an authorization server."""


async def test_every_scenario_of_the_conformance_suite_passes(
    gateway: RunningGateway, person: Person, record: Record, tmp_path: Path
) -> None:
    async with OAuthClient(gateway.url) as http:
        client = await http.register(redirect_uris=[f"http://127.0.0.1:{_PORT}/callback"])
    results = tmp_path / "results"
    process = await asyncio.create_subprocess_exec(
        *("node", str(_PACKAGE / "dist" / "index.js"), "authorization", "--url", gateway.url),
        *("--client-id", client.client_id, "--resource", gateway.resource("whoami")),
        *("-p", str(_PORT), "-o", str(results)),
        env={"PATH": node.path(), "HOME": str(tmp_path)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said = await asyncio.wait_for(_follow(process, person), _PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said
    assert "2 passed, 0 failed" in said

    found: list[dict[str, Any]] = []
    for file in sorted(results.glob("*/checks.json")):
        found += json.loads(file.read_text(encoding="utf-8"))
    checks = {check["id"]: _verdict(check) for check in found}
    assert set(checks) == _CHECKS
    assert not [check for check in found if check["status"] == "FAILURE"], found
    manifest = json.loads((_PACKAGE / "package.json").read_text(encoding="utf-8"))
    record.conformed(manifest["version"], dict(sorted(checks.items())))


def _verdict(check: dict[str, Any]) -> str:
    """The status of a check, and the suite's own message if it did not pass."""
    said = check.get("errorMessage")
    return f"{check['status'].lower()}: {said}" if said else str(check["status"].lower())


async def _follow(process: asyncio.subprocess.Process, person: Person) -> str:
    """Follow the one URL that the suite asks a person to open. Return its complete output when it has ended."""
    assert process.stdout is not None
    said = ""
    async for line in process.stdout:
        text = line.decode()
        said += text
        if text.startswith("Callback server started"):
            (url,) = _FOLLOW.findall(said)
            await person.sign_in(url)
    await process.wait()
    return said
