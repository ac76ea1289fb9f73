"""How a client is started, and how a test makes it call a tool."""

from __future__ import annotations

import asyncio
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.project import ROOT
from tests.system.clients import node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.system.clients.person import Person

HERE = Path(__file__).parent
_PATIENCE = 60.0
_NOWHERE = "http://127.0.0.1:9"
"""A proxy that does not exist, for every address beyond loopback."""


class ClientFailedError(Exception):
    """A client failed. The message has the client's own last output."""


class ConnectedClient(ABC):
    """A client that has signed in, or that needs no sign-in."""

    tools: list[str]

    @abstractmethod
    async def call(self, tool: str, **arguments: str) -> dict[str, Any]:
        """The structured result of a tool. Raises `ClientFailedError`."""

    async def call_signed_in(self, tool: str) -> dict[str, Any]:
        """The same; a client that does not sign in by itself signs in again if the call fails."""
        return await self.call(tool)


@dataclass(frozen=True)
class Visit:
    """One start of a client: the service, its person, and the URL of its metadata document if it uses one.

    The person's folder is its home, and the program at its `BROWSER` is the person.
    """

    url: str
    person: Person
    document: str | None = None

    @property
    def home(self) -> Path:
        """The folder with everything that the client keeps."""
        return self.person.browser.parent

    @property
    def environ(self) -> dict[str, str]:
        """Its environment: it can reach addresses of loopback only, and reports nothing about its use."""
        return {
            "PATH": node.path(),
            "HOME": str(self.home),
            "BROWSER": str(self.person.browser),
            "DO_NOT_TRACK": "1",
            "HTTPS_PROXY": _NOWHERE,
            "https_proxy": _NOWHERE,
            "HTTP_PROXY": _NOWHERE,
            "http_proxy": _NOWHERE,
            "NO_PROXY": "localhost,127.0.0.1,::1",
            "no_proxy": "localhost,127.0.0.1,::1",
        }

    def openers(self) -> Path:
        """A folder with the commands that open a page on each system, which are the person here."""
        folder = self.home / "openers"
        folder.mkdir(exist_ok=True)
        for name in ("open", "xdg-open"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(self.person.browser)
        return folder

    @property
    def options(self) -> tuple[str, ...]:
        """The arguments that name the document."""
        return ("--client-metadata-url", self.document) if self.document else ()


Starter = Callable[[Visit], AbstractAsyncContextManager[ConnectedClient]]


def line_program(*command: str) -> Starter:
    """A client around which there is a program of ours: see `fastmcp_program`."""

    @asynccontextmanager
    async def start(visit: Visit) -> AsyncIterator[ConnectedClient]:
        async with _running((*command, visit.url, *visit.options), visit) as program:
            client = _LineProgram(program)
            await client.connect()
            yield client

    return start


@asynccontextmanager
async def mcp_remote(visit: Visit) -> AsyncIterator[ConnectedClient]:
    """mcp-remote, as a desktop app starts it."""
    command = ("node", str(node.MODULES / "mcp-remote" / "dist" / "proxy.js"), visit.url, *visit.options)
    async with _running(command, visit) as program:
        client = _McpRemote(program)
        await client.connect()
        yield client


@asynccontextmanager
async def inspector(visit: Visit) -> AsyncIterator[ConnectedClient]:
    """The command line of the Inspector."""
    yield await _Inspector.connecting(visit)


@asynccontextmanager
async def mcporter(visit: Visit) -> AsyncIterator[ConnectedClient]:
    """mcporter's command line."""
    client = _Mcporter(visit)
    await client.connect()
    yield client


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
        return _end_of(self._log)


@asynccontextmanager
async def _running(command: tuple[str, ...], visit: Visit) -> AsyncIterator[_Program]:
    log = visit.home / "client.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=visit.environ,
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

    def __init__(self, visit: Visit) -> None:
        self._url, self._log, self._options = visit.url, visit.home / "client.log", visit.options
        # Otherwise it needs a terminal and the keychain of a desktop.
        self._environ = visit.environ | {"MCP_AUTO_OPEN_ENABLED": "true", "MCP_INSPECTOR_SECRET_STORE": "file"}

    @classmethod
    async def connecting(cls, visit: Visit) -> _Inspector:
        client = cls(visit)
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
        told = await output(
            *("node", str(program), "--cli", "--transport", "http", "--server-url", self._url),
            *("--format", "json", *self._options, "--method", method, *arguments),
            environ=self._environ,
            log=self._log,
        )
        # It prints the URL for the person on the same output, before its one line of JSON.
        result = json.loads(told.strip().splitlines()[-1])["result"]
        assert isinstance(result, dict)
        return result


class _Mcporter(ConnectedClient):
    """mcporter's command line: a new process for each request, with its state in files."""

    def __init__(self, visit: Visit) -> None:
        self._log, self._config = visit.home / "client.log", visit.home / "mcporter.json"
        server: dict[str, Any] = {"url": visit.url, "auth": "oauth"}
        self._config.write_text(json.dumps({"mcpServers": {"it": server}, "imports": []}), encoding="utf-8")
        self._environ = visit.environ | {"PATH": f"{visit.openers()}{os.pathsep}{node.path()}"}

    async def connect(self) -> None:
        # Alone, it would not sign in to make a list.
        await self._output("auth", "it")
        listed = await self._run("list", "it", "--json")
        self.tools = [tool["name"] for tool in listed["tools"]]

    async def call(self, tool: str, **arguments: str) -> dict[str, Any]:
        """See `ConnectedClient.call`."""
        given = [f"{name}={value}" for name, value in arguments.items()]
        return await self._run("call", f"it.{tool}", *given)

    async def _output(self, *arguments: str) -> str:
        program = node.MODULES / "mcporter" / "dist" / "cli.js"
        command = ("node", str(program), "--config", str(self._config), *arguments)
        return await output(*command, environ=self._environ, log=self._log)

    async def _run(self, *arguments: str) -> dict[str, Any]:
        told = await self._output(*arguments)
        result = json.loads(told[told.index("{") :])
        assert isinstance(result, dict)
        return result


async def output(*command: str, environ: dict[str, str], log: Path, patience: float = _PATIENCE) -> str:
    """The output of a program, when it has ended. Raises `ClientFailedError` if it fails or does not end."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            cwd=environ["HOME"],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        told, _ = await asyncio.wait_for(process.communicate(), patience)
    except TimeoutError:
        raise ClientFailedError(f"it did not end\n{_end_of(log)}") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = told.decode(errors="replace")
    if process.returncode != 0:
        raise ClientFailedError(f"{text[-2000:]}\n{_end_of(log)}")
    return text


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:]
