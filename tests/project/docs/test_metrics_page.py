"""`docs/metrics.md` and the alert rules name the existing metrics, and no others."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ext_authz.metrics import families
from oauth_core.audit import EventKind
from oauth_core.process.metrics import family_of
from oauth_core.refusals import DenyReason
from oauth_web.endpoints import metrics
from portcullis.alerts import metrics as alert_metrics
from portcullis.audit import monitor_metrics, sealer_metrics
from portcullis.sinks import metrics as sink_metrics
from tests.support.project import ROOT

DOCS = ROOT / "docs"
OF_ENVOY = {"envoy_server_days_until_first_cert_expiring"}
"""Metrics of Envoy itself that rules use; `tests/envoy/tls` tests whether Envoy has them."""
BY_NAME = {
    family.name: family
    for program in (families, metrics, sealer_metrics, monitor_metrics, alert_metrics, sink_metrics)
    for family in program.FAMILIES
}
RULES: dict[str, Any] = yaml.safe_load((DOCS / "prometheus-rules.yaml").read_text(encoding="utf-8"))
EXPRESSIONS = {
    rule.get("alert") or rule["record"]: str(rule["expr"]) for group in RULES["groups"] for rule in group["rules"]
}


def test_the_page_lists_every_metric_with_its_kind() -> None:
    rows = re.findall(r"^\| `(portcullis_\w+)` \| (\w+) \|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert dict(rows) == {name: family.kind for name, family in BY_NAME.items()}


def test_rules_use_metrics_that_exist() -> None:
    assert len(EXPRESSIONS) > 10
    for expression in EXPRESSIONS.values():
        names = re.findall(r"\b(?:portcullis|envoy)_\w+", expression)
        assert names
        for name in names:
            assert name in OF_ENVOY or family_of(name, BY_NAME)


def test_rules_use_audit_events_that_exist() -> None:
    listed = [name for rule in EXPRESSIONS.values() for name in re.findall(r'event=~?"([^"]+)"', rule)]
    assert listed
    assert {event for names in listed for event in names.split("|")} <= set(EventKind)


def test_rules_use_reasons_that_exist() -> None:
    known = set(DenyReason)
    for expression in EXPRESSIONS.values():
        for listed in re.findall(r'reason=~?"([^"]+)"', expression):
            assert set(listed.split("|")) <= known
