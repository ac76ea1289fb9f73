"""The clients: which program each is, which version, and what it cannot do.

    async with kind.connected(url, person) as client:
        await client.call("whoami")

Entering the block connects, signs in where the gateway asks for it, and lists the tools.

`CLIENTS=all` selects all of them, `CLIENTS="mcp,mcporter"` these packages; without it, those with `in_ci`.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from importlib.metadata import distributions, version
from pathlib import Path
from typing import TYPE_CHECKING

from tests.system.clients import agents, node, programs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from tests.system.clients.person import Person
    from tests.system.clients.programs import ConnectedClient

PYTHON_LIBRARIES = Path(sys.prefix) / "clients" / "python"
"""The environment of the libraries of PyPI that cannot be installed beside those of this project."""

GO_CLIENTS = Path(sys.prefix) / "clients" / "go-clients"
"""The program around the libraries of Go."""

SELECTION = os.environ.get("CLIENTS", "")
"""The selection of `make test-clients CLIENTS=…`; empty in CI."""


@dataclass(frozen=True)
class Kind:
    """One client: `name` for people, `package` where it is published in `registry`.

    `faults` are the cells of the steps that it cannot do: "no: …" is a fault of the client that the test sees
    again, "-: …" a step that does not exist in this client. The steps in `not_run` wait for a test that shows
    whose fault it is when they fail.
    """

    name: str
    package: str
    registry: str
    start: programs.Starter
    installed: Callable[[str], str]
    in_ci: bool = False
    is_agent: bool = False
    not_run: frozenset[str] = frozenset()
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version that is installed."""
        return self.installed(self.package)

    @property
    def id(self) -> str:
        """The package, as a part of the name of a test and of a path."""
        return re.sub(r"[^a-z0-9.-]+", "-", self.package.rpartition("github.com/")[2]).strip("-")

    def connected(
        self, url: str, person: Person, document: str | None = None
    ) -> AbstractAsyncContextManager[ConnectedClient]:
        """This client, connected to `url`. It raises `ClientFailedError` if it cannot connect.

        `document` is the URL of its metadata document, if it uses one. Started again for the same person, it has
        the files that it wrote before.
        """
        return self.start(programs.Visit(url, person, document))


def _in_tests(package: str) -> str:
    return version(package)


def _python_library(package: str) -> str:
    folders = [str(path) for path in PYTHON_LIBRARIES.glob("lib/python3*/site-packages")]
    (found,) = distributions(name=package, path=folders)
    return found.version


_NO_STEP_UP = "no: it refreshes, which cannot widen, and gives up"
_NO_DOCUMENT = "-: it has no setting for one"
_NOT_ASKING = "no: it reports the error, and asks for nothing"
_FORGOTTEN = "no: it sends its user to sign in with the deleted registration"


def _go_module(package: str) -> str:
    # The program was built with exactly these.
    found = re.search(
        rf"^\s{re.escape(package)} v(\S+)$", (programs.HERE / "go" / "go.mod").read_text(), re.MULTILINE
    )
    assert found is not None, package
    return found[1]


_DOCUMENT = {
    "register": "-: it has a document of its vendor",
    "document": "-: it has one of its vendor, and no setting for another",
    "forgotten": "-: it has no registration",
}


def _module(name: str, package: str, program: str, **faults: str) -> Kind:
    """A program of ours around a library that the tests have installed."""
    start = programs.line_program(sys.executable, "-m", f"tests.system.clients.{program}")
    return Kind(name, package, "PyPI", start, _in_tests, in_ci=True, faults=_cells(faults))


def _library(name: str, package: str, **faults: str) -> Kind:
    """A program of ours around a library in an environment of its own."""
    program = programs.HERE / "python" / "library_program.py"
    start = programs.line_program(str(PYTHON_LIBRARIES / "bin" / "python"), str(program), package)
    return Kind(name, package, "PyPI", start, _python_library, faults=_cells(faults))


