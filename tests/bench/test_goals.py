"""The table of goals: each measured value is met or missed by its limit, and unmeasured ones have no value."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from portcullis.bench import goals

if TYPE_CHECKING:
    from pathlib import Path


def document(**changes: Any) -> dict[str, Any]:
    result = {
        "name": "portcullis",
        "sound": True,
        "rate": 10_000.0,
        "cpu_us": {"service": 90.0},
        "latency_ms": {"p50": 1.0, "p99": 2.0},
        "grown_bytes": 150_000_000,
    }
    return {
        "results": [result],
        "ratios": {
            "opa": {"throughput": 5.5, "service_cpu": 0.2, "p99": 0.3},
            "go-noop": {"throughput": 0.9, "service_cpu": 1.8, "p99": 1.3},
            "with tool rules": {"throughput": 1.25, "service_cpu": 0.8, "p99": 0.9},
            "with metrics": {"throughput": 1.02, "service_cpu": 0.95, "p99": 1.0},
            "with the audit record": {"throughput": 1.03, "service_cpu": 0.96, "p99": 1.0},
            "with a second worker": {"throughput": 0.6, "service_cpu": 0.98, "p99": 1.0},
        },
        "revocation": {"sound": True, "holds_ms": {"p99": 3.0}},
        "floods": [{"kind": "garbage", "sound": True, "p99_ratio": 1.5}],
        "plan": {"mode": "closed", "rate": 0.0, "connections": 4, "streams": 8, "tokens": 100_000, "rounds": 3},
        "setting": {"through_envoy": False},
        "machine": {"processors": 2, "processor": "A Processor", "python": "CPython 3.11"},
        **changes,
    }


RUNS = ("direct", "envoy", "envoy-70", "one", "many", "with", "metrics", "audit", "flood")


def rows(documents: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    lines = goals.markdown(documents).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: row[1:] for row in cells if len(row) == 4 and row[0] != "what"}


def test_each_goal_is_met_or_missed_by_its_own_limit() -> None:
    seen = rows({name: document() for name in RUNS})
    assert seen["throughput against OPA's plugin, direct gRPC, same work plus revocation"] == [
        "≥ 5",
        "5.50x",
        "met",
    ]
    assert seen["through Envoy, against a Go server that does nothing"] == ["≥ 0.95", "0.90x", "missed"]
    assert seen["p99 through Envoy at 70 % load, against the Go no-op"] == ["≤ 1.2", "1.30x", "missed"]
    assert seen["second process on a second core, by processor time per check"] == ["≥ 1.9", "1.96x", "met"]
    assert seen["revocation propagation p99 under load"] == ["≤ 5", "3.0 ms", "met"]
    assert seen["memory per cached token"] == ["≤ 2048", "1,500 bytes", "met"]
    assert seen["tool rules, processor time per check against none"] == ["-", "1.25x", ""]
    assert seen["tool rules, throughput against none"] == ["-", "0.80x", ""]
    assert seen["metrics, processor time per check against none"] == ["≤ 1.03", "1.053x", "missed"]
    assert seen["metrics, throughput without against with"] == ["≤ 1.03", "1.020x", "met"]
    assert seen["the audit record, processor time per check against none"] == ["≤ 1.05", "1.042x", "met"]
    assert seen["p99 of valid callers during a flood of garbage, against quiet"] == ["≤ 2", "1.50x", "met"]


def test_a_goal_without_a_measurement_is_reported_as_not_measured() -> None:
    seen = rows({"direct": document(ratios={})})
    assert {row[2] for what, row in seen.items() if "revocation propagation" not in what} == {"not measured"}


def test_an_unsound_result_has_no_value() -> None:
    unsound = document(revocation={"sound": False, "holds_ms": {"p99": 1.0}}, floods=[])
    unsound["results"][0]["sound"] = False
    seen = rows(dict.fromkeys(RUNS, unsound))
    assert seen["revocation propagation p99 under load"][2] == "not measured"
    assert seen["memory per cached token"][2] == "not measured"


def test_the_command_reads_a_folder(tmp_path: Path) -> None:
    (tmp_path / "direct.json").write_text(json.dumps(document()), encoding="utf-8")
    command = [sys.executable, "-m", "portcullis", "bench", "goals", str(tmp_path), "--markdown"]
    done = subprocess.run(
        [*command, str(tmp_path / "goals.md")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| portcullis | 10,000 | 1.0 ms | 2.0 ms | service 90 |" in done.stdout
    assert (tmp_path / "goals.md").read_text(encoding="utf-8") == done.stdout


@pytest.mark.parametrize("text", ["no JSON", "{}"])
def test_a_file_that_is_no_report_is_named_as_the_fault(tmp_path: Path, text: str) -> None:
    (tmp_path / "direct.json").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "portcullis", "bench", "goals", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "is no report" in done.stderr
