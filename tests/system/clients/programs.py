"""The six clients: which program each is, which version, and how to make it connect and call a tool.

    async with kind.connected(url, person) as client:
        await client.call("whoami")

Entering the block connects, signs in where the gateway asks for it, and lists the tools.
"""

from __future__ import annotations

import asyncio
import json
import sys
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from tests.support.project import ROOT
from tests.system.clients import node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.system.clients.person import Person

_PATIENCE = 60.0


class ClientFailedError(Exception):
    """A client failed. The message has the client's own last output."""


class ConnectedClient(ABC):
    """A client that has signed in, or that needs no sign-in."""

    tools: list[str]

    @abstractmethod
    async def call(self, tool: str, **arguments: str) -> dict[str, Any]:
        """The structured result of a tool. Raises `ClientFailedError`."""


@dataclass(frozen=True)
class Kind:
    """One client: `name` for people, `package` where it is published, `registry` being PyPI or npm."""

    name: str
    package: str
    registry: str

    @property
    def version(self) -> str:
        """The version that is installed."""
        if self.registry == "PyPI":
            return version(self.package)
        manifest = node.MODULES / self.package / "package.json"
        return str(json.loads(manifest.read_text(encoding="utf-8"))["version"])

    @asynccontextmanager
    async def connected(
        self, url: str, person: Person, document: str | None = None
    ) -> AsyncIterator[ConnectedClient]:
        """This client, connected to `url`. Raises `ClientFailedError` if it cannot connect.

        `document` is the URL of its metadata document, if it uses one.
        """
        home = person.browser.parent
        environ = {"PATH": node.path(), "HOME": str(home), "BROWSER": str(person.browser)}
        options = ("--client-metadata-url", document) if document else ()
        if self.package == "@modelcontextprotocol/inspector":
            yield await _Inspector.connecting(url, environ, home, options)
            return
        command = (*_command(self.package, url), *options)
        async with _running(command, environ, home / "client.log") as program:
            client = _McpRemote(program) if self.package == "mcp-remote" else _LineProgram(program)
            await client.connect()
            yield client


KINDS = (
    Kind("Python SDK", "mcp", "PyPI"),
    Kind("FastMCP", "fastmcp", "PyPI"),
    Kind("mcp-remote", "mcp-remote", "npm"),
    Kind("TypeScript client", "@modelcontextprotocol/client", "npm"),
    Kind("TypeScript SDK 1.x", "@modelcontextprotocol/sdk", "npm"),
    Kind("Inspector, command line", "@modelcontextprotocol/inspector", "npm"),
)


def _command(package: str, url: str) -> tuple[str, ...]:
    match package:
        case "mcp":
            return (sys.executable, "-m", "tests.system.clients.python_sdk_program", url)
        case "fastmcp":
            return (sys.executable, "-m", "tests.system.clients.fastmcp_program", url)
        case "mcp-remote":
            return ("node", str(node.MODULES / "mcp-remote" / "dist" / "proxy.js"), url)
        case "@modelcontextprotocol/client":
            return ("node", str(node.HERE / "typescript_client.mjs"), url)
        case "@modelcontextprotocol/sdk":
            return ("node", str(node.HERE / "typescript_sdk.mjs"), url)
        case _:
            raise AssertionError(package)


class _Program:
    """A process that answers lines with lines."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout, self._log = process.stdin, process.stdout, log

    def send(self, value: object) -> None:
        self._stdin.write(json.dumps(value).encode() + b"\n")

    async def told(self) -> Any:
        """Its next line. Raises `ClientFailedError` if it ends or stays silent."""
        try:
            line = await asyncio.wait_for(self._stdout.readline(), _PATIENCE)
        except TimeoutError:
            raise ClientFailedError(f"silent\n{self._said()}") from None
        if not line:
            raise ClientFailedError(self._said())
        return json.loads(line)

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:]


@asynccontextmanager
async def _running(command: tuple[str, ...], environ: dict[str, str], log: Path) -> AsyncIterator[_Program]:
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=2**20,
        )
    try:
        yield _Program(process, log)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5.0)
        except TimeoutError:
            process.kill()
            await process.wait()


class _LineProgram(ConnectedClient):
    """One of our own programs around a library: a line of tools, then a line for each call."""

    def __init__(self, program: _Program) -> None:
        self._program = program

    async def connect(self) -> None:
        self.tools = await self._program.told()

    async def call(self, tool: str, **arguments: str) -> dict[str, Any]:
        """See `ConnectedClient.call`."""
        self._program.send([tool, arguments])
        structured = (await self._program.told())["structured"]
        assert isinstance(structured, dict)
        return structured


class _McpRemote(ConnectedClient):
    """mcp-remote, which is a stdio server for this test, as it is for the desktop app that starts it."""

    def __init__(self, program: _Program) -> None:
        self._program = program
        self._asked = 0

    async def connect(self) -> None:
        await self._ask(
            "initialize",
            {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "desktop app", "version": "1"},
            },
        )
        self._program.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.tools = [tool["name"] for tool in (await self._ask("tools/list", {}))["tools"]]

    async def call(self, tool: str, **arguments: str) -> dict[str, Any]:
        """See `ConnectedClient.call`."""
        result = await self._ask("tools/call", {"name": tool, "arguments": arguments})
        structured = result["structuredContent"]
        assert isinstance(structured, dict)
        return structured

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._asked += 1
        self._program.send({"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params})
        while True:
            message = await self._program.told()
            if message.get("id") == self._asked and "method" not in message:
                if "error" in message:
                    raise ClientFailedError(json.dumps(message["error"]))
                result = message["result"]
                assert isinstance(result, dict)
                return result


class _Inspector(ConnectedClient):
    """The Inspector's command line: a new process for each request, with its state in files."""

    def __init__(self, url: str, environ: dict[str, str], home: Path, options: tuple[str, ...]) -> None:
        self._url, self._log, self._options = url, home / "client.log", options
        # Otherwise it needs a terminal and the keychain of a desktop.
        self._environ = environ | {"MCP_AUTO_OPEN_ENABLED": "true", "MCP_INSPECTOR_SECRET_STORE": "file"}

    @classmethod
    async def connecting(
        cls, url: str, environ: dict[str, str], home: Path, options: tuple[str, ...]
    ) -> _Inspector:
        client = cls(url, environ, home, options)
        client.tools = [tool["name"] for tool in (await client._run("tools/list"))["tools"]]
        return client

    async def call(self, tool: str, **arguments: str) -> dict[str, Any]:
        """See `ConnectedClient.call`."""
        given = [part for name, value in arguments.items() for part in ("--tool-arg", f"{name}={value}")]
        structured = (await self._run("tools/call", "--tool-name", tool, *given))["structuredContent"]
        assert isinstance(structured, dict)
        return structured

    async def _run(self, method: str, *arguments: str) -> dict[str, Any]:
        program = (
            node.MODULES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
        )
        with self._log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *("node", str(program), "--cli", "--transport", "http", "--server-url", self._url),
                *("--format", "json", *self._options, "--method", method, *arguments),
                env=self._environ,
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        try:
            told, _ = await asyncio.wait_for(process.communicate(), _PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise ClientFailedError("the Inspector did not end") from None
        if process.returncode != 0:
            raise ClientFailedError(self._log.read_text(encoding="utf-8", errors="replace")[-4000:])
        # It prints the URL for the person on the same output, before its one line of JSON.
        result = json.loads(told.decode().strip().splitlines()[-1])["result"]
        assert isinstance(result, dict)
        return result
