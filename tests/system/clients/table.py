"""The table in `docs/generated/clients.md`: the results of each client in its last run, stored beside it as JSON.

As a program, `python -m tests.system.clients.table`, it writes the page again from the JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.project import ROOT
from tests.system.clients.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.system.clients.kinds import Kind

_GENERATED = ROOT / "docs" / "generated"
PAGE = _GENERATED / "clients.md"
RESULTS = _GENERATED / "clients.json"

STEPS = {
    "discover": "knows only the URL of an MCP service; finds the authorization server by the 401 and its metadata",
    "register": "registers itself (RFC 7591); the method of client authentication that it ended up with",
    "document": "with the URL of its metadata document, uses that as its id and does not register",
    "sign in": "opens the browser and receives the code",
    "list": "lists the tools",
    "call": "calls a tool, and the service gets the identity of the caller",
    "refresh": "continues after its access token expired, without a person at the browser",
    "revoked": "continues after its access token was revoked",
    "signed out": "continues after all its tokens were revoked, by signing in again",
    "forgotten": "continues after its registration was deleted as well, by registering again",
    "step up": "asks for the missing scope after 403 `insufficient_scope`, and continues with the new token",
    "started again": "started again, continues with its stored credentials, without a person at the browser",
    "Redis away": "keeps its credentials while the gateway answers 503, and continues when Redis answers again",
    "restart": "continues after the programs of the gateway and the service ended and were started again",
    "four at once": "four processes start together with one stored credential, whose access token has ended",
}
"""The columns, and the meaning of each."""

CONFORMANCE = "conformance"
GRANTS = "grants"
_PREFACE = """# Clients the gateway was tested with

`make test-clients CLIENTS=all` writes this page. It runs each client unmodified against a running gateway, through
Envoy, with a program at the browser in place of a person. CI runs `make test-clients`, which is a part of it. Each
cell shows the last run of its step, with this version of the client, in which the test passed.

A cell that begins with "no" is a fault of the client itself: the gateway's answer was right, and the client did
not continue from it. That was seen in the run too, and not assumed. A cell that begins with "-" is a step that the
client does not have.

A command-line agent signs in with its own login command, which its person runs again after a call failed. A
stand-in for its model, on loopback, makes it call the tool.
"""


class Record:
    """The cells that this run has seen."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, str]] = {}
        self._conformance: dict[str, Any] = {}
        self._grants: dict[str, dict[str, Any]] = {}

    def saw(self, kind: Kind, step: str, what: str = "yes") -> None:
        """Record that client `kind` did `step`; `what` describes how, or is "no: …"."""
        assert step in STEPS
        self._seen.setdefault(kind.package, {})[step] = what

    def conformed(self, version: str, checks: Mapping[str, str]) -> None:
        """Record the statuses of the conformance suite of `version`, by the name of the check."""
        self._conformance = {"version": version, "checks": dict(checks)}

    def used_grants(self, library: str, version: str, steps: list[str]) -> None:
        """Record that an OAuth library of `version` used these grants and endpoints."""
        self._grants[library] = {"version": version, "steps": steps}

    def write(self) -> None:
        """Write what was seen into the results, and the page again. A row of another version is not kept."""
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
        before = {client["package"]: client for client in results["clients"]}
        rows = [self._row(kind, before.get(kind.package)) for kind in KINDS]
        results["clients"] = [row for row in rows if row is not None]
        if self._conformance:
            results[CONFORMANCE] = self._conformance
        results[GRANTS] = results.get(GRANTS, {}) | self._grants
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        PAGE.write_text(page(results), encoding="utf-8")

    def _row(self, kind: Kind, before: dict[str, Any] | None) -> dict[str, Any] | None:
        seen = self._seen.get(kind.package)
        if seen is None:
            return before
        version = kind.version
        steps = before["steps"] if before is not None and before["version"] == version else {}
        return {
            "name": kind.name,
            "package": kind.package,
            "registry": kind.registry,
            "version": version,
            "steps": {step: cell for step in STEPS if (cell := (steps | seen).get(step))},
        }


def page(results: Mapping[str, Any]) -> str:
    """The page for `results`, the contents of `docs/generated/clients.json`."""
    rows = [["client", *STEPS], ["---"] * (len(STEPS) + 1)]
    for client in results["clients"]:
        name = f"**{client['name']}** {client['version']}<br>{client['registry']} `{client['package']}`"
        rows.append([name, *(client["steps"].get(step, "not run") for step in STEPS)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    columns = "\n".join(f"- **{step}**: {meaning}" for step, meaning in STEPS.items())
    suite = results[CONFORMANCE]
    checks = "\n".join(f"| `{name}` | {status} |" for name, status in suite["checks"].items())
    grants = "\n".join(
        f"| **{library}** {used['version']} | {', '.join(f'`{step}`' for step in used['steps'])} |"
        for library, used in results[GRANTS].items()
    )
    return (
        f"{_PREFACE}\n{table}\n\nThe columns:\n\n{columns}\n\n"
        f"## OAuth libraries\n\nThey check each answer as their specifications demand.\n\n"
        f"| library from npm | grants and endpoints |\n| --- | --- |\n{grants}\n\n## Conformance\n\n"
        f"`@modelcontextprotocol/conformance` {suite['version']}, `conformance authorization`:\n\n"
        f"| check | status |\n| --- | --- |\n{checks}\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
