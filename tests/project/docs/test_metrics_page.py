"""`docs/metrics.md` and the alert rules name the metrics that there are, and no others."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ext_authz.metrics import families
from oauth_core.audit import EventKind
from oauth_core.process.metrics import family_of
from oauth_core.refusals import DenyReason
from oauth_web.endpoints import metrics
from tests.support.project import ROOT

DOCS = ROOT / "docs"
OF_ENVOY = {"envoy_server_days_until_first_cert_expiring"}
"""Metrics of Envoy itself that rules ask for; `tests/envoy/tls` looks whether Envoy has them."""
BY_NAME = {family.name: family for family in (*families.FAMILIES, *metrics.FAMILIES)}
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=Path(sys.executable).parent)
RULES: dict[str, Any] = yaml.safe_load((DOCS / "prometheus-rules.yaml").read_text(encoding="utf-8"))
EXPRESSIONS = {
    rule.get("alert") or rule["record"]: str(rule["expr"]) for group in RULES["groups"] for rule in group["rules"]
}


def test_the_page_lists_every_metric_with_its_kind() -> None:
    rows = re.findall(r"^\| `(portcullis_\w+)` \| (\w+) \|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert dict(rows) == {name: family.kind for name, family in BY_NAME.items()}


def test_rules_ask_for_metrics_that_exist() -> None:
    assert len(EXPRESSIONS) > 10
    for expression in EXPRESSIONS.values():
        names = re.findall(r"\b(?:portcullis|envoy)_\w+", expression)
        assert names
        for name in names:
            assert name in OF_ENVOY or family_of(name, BY_NAME)


def test_rules_ask_for_audit_events_that_exist() -> None:
    listed = [name for rule in EXPRESSIONS.values() for name in re.findall(r'event=~?"([^"]+)"', rule)]
    assert listed
    assert {event for names in listed for event in names.split("|")} <= set(EventKind)


_FIRES = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'portcullis_audit_events_total{{event="refresh.repeated"}}'
        values: '0+5x20'
      - series: 'portcullis_audit_events_total{{event="{event}"}}'
        values: '0x5 1x20'
    alert_rule_test:
      - eval_time: 5m
        alertname: {alert}
      - eval_time: 8m
        alertname: {alert}
        exp_alerts: [{{exp_labels: {{severity: {severity}{label}}}}}]
"""


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: tests/programs.sh unpacks it on Debian")
@pytest.mark.parametrize(
    ("alert", "event", "severity", "label"),
    [
        ("PortcullisRefreshTokenReused", "refresh.reused", "critical", ", event: refresh.reused"),
        ("PortcullisRefreshTokenRepeatedElsewhere", "refresh.repeated_elsewhere", "warning", ""),
    ],
)
def test_a_refresh_token_that_two_parties_may_hold_fires_and_a_usual_retry_does_not(
    tmp_path: Path, alert: str, event: str, severity: str, label: str
) -> None:
    rules = DOCS / "prometheus-rules.yaml"
    text = _FIRES.format(rules=rules, alert=alert, event=event, severity=severity, label=label)
    # Prometheus compares annotations too where they are given, and takes their absence for "none".
    (rule,) = [r for group in RULES["groups"] for r in group["rules"] if r.get("alert") == alert]
    case: Any = yaml.safe_load(text)
    expected = case["tests"][0]["alert_rule_test"][1]["exp_alerts"][0]
    expected["exp_annotations"] = {
        name: value.replace("{{ $labels.event }}", event) for name, value in rule["annotations"].items()
    }
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "test", "rules", tmp_path / "case.yaml"], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_ask_for_reasons_that_exist() -> None:
    known = set(DenyReason)
    for expression in EXPRESSIONS.values():
        for listed in re.findall(r'reason=~?"([^"]+)"', expression):
            assert set(listed.split("|")) <= known
