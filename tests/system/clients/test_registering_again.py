"""A client that registers again at its start continues with the refresh token that it stored: mcporter,
unmodified.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from tests.system.clients import node

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gateway import RunningGateway
    from tests.system.clients.person import Person

_PATIENCE = 120.0


async def test_mcporter_registers_again_at_its_next_start_and_needs_no_new_sign_in(
    short_lived: RunningGateway, person: Person, tmp_path: Path
) -> None:
    url = short_lived.resource("whoami")
    first = await _called(url, person, tmp_path)
    assert first["user_name"] == "octocat"
    assert len(person.visits) == 1
    # Its access token has ended, so that it needs the refresh token to continue.
    with short_lived.operator_redis() as redis:
        redis.delete(*redis.keys("token:*"))
    assert await _called(url, person, tmp_path) == first
    assert len(person.visits) == 1, "no person had to sign in again"

    events = short_lived.audit("oauth_web")
    mine = first["client_id"]
    (continued,) = [e for e in events if e["event"] == "grant.continued" and e["client_id"] == mine]
    newer = [e["client_id"] for e in events if e["event"] == "client.registered" and e["client_id"] != mine]
    assert any(client_id in continued["reason"] for client_id in newer)


async def _called(url: str, person: Person, folder: Path) -> dict[str, Any]:
    """Start mcporter, have it call `whoami`, and return the result."""
    config, opens = folder / "mcporter.json", folder / "opens"
    servers = {"whoami": {"url": url, "auth": "oauth"}}
    config.write_text(json.dumps({"mcpServers": servers, "imports": []}), encoding="utf-8")
    opens.mkdir(exist_ok=True)
    for name in ("open", "xdg-open"):  # the commands that open a page on each system
        if not (opens / name).exists():
            (opens / name).symlink_to(person.browser)
    program = node.MODULES / "mcporter" / "dist" / "cli.js"
    process = await asyncio.create_subprocess_exec(
        *("node", str(program), "--config", str(config), "call", "whoami.whoami"),
        env={"PATH": f"{opens}:{node.path()}", "HOME": str(folder), "BROWSER": str(person.browser)},
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        told, said = await asyncio.wait_for(process.communicate(), _PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    result: dict[str, Any] = json.loads(told[told.index(b"{") :])
    return result
