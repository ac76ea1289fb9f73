"""The command-line agents. Each signs in with its own login command, and calls a tool when its model says so.

They need no account: their model is the stand-in of `model`. A request to an agent is a new process with its state
in files.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from abc import abstractmethod
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.system.clients import node
from tests.system.clients.model import Model, running_model
from tests.system.clients.programs import ClientFailedError, ConnectedClient, Starter, Visit, output

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MODULES = Path(sys.prefix) / "clients" / "agents" / "node_modules"
"""Beside no test: some of these packages have modules of Python."""
_PATIENCE = 180.0
_SERVER = "it"
_PROMPT = "Call the tool."


def installed(package: str) -> str:
    """The version of an agent that is installed."""
    manifest = MODULES / package / "package.json"
    return str(json.loads(manifest.read_text(encoding="utf-8"))["version"])


class _Agent(ConnectedClient):
    """The common part of the agents. A subclass has the commands and the settings of one."""

    def __init__(self, visit: Visit, model: Model) -> None:
        self.visit, self.model = visit, model
        self.environ = visit.environ | {"PATH": f"{visit.openers()}{os.pathsep}{node.path()}"}
        self.tools = []
        self._log = visit.home / "client.log"

    @abstractmethod
    def configure(self) -> None:
        """Write its settings: the service, and the model."""

    @abstractmethod
    async def sign_in(self) -> None:
        """Run its login command."""

    @abstractmethod
    async def prompt(self) -> None:
        """Have it ask its model once, without a person."""

    async def connect(self) -> None:
        """Configure it. At its first start, sign in."""
        self.configure()
        signed_in = self.visit.home / "signed-in"
        if not signed_in.exists():
            await self.sign_in()
            signed_in.touch()

    async def call(self, tool: str, **arguments: str) -> dict[str, Any]:
        """See `ConnectedClient.call`. The stand-in gives no arguments."""
        assert not arguments
        self.model.want(tool)
        await self.prompt()
        # The name begins with that of the server, in the way of each agent.
        offered = [name for name in self.model.offered if _SERVER in name.replace(".", "_").split("_")]
        self.tools = [name.replace(".", "_").rpartition("_")[2] for name in offered]
        for result in reversed(self.model.results):
            found = _structured(result)
            if found is not None:
                return found
        raise ClientFailedError(f"no result of {tool}: {self.model.results}, offered {sorted(offered)}")

    async def call_signed_in(self, tool: str) -> dict[str, Any]:
        """See `ConnectedClient.call_signed_in`: its person runs the login command after it failed."""
        try:
            return await self.call(tool)
        except ClientFailedError:
            await self.sign_in()
            return await self.call(tool)

    async def run(self, *command: str) -> str:
        """The output of a command."""
        return await output(*command, environ=self.environ, log=self._log, patience=_PATIENCE)

    async def run_in_terminal(self, *command: str) -> None:
        """Run a command that needs a terminal. Raises `ClientFailedError` if it fails or does not end."""
        terminal, far_end = pty.openpty()
        reader = asyncio.create_task(asyncio.to_thread(_copy, terminal, self._log))
        process = await asyncio.create_subprocess_exec(
            *command,
            env=self.environ | {"TERM": "xterm-256color"},
            cwd=self.visit.home,
            stdin=far_end,
            stdout=far_end,
            stderr=far_end,
            start_new_session=True,
        )
        os.close(far_end)
        try:
            code = await asyncio.wait_for(process.wait(), _PATIENCE)
        except TimeoutError:
            raise ClientFailedError(f"{command[1:]} did not end") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await reader
            os.close(terminal)
        if code != 0:
            raise ClientFailedError(f"{command[1:]}: {self._log.read_text(errors='replace')[-2000:]}")


def _copy(terminal: int, log: Path) -> None:
    """Copy what is written to a terminal, until no program has it open."""
    with log.open("ab") as file:
        while True:
            try:
                written = os.read(terminal, 65536)
            except OSError:
                return
            file.write(written)


def _structured(result: str) -> dict[str, Any] | None:
    """The JSON object in the text that the model got as the result of a tool."""
    start = result.find("{")
    if start < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(result[start:])
    except ValueError:
        return None
    if isinstance(found, dict) and set(found) == {"output"}:
        return _structured(str(found["output"]))
    return found if isinstance(found, dict) and "user_name" in found else None


class _ClaudeCode(_Agent):
    def configure(self) -> None:
        self._program = str(next(MODULES.glob("@anthropic-ai/claude-code-*/claude")))
        self.environ |= {
            "ANTHROPIC_BASE_URL": self.model.url,
            "ANTHROPIC_API_KEY": "none",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "ENABLE_TOOL_SEARCH": "false",
        }
        servers = {_SERVER: {"type": "http", "url": self.visit.url}}
        settings = self.visit.home / ".claude.json"
        if not settings.exists():
            settings.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")

    async def sign_in(self) -> None:
        await self.run_in_terminal(self._program, "mcp", "login", _SERVER)

    async def prompt(self) -> None:
        await self.run(self._program, "-p", _PROMPT, "--allowedTools", f"mcp__{_SERVER}__whoami")


class _Codex(_Agent):
    def configure(self) -> None:
        self._program = str(MODULES / ".bin" / "codex")
        folder = self.visit.home / ".codex"
        folder.mkdir(exist_ok=True)
        settings = f"""
model = "stand-in"
model_provider = "stand-in"
mcp_oauth_credentials_store = "file"
approval_policy = "never"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.stand-in]
name = "stand-in"
base_url = "{self.model.url}/v1"
wire_api = "responses"
[mcp_servers.{_SERVER}]
url = "{self.visit.url}"
default_tools_approval_mode = "approve"
"""
        (folder / "config.toml").write_text(settings, encoding="utf-8")

    async def sign_in(self) -> None:
        await self.run(self._program, "mcp", "login", _SERVER)

    async def prompt(self) -> None:
        await self.run(self._program, "exec", "--skip-git-repo-check", _PROMPT)


class _OpenCode(_Agent):
    def configure(self) -> None:
        # The variant for every processor, if there is one for this system.
        programs = sorted(MODULES.glob("opencode-*/bin/opencode"), key=lambda path: "baseline" not in str(path))
        self._program = str(programs[0])
        self.environ |= {
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        }
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "name": "stand-in",
            "options": {"baseURL": f"{self.model.url}/v1", "apiKey": "none"},
            "models": {"stand-in": {"name": "stand-in"}},
        }
        settings = {
            "model": "stand-in/stand-in",
            "small_model": "stand-in/stand-in",
            "autoupdate": False,
            "share": "disabled",
            "mcp": {_SERVER: {"type": "remote", "url": self.visit.url, "enabled": True}},
            "provider": {"stand-in": provider},
        }
        folder = self.visit.home / ".config" / "opencode"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "opencode.json").write_text(json.dumps(settings), encoding="utf-8")

    async def sign_in(self) -> None:
        await self.run(self._program, "mcp", "auth", _SERVER)

    async def prompt(self) -> None:
        await self.run(self._program, "run", _PROMPT)


def _starting(agent: type[_Agent]) -> Starter:
    @asynccontextmanager
    async def start(visit: Visit) -> AsyncIterator[ConnectedClient]:
        with running_model() as model:
            client = agent(visit, model)
            await client.connect()
            yield client

    return start


claude_code = _starting(_ClaudeCode)
codex = _starting(_Codex)
opencode = _starting(_OpenCode)
