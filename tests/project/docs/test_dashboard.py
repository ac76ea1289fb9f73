"""Grafana can import `docs/grafana-dashboard.json`. `tests/service/test_dashboard.py` tests its queries."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from ext_authz.metrics import families
from oauth_web.endpoints import metrics
from portcullis.alerts import metrics as alert_metrics
from portcullis.audit import monitor_metrics, sealer_metrics
from portcullis.sinks import metrics as sink_metrics
from tests.support.dashboard import DASHBOARD, PANELS, expressions, targets
from tests.support.promtool import check_expressions, needs_promtool

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_PANEL: set[str] = set()
"""Metrics that the dashboard deliberately does not show."""


def test_it_has_a_row_for_each_part() -> None:
    assert DASHBOARD["schemaVersion"] >= 39
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        "Now",
        "Check service",
        "Authorization server",
        "GitHub and Redis",
        "Audit record and certificates",
        "Alerts",
        "Sinks of the audit record",
        "Mails to people",
    ]


def test_the_source_of_the_data_is_a_variable() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert all(panel["datasource"] == source for panel in PANELS)
    assert all(target["datasource"] == source for panel in PANELS for target in targets(panel))


def test_panels_do_not_overlap_and_have_a_title_a_unit_and_queries() -> None:
    placed = DASHBOARD["panels"]
    assert len({panel["id"] for panel in placed}) == len(placed)
    for panel in PANELS:
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        names = [target["refId"] for target in targets(panel)]
        assert names
        assert len(set(names)) == len(names)
    for panel in placed:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["w"] > 0
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations([panel["gridPos"] for panel in placed], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_legends_use_labels_that_their_query_keeps() -> None:
    for panel in PANELS:
        for target in targets(panel):
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", target["expr"]))))
            shown = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            assert shown <= kept, target["expr"]


def test_every_metric_has_a_panel() -> None:
    shown = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for expression in expressions()
        for name in re.findall(r"\bportcullis_\w+", expression)
    }
    programs = (families, metrics, sealer_metrics, monitor_metrics, alert_metrics, sink_metrics)
    known = {family.name for program in programs for family in program.FAMILIES}
    assert shown | WITHOUT_PANEL == known
    assert not shown & WITHOUT_PANEL


@needs_promtool
def test_every_query_is_valid_in_prometheus(tmp_path: Path) -> None:
    assert check_expressions(tmp_path, expressions()) == ""
