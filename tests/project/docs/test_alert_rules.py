"""Every alert rule of `docs/prometheus-rules.yaml` fires when it must, and not in normal operation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.project import ROOT
from tests.support.promtool import check_rules, failures_of, needs_promtool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RULES = ROOT / "docs" / "prometheus-rules.yaml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule
}
DAY = 86_400


@dataclass(frozen=True)
class Case:
    """Series by their name, as promtool writes them: `usual` ones, and those that fire the alert with `labels`.

    There is a value each minute; the alert is evaluated after `minutes`.
    """

    alert: str
    usual: Mapping[str, str]
    fires: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    minutes: int = 90


def counter(a_minute: float) -> str:
    """A counter that grows by this number a minute."""
    return f"0+{a_minute}x200"


def constant(value: float) -> str:
    """A gauge."""
    return f"{value}x200"


def histogram(name: str, labels: str, *, fast: float, slow: float, edge: float = 0.1) -> dict[str, str]:
    """This number of durations a minute below `edge`, and from 5 to 10 seconds."""
    given = f"{labels}," if labels else ""
    return {
        f'{name}_bucket{{{given}le="{edge}"}}': counter(fast),
        f'{name}_bucket{{{given}le="5"}}': counter(fast),
        f'{name}_bucket{{{given}le="10"}}': counter(fast + slow),
        f'{name}_bucket{{{given}le="+Inf"}}': counter(fast + slow),
        f"{name}_count{{{labels}}}": counter(fast + slow),
    }


def refused(reason: str, a_minute: float) -> dict[str, str]:
    return {f'portcullis_checks_refused_total{{reason="{reason}"}}': counter(a_minute)}


def checks(*, allowed: float = 600, denied: float = 6, unavailable: float = 0) -> dict[str, str]:
    given = {"allowed": allowed, "denied": denied, "unavailable": unavailable}
    return {f'portcullis_check_seconds_count{{outcome="{key}"}}': counter(n) for key, n in given.items()}


def events(name: str, values: str) -> dict[str, str]:
    usual = 'portcullis_audit_events_total{event="refresh.repeated"}'
    return {usual: counter(5), f'portcullis_audit_events_total{{event="{name}"}}': values}


def gauge(name: str, value: float) -> dict[str, str]:
    return {name: constant(value)}


def stored(used: float) -> dict[str, str]:
    return {
        'portcullis_stored_bytes{kind="sign_ins"}': constant(used),
        'portcullis_stored_limit_bytes{kind="sign_ins"}': constant(100),
    }


def redis_memory(used: float, limit: float) -> dict[str, str]:
    return {**gauge("portcullis_redis_used_bytes", used), **gauge("portcullis_redis_limit_bytes", limit)}


def answers(endpoint: str, *, good: float, errors: float) -> dict[str, str]:
    name = "portcullis_http_requests_seconds_count"
    return {
        f'{name}{{endpoint="{endpoint}",status="2xx"}}': counter(good),
        f'{name}{{endpoint="{endpoint}",status="5xx"}}': counter(errors),
    }


def github(*, good: float, failed: float, result: str = "timed_out") -> dict[str, str]:
    name = "portcullis_github_requests_seconds_count"
    return {
        f'{name}{{step="user",result="answered"}}': counter(good),
        f'{name}{{step="code",result="refused"}}': counter(10),
        f'{name}{{step="code",result="{result}"}}': counter(failed),
    }


def redis_calls(*, good: float, failed: float) -> dict[str, str]:
    name = "portcullis_redis_calls_seconds_count"
    return {f'{name}{{result="answered"}}': counter(good), f'{name}{{result="failed"}}': counter(failed)}


def certificates(**days: float) -> dict[str, str]:
    """Certificates of two settings, relative to the time when the alert is evaluated."""
    name = "portcullis_certificate_expires_timestamp_seconds"
    now = 90 * 60
    return {
        f'{name}{{setting="{setting.replace("_", ".", 1)}"}}': constant(now + n * DAY)
        for setting, n in days.items()
    }


def alerts_waiting(destination: str, *, failed: str) -> dict[str, str]:
    """An alert waits for this destination since the beginning, and attempts fail."""
    return {
        f'portcullis_alerts_oldest_waiting_seconds{{destination="{destination}"}}': "0+60x200",
        f'portcullis_alert_attempts_failed_total{{destination="{destination}"}}': failed,
    }


TRACKED = "portcullis_staleness_seconds"
ENVOY = "envoy_server_days_until_first_cert_expiring"
REUSED, ELSEWHERE = "refresh.reused", "refresh.repeated_elsewhere"
ONCE = "0x85 1x100"
MAILS_SENT = 'portcullis_mails_total{result="sent"}'

CASES = [
    Case("PortcullisForgedTokens", refused("bad_signature", 1), refused("bad_signature", 60)),
    Case("PortcullisForgedTokens", refused("expired", 600), refused("unknown_key", 60)),
    Case("PortcullisRevokedTokensInUse", refused("revoked", 1), refused("revoked", 60)),
    Case("PortcullisRefusedShare", checks(denied=500), checks(denied=700)),
    Case("PortcullisRefusedShare", checks(allowed=0, denied=100), checks(allowed=0, denied=700)),
    Case(
        "PortcullisRefreshTokenReused", events(REUSED, "0x200"), events(REUSED, ONCE), {"event": "refresh.reused"}
    ),
    Case(
        "PortcullisRefreshTokenReused",
        events("code.replayed", "0x200"),
        events("code.replayed", ONCE),
        {"event": "code.replayed"},
    ),
    Case("PortcullisRefreshTokenRepeatedElsewhere", events(ELSEWHERE, "0x200"), events(ELSEWHERE, ONCE)),
    Case("PortcullisCertificateEnds", gauge(ENVOY, 20), gauge(ENVOY, 13)),
    Case(
        "PortcullisCertificateEnds",
        {**gauge(ENVOY, 20), **certificates(tls_cert=15, check_tls_cert=60)},
        {**gauge(ENVOY, 20), **certificates(tls_cert=13, check_tls_cert=60)},
        {"setting": "tls.cert"},
    ),
    Case("PortcullisCertificateEndsSoon", gauge(ENVOY, 4), gauge(ENVOY, 2)),
    Case(
        "PortcullisCertificateEndsSoon",
        certificates(check_tls_client_ca=4),
        certificates(check_tls_client_ca=-1, tls_cert=60),
        {"setting": "check.tls_client_ca"},
    ),
    Case(
        "PortcullisEventsNotRecorded",
        gauge("portcullis_audit_available", 1),
        {'portcullis_audit_available{worker="0"}': "1x200", 'portcullis_audit_available{worker="1"}': "0x200"},
    ),
    Case(
        "PortcullisCheckpointTooOld",
        gauge("portcullis_audit_checkpoint_age_seconds", 61),
        {"portcullis_audit_checkpoint_age_seconds": "100+60x200"},
    ),
    Case("PortcullisCheckpointTooOld", {}, {"portcullis_audit_checkpoint_age_seconds": "Inf " * 100}),
    Case(
        "PortcullisSealerBehind",
        {"portcullis_audit_unsealed_events": "0 20000 " * 100},
        {"portcullis_audit_unsealed_events": "9000 20000 " * 30 + "11000+100x100"},
    ),
    Case(
        "PortcullisSealerBehind",
        {"portcullis_sealer_unsealed_bytes": "0 90000000 " * 100},
        {"portcullis_sealer_unsealed_bytes": constant(17e6)},
    ),
    Case(
        "PortcullisSealerFails",
        {"portcullis_sealer_failures_total": "0x60 1x100"},
        {"portcullis_sealer_failures_total": counter(30)},
    ),
    Case(
        "PortcullisAuditRecordDamaged",
        {"portcullis_sealer_faults_total": "0x60 1x100"},
        {"portcullis_sealer_faults_total": ONCE},
    ),
    Case(
        "PortcullisTimestampsFail",
        {
            "portcullis_sealer_timestamp_failures_total": counter(1),
            "portcullis_sealer_timestamps_total": counter(0.1),
        },
        {
            "portcullis_sealer_timestamp_failures_total": counter(0.1),
            "portcullis_sealer_timestamps_total": "5x200",
        },
        minutes=150,
    ),
    Case(
        "PortcullisCheckpointConflict",
        {'portcullis_monitor_conflicts_total{node="node-1"}': "0x60 1x100"},
        {'portcullis_monitor_conflicts_total{node="node-1"}': ONCE},
    ),
    Case(
        "PortcullisNodeNotMonitored",
        {'portcullis_monitor_age_seconds{node="node-1"}': constant(61)},
        {'portcullis_monitor_age_seconds{node="node-1"}': constant(700)},
        labels={"node": "node-1"},
    ),
    Case(
        "PortcullisAuditDiskNearlyFull",
        {**gauge("portcullis_audit_free_bytes", 20e9), **gauge("portcullis_audit_disk_bytes", 100e9)},
        {**gauge("portcullis_audit_free_bytes", 9e9), **gauge("portcullis_audit_disk_bytes", 100e9)},
    ),
    Case(
        "PortcullisAuditDiskFull",
        gauge("portcullis_audit_free_bytes", 300 * 2**20),
        gauge("portcullis_audit_free_bytes", 200 * 2**20),
    ),
    Case(
        "PortcullisDetectionLate",
        {"portcullis_alerts_last_look_timestamp_seconds": "0+60x200"},
        {"portcullis_alerts_last_look_timestamp_seconds": "0x200"},
    ),
    Case(
        "PortcullisDetectionIncomplete",
        {"portcullis_alerts_look_incomplete": "0x80 1x100"},
        gauge("portcullis_alerts_look_incomplete", 1),
    ),
    # In quiet hours alerts wait, and no attempt fails.
    Case(
        "PortcullisAlertsNotTaken",
        alerts_waiting("mail", failed="0x200"),
        {**alerts_waiting("mail", failed="0x200"), **alerts_waiting("pager", failed=counter(0.1))},
        {"destination": "pager"},
    ),
    Case(
        "PortcullisAlertsGivenUp",
        {'portcullis_alerts_given_up_total{destination="pager"}': "1x200"},
        {'portcullis_alerts_given_up_total{destination="pager"}': ONCE},
        {"destination": "pager"},
    ),
    # One address at which no mail arrives is no fault of the mail server.
    Case(
        "PortcullisMailsNotSent",
        {
            "portcullis_mails_oldest_waiting_seconds": "0+60x200",
            'portcullis_mails_total{result="sent"}': counter(1),
        },
        {"portcullis_mails_oldest_waiting_seconds": "0+60x200", 'portcullis_mails_total{result="sent"}': "7x200"},
    ),
    Case(
        "PortcullisMailsGivenUp",
        {'portcullis_mails_total{result="given_up"}': "2x200"},
        {'portcullis_mails_total{result="given_up"}': ONCE},
    ),
    Case(
        "PortcullisMailsRefused",
        {'portcullis_mails_total{result="refused"}': "0x85 3x100"},
        {'portcullis_mails_total{result="refused"}': counter(1)},
    ),
    # A sink that always lacks the newest entries is not behind.
    Case(
        "PortcullisSinkBehind",
        {'portcullis_sink_lag_seconds{sink="siem"}': "0 30 " * 100},
        {
            'portcullis_sink_lag_seconds{sink="siem"}': "0x200",
            'portcullis_sink_lag_seconds{sink="stream"}': "0+60x200",
        },
        {"sink": "stream"},
    ),
    Case(
        "PortcullisSinkRefusesRecords",
        {'portcullis_sink_refused_total{sink="siem"}': "3x200"},
        {'portcullis_sink_refused_total{sink="siem"}': ONCE},
        {"sink": "siem"},
    ),
    Case(
        "PortcullisSinkFails",
        {'portcullis_sink_attempts_failed_total{sink="siem"}': counter(0.1)},
        {'portcullis_sink_attempts_failed_total{sink="siem"}': counter(1)},
        {"sink": "siem"},
    ),
    Case(
        "PortcullisEndpointErrors",
        {**answers("token", good=600, errors=6), **answers("callback", good=0, errors=1)},
        {**answers("token", good=600, errors=60), **answers("callback", good=60, errors=0)},
        {"endpoint": "token"},
    ),
    Case(
        "PortcullisEndpointSlow",
        {
            **histogram("portcullis_http_requests_seconds", 'endpoint="token",status="2xx"', fast=60, slow=1),
            **histogram("portcullis_http_requests_seconds", 'endpoint="callback",status="3xx"', fast=0, slow=60),
            **histogram("portcullis_http_requests_seconds", 'endpoint="revoke",status="2xx"', fast=0, slow=1),
        },
        histogram("portcullis_http_requests_seconds", 'endpoint="token",status="2xx"', fast=60, slow=20),
        {"endpoint": "token"},
    ),
    Case("PortcullisGitHubFails", github(good=60, failed=3), github(good=60, failed=60)),
    Case(
        "PortcullisGitHubFails",
        github(good=0.1, failed=0.1),
        github(good=1, failed=5, result="unavailable"),
    ),
    Case(
        "PortcullisGitHubSlow",
        histogram("portcullis_github_requests_seconds", 'result="answered"', fast=60, slow=1),
        histogram("portcullis_github_requests_seconds", 'result="answered"', fast=60, slow=60),
    ),
    Case("PortcullisRedisFails", redis_calls(good=600, failed=1), redis_calls(good=600, failed=60)),
    Case("PortcullisRedisFails", redis_calls(good=0, failed=0), redis_calls(good=0, failed=60)),
    Case(
        "PortcullisRedisSlow",
        histogram("portcullis_redis_calls_seconds", 'result="answered"', fast=6000, slow=1),
        histogram("portcullis_redis_calls_seconds", 'result="answered"', fast=600, slow=60),
    ),
    Case("PortcullisQuotaNearlyUsed", stored(40), stored(60), {"kind": "sign_ins"}),
    Case("PortcullisRedisNearlyFull", redis_memory(70, 100), redis_memory(90, 100)),
    Case("PortcullisRedisNearlyFull", redis_memory(70, 0), redis_memory(81, 100)),
    Case("PortcullisWrongService", refused("wrong_audience", 1), refused("insufficient_scope", 60)),
    Case(
        "PortcullisSignatureFlood",
        {'portcullis_signatures_total{result="good"}': counter(600)},
        {'portcullis_signatures_total{result="bad"}': counter(60_000)},
    ),
    Case(
        "PortcullisTrafficJump",
        {'portcullis_check_seconds_count{outcome="allowed"}': "0+6000x1600"},
        {'portcullis_check_seconds_count{outcome="allowed"}': "0+600x1440 864600+6000x160"},
        minutes=1540,
    ),
    Case("PortcullisUnavailableAnswers", checks(), checks(unavailable=1)),
    Case("PortcullisInternalErrors", refused("internal_error", 0), refused("internal_error", 1)),
    Case("PortcullisRevocationsUnheard", gauge(TRACKED, 0.3), {f'{TRACKED}{{worker="1"}}': constant(3)}),
    Case(
        "PortcullisNoKeys",
        gauge("portcullis_keys_fresh", 1),
        {'portcullis_keys_fresh{worker="0"}': "1x200", 'portcullis_keys_fresh{worker="1"}': "0x200"},
    ),
    Case(
        "PortcullisWorkersReplaced",
        {"portcullis_worker_starts_total": counter(0.1)},
        {"portcullis_worker_starts_total": counter(1)},
    ),
    Case(
        "PortcullisSlowChecks",
        histogram("portcullis_check_seconds", 'outcome="allowed"', fast=6000, slow=0, edge=0.001),
        histogram("portcullis_check_seconds", 'outcome="allowed"', fast=600, slow=60),
    ),
    Case("PortcullisSilent", gauge("portcullis_worker_up", 2), gauge("portcullis_worker_up", 0)),
    Case("PortcullisSilent", gauge("portcullis_worker_up", 1), {}),
]


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == set(ALERTS)


@needs_promtool
def test_the_rules_and_the_templates_of_their_texts_are_valid() -> None:
    assert check_rules(RULES) == ""


def alone(alert: str, folder: Path) -> str:
    """A file of rules with this alert, without its annotations, whose texts have values."""
    rule = {name: value for name, value in ALERTS[alert].items() if name != "annotations"}
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}), encoding="utf-8")
    return str(path)


@needs_promtool
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_when_it_must_and_not_in_normal_operation(case: Case, tmp_path: Path) -> None:
    expected = {"exp_labels": {**ALERTS[case.alert]["labels"], **case.labels}}
    usual = {} if case.alert == "PortcullisSilent" else checks()  # a server that reports values

    def looked(series: Mapping[str, str], alerts: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in {**usual, **series}.items()],
            "alert_rule_test": [{"eval_time": f"{case.minutes}m", "alertname": case.alert, "exp_alerts": alerts}],
        }

    rules = alone(case.alert, tmp_path)
    tests = [looked(case.usual, []), looked(case.fires, [expected])]
    report = failures_of(tmp_path, {"rule_files": [rules], "evaluation_interval": "1m", "tests": tests})
    assert report == ""


@needs_promtool
def test_the_text_of_an_alert_names_the_event(tmp_path: Path) -> None:
    annotations = {
        name: text.replace("{{ $labels.event }}", REUSED)
        for name, text in ALERTS["PortcullisRefreshTokenReused"]["annotations"].items()
    }
    assert REUSED in annotations["description"]
    fired = {"exp_labels": {"severity": "critical", "event": REUSED}, "exp_annotations": annotations}
    test = {
        "interval": "1m",
        "input_series": [{"series": n, "values": v} for n, v in events(REUSED, ONCE).items()],
        "alert_rule_test": [
            {"eval_time": "90m", "alertname": "PortcullisRefreshTokenReused", "exp_alerts": [fired]}
        ],
    }
    case = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
    assert failures_of(tmp_path, case) == ""
