"""`docs/generated/clients.md` has the results of the last run of `make test-clients`, with the pinned clients."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.project import ROOT
from tests.system.clients import table
from tests.system.clients.node import HERE
from tests.system.clients.programs import KINDS

_PINNED_FROM_PYPI = ROOT / "requirements" / "dev.txt"


def _results() -> dict[str, Any]:
    results: dict[str, Any] = json.loads(table.RESULTS.read_text(encoding="utf-8"))
    return results


def _pinned() -> dict[str, str]:
    """The version of every package that can provide a client."""
    pins = dict(
        re.findall(r"^([a-z0-9-]+)==([^\s;]+)", _PINNED_FROM_PYPI.read_text(encoding="utf-8"), re.MULTILINE)
    )
    from_npm: dict[str, str] = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return pins | from_npm


def test_the_page_has_the_results_of_the_last_run() -> None:
    assert table.PAGE.read_text(encoding="utf-8") == table.page(_results())


def test_the_last_run_covered_every_client_and_every_step() -> None:
    seen = {client["package"]: set(client["steps"]) for client in _results()["clients"]}
    assert seen == {kind.package: set(table.STEPS) for kind in KINDS}


def test_the_last_run_used_the_pinned_versions() -> None:
    results = _results()
    tested = {client["package"]: client["version"] for client in results["clients"]}
    tested["@modelcontextprotocol/conformance"] = results["conformance"]["version"]
    pinned = _pinned()
    assert tested == {package: pinned.get(package) for package in tested}
