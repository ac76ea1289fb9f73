"""The table in `docs/generated/clients.md`: what each client did in the last complete run, kept beside it as JSON.

As a program, `python -m tests.system.clients.table`, it writes the page again from what was kept.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.project import ROOT
from tests.system.clients.programs import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.system.clients.programs import Kind

_GENERATED = ROOT / "docs" / "generated"
PAGE = _GENERATED / "clients.md"
RESULTS = _GENERATED / "clients.json"

STEPS = {
    "discover": "knows only the URL of an MCP service; finds the authorization server by the 401 and its metadata",
    "register": "registers itself (RFC 7591); the method of client authentication that it ended up with",
    "document": "where it is given the URL of its metadata document, is known by that and registers nothing",
    "sign in": "opens the browser and takes the code back",
    "list": "lists the tools",
    "call": "calls a tool, and the service gets the identity of the caller",
    "refresh": "goes on after its access token expired, without a person at the browser",
    "revoked": "goes on after its access token was revoked",
    "signed out": "goes on after everything it held was revoked, by signing in again",
    "forgotten": "goes on after its registration was deleted as well, by registering again",
    "step up": "asks for the missing scope after 403 `insufficient_scope`, and goes on with the answer",
}
"""The columns, and what each means."""

CONFORMANCE = "conformance"
_PREFACE = """# Clients the gateway was tested with

Made by `make test-clients`, which runs each client unmodified against a running gateway, through Envoy, with a
program at the browser in place of a person. What stands here is what the last complete run saw; a cell that
begins with "no" is what a client cannot do, seen in that run too and not assumed.
"""


class Record:
    """What was seen so far, cell by cell."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, str]] = {}
        self._conformance: dict[str, Any] = {}

    def saw(self, kind: Kind, step: str, what: str = "yes") -> None:
        """Client `kind` did `step`; `what` says how, or "no: …"."""
        assert step in STEPS
        self._seen.setdefault(kind.name, {})[step] = what

    def conformed(self, version: str, checks: Mapping[str, str]) -> None:
        """The conformance suite of `version` answered these statuses, by the name of the check."""
        self._conformance = {"version": version, "checks": dict(checks)}

    @property
    def is_complete(self) -> bool:
        """Whether every cell is known."""
        return bool(self._conformance) and all(set(self._seen.get(k.name, ())) == set(STEPS) for k in KINDS)

    def write(self) -> None:
        """Keep the results, and make the page."""
        clients = [
            {
                "name": kind.name,
                "package": kind.package,
                "registry": kind.registry,
                "version": kind.version,
                "steps": {step: self._seen[kind.name][step] for step in STEPS},
            }
            for kind in KINDS
        ]
        results = {"clients": clients, CONFORMANCE: self._conformance}
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        PAGE.write_text(page(results), encoding="utf-8")


def page(results: Mapping[str, Any]) -> str:
    """The page that says what `results`, the contents of `docs/generated/clients.json`, say."""
    rows = [["client", *STEPS], ["---"] * (len(STEPS) + 1)]
    for client in results["clients"]:
        name = f"**{client['name']}** {client['version']}<br>{client['registry']} `{client['package']}`"
        rows.append([name, *(client["steps"][step] for step in STEPS)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    columns = "\n".join(f"- **{step}**: {meaning}" for step, meaning in STEPS.items())
    suite = results[CONFORMANCE]
    checks = "\n".join(f"| `{name}` | {status} |" for name, status in suite["checks"].items())
    return (
        f"{_PREFACE}\n{table}\n\nThe columns:\n\n{columns}\n\n## Conformance\n\n"
        f"`@modelcontextprotocol/conformance` {suite['version']}, `conformance authorization`:\n\n"
        f"| check | status |\n| --- | --- |\n{checks}\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
