"""The conformance suite for MCP servers finds no difference between a server and the same one
behind tool rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import running_gateway
from tests.support.oauth_client import OAuthClient
from tests.support.ports import free_port
from tests.system.clients import node
from tests.system.clients.token_proxy import adding_token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.gateway import RunningGateway

_PACKAGE = node.MODULES / "@modelcontextprotocol" / "conformance"
_PATIENCE = 180.0
_RULED = """
issuer = "http://localhost:8080"

[[services]]
name = "ruled"
command = ["portcullis", "example-server", "--listen", "unix:{socket}"]
transport = "http"
[services.permissions]
tools = { "*" = "mcp.ruled.tools" }
prompts = { "*" = "mcp.ruled.prompts" }
resources = { "*" = "mcp.ruled.resources" }
"""


@pytest.fixture(scope="module")
def ruled() -> Iterator[RunningGateway]:
    """A gateway with one service, which has rules for everything."""
    with running_gateway(config=_RULED) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def alone() -> Iterator[str]:
    """The URL of the same server without a gateway."""
    port = free_port()
    place = f"127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "-m", "portcullis", "example-server", "--listen", place]) as server:
        try:
            deadline = time.monotonic() + _PATIENCE
            while not _listens(port):
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield f"http://{place}/mcp"
        finally:
            server.terminate()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_tool_rules_change_no_result_of_the_conformance_suite(
    ruled: RunningGateway, alone: str, revision: str, tmp_path: Path
) -> None:
    async with OAuthClient(ruled.url) as http:
        client = await http.register()
        tokens = await http.tokens(client.client_id, resource=ruled.resource("ruled"), scope="mcp.ruled")
    with (
        adding_token(alone, None) as direct,
        adding_token(ruled.resource("ruled"), tokens["access_token"]) as through,
    ):
        expected = await _verdicts(direct, revision, tmp_path / "direct")
        found = await _verdicts(through, revision, tmp_path / "through")
    assert expected
    assert found == expected


async def _verdicts(url: str, revision: str, results: Path) -> dict[str, list[str]]:
    """The result of each check of each scenario."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(_PACKAGE / "dist" / "index.js"), "server", "--url", url),
        *("--requirements", revision, "-o", str(results)),
        env={"PATH": node.path(), "HOME": str(results.parent)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.wait_for(process.wait(), _PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _read(results)


def _read(results: Path) -> dict[str, list[str]]:
    verdicts: dict[str, list[str]] = {}
    for file in sorted(results.glob("*/checks.json")):
        # The name of the folder ends with the time.
        scenario = file.parent.name.partition("-20")[0]
        checks: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        for check in checks:
            verdicts.setdefault(f"{scenario} {check['id']}", []).append(check["status"])
    return verdicts
