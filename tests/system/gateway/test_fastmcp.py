"""FastMCP's client, unmodified, in a separate process, with our program as its browser."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.support.authz_process import end_token
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis import Redis

    from tests.support.gateway import RunningGateway

_PATIENCE = 60.0


class _Program:
    """A running `tests.system.clients.fastmcp_program`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def told(self) -> Any:
        """Its next line."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE)
        assert line, "the client ended"
        return json.loads(line)

    async def call(self, tool: str, **arguments: str) -> Any:
        """The result of calling a tool."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([tool, arguments]).encode() + b"\n")
        return await self.told()


@asynccontextmanager
async def _fastmcp(url: str, home: Path) -> AsyncIterator[_Program]:
    """A FastMCP client of `url`. If it fails, its last output is shown."""
    log = home / "fastmcp.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.system.clients.fastmcp_program", url),
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "BROWSER": f"{sys.executable} -m tests.system.gateway.person_program %s &",
            },
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        yield _Program(process)
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), _PATIENCE)
        assert process.returncode == 0, log.read_text(encoding="utf-8")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_user_signs_in_lists_the_tools_and_calls_one(gateway: RunningGateway, tmp_path: Path) -> None:
    async with _fastmcp(gateway.resource("time"), tmp_path) as client:
        assert {"get_current_time", "convert_time"} <= set(await client.told())
        result = await client.call("get_current_time", timezone="Asia/Tokyo")
    assert "Asia/Tokyo" in "".join(result["text"])


async def test_a_service_gets_the_identity_and_a_revoked_token_is_replaced(
    gateway: RunningGateway, redis: Redis, tmp_path: Path
) -> None:
    async with _fastmcp(gateway.resource("whoami"), tmp_path) as client:
        assert "whoami" in await client.told()
        told = (await client.call("whoami"))["structured"]
        assert told["user_name"] == "octocat"
        assert told["authorization_arrived"] is False

        allowed = gateway.audited("ext_authz", event="access.allowed", client_id=told["client_id"])
        end_token(redis, allowed["jti"])
        assert (await client.call("whoami"))["structured"] == told, "the same person, with the same registration"