def _script(name: str, package: str, script: str, *, in_ci: bool = False, **faults: str) -> Kind:
    """A program of ours around a library from npm."""
    start = programs.line_program("node", str(programs.HERE / script))
    return Kind(name, package, "npm", start, node.version_of, in_ci=in_ci, faults=_cells(faults))


def _go(name: str, package: str, **faults: str) -> Kind:
    """A program of ours around a library of Go."""
    start = programs.line_program(str(GO_CLIENTS), package.rpartition("/")[2])
    return Kind(name, package, "Go", start, _go_module, faults=_cells(faults))


def _agent(name: str, package: str, start: programs.Starter, faults: Mapping[str, str], *not_run: str) -> Kind:
    """A command-line agent, whose model is a stand-in."""
    unsettled = frozenset(not_run)
    return Kind(name, package, "npm", start, agents.installed, is_agent=True, not_run=unsettled, faults=faults)


def _cells(faults: Mapping[str, str]) -> dict[str, str]:
    return {step.replace("_", " "): cell for step, cell in faults.items()}


KINDS = (
    _module("Python SDK", "mcp", "python_sdk_program", forgotten=_FORGOTTEN),
    _module("FastMCP", "fastmcp", "fastmcp_program"),
    Kind("mcp-remote", "mcp-remote", "npm", programs.mcp_remote, node.version_of, in_ci=True),
    _script("TypeScript client", "@modelcontextprotocol/client", "typescript_client.mjs", in_ci=True),
    _script(
        "TypeScript SDK 1.x", "@modelcontextprotocol/sdk", "typescript_sdk.mjs", in_ci=True, step_up=_NO_STEP_UP
    ),
    Kind(
        "Inspector, command line",
        "@modelcontextprotocol/inspector",
        "npm",
        programs.inspector,
        node.version_of,
        in_ci=True,
        faults={"step up": "no: it calls only tools of its list, which has none that it may not call"},
    ),
    _library("OpenAI Agents SDK", "openai-agents", forgotten=_FORGOTTEN),
    _library("LangChain for Python", "langchain-mcp-adapters", forgotten=_FORGOTTEN),
    _library("Pydantic AI", "pydantic-ai-slim"),
    _script("AI SDK", "@ai-sdk/mcp", "ai_sdk.mjs", document=_NO_DOCUMENT, step_up=_NOT_ASKING),
    _script("LangChain for TypeScript", "@langchain/mcp-adapters", "langchain.mjs", step_up=_NO_STEP_UP),
    Kind(
        "mcporter",
        "mcporter",
        "npm",
        programs.mcporter,
        node.version_of,
        faults={
            "document": _NO_DOCUMENT,
            "step up": "no: gives up; started again it registers and signs in again",
        },
    ),
    _go("Go SDK", "github.com/modelcontextprotocol/go-sdk"),
    _go("mcp-go", "github.com/mark3labs/mcp-go", step_up=_NOT_ASKING, forgotten=_FORGOTTEN),
    _agent("Claude Code", "@anthropic-ai/claude-code", agents.claude_code, _DOCUMENT),
    _agent("Codex", "@openai/codex", agents.codex, _DOCUMENT, "step up", "four at once"),
    _agent("opencode", "opencode-ai", agents.opencode, {"document": _NO_DOCUMENT}, "step up", "four at once"),
)


def selected() -> list[Kind]:
    """The clients that this run starts. Raises `ValueError` if a selected package is not among the clients."""
    if SELECTION == "all":
        return list(KINDS)
    if not SELECTION:
        return [kind for kind in KINDS if kind.in_ci]
    names = {name.strip() for name in SELECTION.split(",")}
    if unknown := names - {kind.package for kind in KINDS}:
        raise ValueError(f"no such clients: {', '.join(sorted(unknown))}")
    return [kind for kind in KINDS if kind.package in names]
