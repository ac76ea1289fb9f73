"""`docs/generated/clients.md` has the results of the last run of `make test-clients`, with the pinned clients."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.project import ROOT
from tests.system.clients import table
from tests.system.clients.kinds import KINDS
from tests.system.clients.node import HERE

_PINNED_FROM_PYPI = [ROOT / "requirements" / name for name in ("client-libraries.txt", "dev.txt")]
_PINNED_FROM_NPM = [HERE / "package.json", HERE / "agents" / "package.json"]


def _results() -> dict[str, Any]:
    results: dict[str, Any] = json.loads(table.RESULTS.read_text(encoding="utf-8"))
    return results


def _pinned() -> dict[str, str]:
    """The version of every package that can provide a client."""
    pins: dict[str, str] = {}
    for file in _PINNED_FROM_PYPI:
        text = file.read_text(encoding="utf-8")
        pins |= dict(re.findall(r"^([a-z0-9-]+)(?:\[[^]]+\])?==([^\s;]+)", text, re.MULTILINE))
    for file in _PINNED_FROM_NPM:
        pins |= json.loads(file.read_text(encoding="utf-8"))["dependencies"]
    modules = (HERE / "go" / "go.mod").read_text(encoding="utf-8")
    return pins | dict(re.findall(r"^\t(\S+) v(\S+)$", modules, re.MULTILINE))


def test_the_page_has_the_results_of_the_last_run() -> None:
    assert table.PAGE.read_text(encoding="utf-8") == table.page(_results())


def test_the_last_run_covered_every_client_and_every_step() -> None:
    seen = {client["package"]: set(client["steps"]) for client in _results()["clients"]}
    assert seen.keys() == {kind.package for kind in KINDS}
    # The page says which steps of an agent were not run.
    assert all(seen[kind.package] == set(table.STEPS) for kind in KINDS if not kind.is_agent)


def test_the_last_run_used_the_pinned_versions() -> None:
    results = _results()
    tested = {client["package"]: client["version"] for client in results["clients"]}
    tested["@modelcontextprotocol/conformance"] = results["conformance"]["version"]
    pinned = _pinned()
    assert tested == {package: pinned.get(package) for package in tested}
