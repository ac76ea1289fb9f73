"""The dashboard of the documentation: its panels and their queries."""

from __future__ import annotations

import json
from typing import Any

from tests.support.project import ROOT

DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def targets(panel: dict[str, Any]) -> list[dict[str, Any]]:
    """The queries of a panel, with their legends."""
    found: list[dict[str, Any]] = panel["targets"]
    return found


def expressions() -> list[str]:
    """The queries of all panels, with a fixed time in place of Grafana's variable."""
    queries = [target["expr"] for panel in PANELS for target in targets(panel)]
    return [query.replace("$__rate_interval", "5m") for query in queries]
