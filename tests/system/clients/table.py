"""The table in `docs/generated/clients.md`: the results of each client in the last complete run, stored beside it
as JSON.

As a program, `python -m tests.system.clients.table`, it writes the page again from the JSON.
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
    "document": "with the URL of its metadata document, uses that as its id and does not register",
    "sign in": "opens the browser and receives the code",
    "list": "lists the tools",
    "call": "calls a tool, and the service gets the identity of the caller",
    "refresh": "continues after its access token expired, without a person at the browser",
    "revoked": "continues after its access token was revoked",
    "signed out": "continues after all its tokens were revoked, by signing in again",
    "forgotten": "continues after its registration was deleted as well, by registering again",
    "step up": "asks for the missing scope after 403 `insufficient_scope`, and continues with the new token",
}
"""The columns, and the meaning of each."""

CONFORMANCE = "conformance"
_PREFACE = """# Clients the gateway was tested with

`make test-clients` writes this page. It runs each client unmodified against a running gateway, through Envoy, with
a program at the browser in place of a person. The page shows the results of the last complete run. A cell that
begins with "no" names what a client cannot do; that was seen in the run too, and not assumed.
"""


class Record:
    """The results so far, cell by cell."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, str]] = {}
        self._conformance: dict[str, Any] = {}

    def saw(self, kind: Kind, step: str, what: str = "yes") -> None:
        """Record that client `kind` did `step`; `what` describes how, or is "no: …"."""
        assert step in STEPS
        self._seen.setdefault(kind.name, {})[step] = what

    def conformed(self, version: str, checks: Mapping[str, str]) -> None:
        """Record the statuses of the conformance suite of `version`, by the name of the check."""
        self._conformance = {"version": version, "checks": dict(checks)}

    @property
    def is_complete(self) -> bool:
        """Whether every cell is known."""
        return bool(self._conformance) and all(set(self._seen.get(k.name, ())) == set(STEPS) for k in KINDS)

    def write(self) -> None:
        """Write the results and the page."""
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
    """The page for `results`, the contents of `docs/generated/clients.json`."""
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
