"""`portcullis bench check` as a user runs it: real Redis, the real check service and a real Envoy,
a second each.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ext_authz.generated import envoy_ext_authz_pb2 as pb
from portcullis.audit.filters import EventFilter
from portcullis.audit.parquet.record import Record
from portcullis.bench import fixture, process_group, report
from portcullis.bench.answer_check import ALLOWED
from portcullis.bench.plan import Load
from portcullis.bench.target import ServiceOptions, portcullis
from tests.bench.check_server import allowed, refused, serving

if TYPE_CHECKING:
    from pathlib import Path

QUICK = ("--seconds", "0.5", "--rounds", "1", "--tokens", "20")


def bench(*arguments: str, json_file: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "portcullis", "bench", "check", *arguments]
    if json_file is not None:
        command += ["--json", str(json_file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def measured(file: Path, *arguments: str) -> dict[str, Any]:
    """The report of a successful run."""
    done = bench(*arguments, json_file=file)
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return document


def test_a_closed_loop_produces_a_table_a_document_and_a_plot(tmp_path: Path) -> None:
    picture = tmp_path / "deeper" / "plot.svg"
    done = bench(*QUICK, "--plot", str(picture), json_file=tmp_path / "report.json")
    assert done.returncode == 0, done.stderr
    assert "portcullis" in done.stdout
    assert "answers/s" in done.stdout
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    (result,) = document["results"]
    assert result["sound"]
    assert result["rate"] > 0
    assert result["cpu_us"]["service"] > 0
    assert ET.fromstring(picture.read_text(encoding="utf-8")).tag.endswith("svg")  # noqa: S314 - our own


def test_the_form_of_the_document_is_stable(tmp_path: Path) -> None:
    document = measured(tmp_path / "report.json", *QUICK)
    assert document["schema"] == report.SCHEMA == 2
    assert sorted(document) == [
        *("floods", "machine", "plan", "ratios", "results", "revocation", "schema", "setting", "software"),
        "started_at",
    ]
    (result,) = document["results"]
    assert sorted(result) == [
        *("answers", "cpu_us", "grown_bytes", "latency_ms", "missed", "name", "rate", "rounds", "sound", "wrong")
    ]
    assert sorted(result["latency_ms"]) == ["max", "p50", "p90", "p99", "p99_9"]
    assert sorted(result["rounds"][0]) == ["answers", "cpu", "generator", "latency", "missed", "rate", "wrong"]
    assert sorted(document["machine"]) == ["processor", "processors", "python", "system"]


def test_a_flood_is_reported_together_with_the_latency_of_valid_callers(tmp_path: Path) -> None:
    kinds = ("garbage", "distinct", "headers")
    chosen = [part for kind in kinds for part in ("--flood", kind)]
    document = measured(tmp_path / "report.json", *QUICK, "--open-loop", "50", *chosen)
    assert [flooded["kind"] for flooded in document["floods"]] == list(kinds)
    for flooded in document["floods"]:
        assert flooded["sound"]
        assert flooded["rate"] == 50
        assert flooded["flood_rate"] > 0
        assert flooded["quiet_ms"]["p99"] > 0
        assert flooded["p99_ratio"] > 0
        allowed_in = flooded["flood_answers"].get("allowed", 0)
        assert (allowed_in > 0) == (flooded["kind"] == "distinct")


def test_the_output_contains_no_token(tmp_path: Path) -> None:
    done = bench(*QUICK, json_file=tmp_path / "report.json")
    told = done.stdout + done.stderr + (tmp_path / "report.json").read_text(encoding="utf-8")
    assert "eyJ" not in told


def test_a_cold_run_uses_each_token_once_in_all_its_rounds(tmp_path: Path) -> None:
    document = measured(
        tmp_path / "report.json",
        "--cold",
        "--tokens",
        "61",
        "--rounds",
        "3",
        "--seconds",
        "20",
        "--processes",
        "2",
    )
    assert [entry["answers"] for entry in document["results"][0]["rounds"]] == [20, 20, 21]


def test_an_open_loop_counts_every_due_request(tmp_path: Path) -> None:
    document = measured(tmp_path / "report.json", *QUICK, "--open-loop", "40")
    (result,) = document["results"]
    assert result["answers"] + result["missed"] == 20


def test_a_share_of_the_throughput_becomes_a_rate(tmp_path: Path) -> None:
    document = measured(tmp_path / "report.json", *QUICK, "--open-loop", "20%")
    assert document["plan"]["mode"] == "open"
    assert document["plan"]["rate"] > 0


def test_revocations_are_timed_under_load_and_none_is_missed(tmp_path: Path) -> None:
    document = measured(tmp_path / "report.json", *QUICK, "--seconds", "1.5", "--open-loop", "20", "--revocation")
    seen = document["revocation"]
    assert seen["sound"]
    assert seen["revocations"] >= 1
    assert seen["first_refused_ms"]["p50"] <= seen["first_refused_ms"]["max"]
    assert (seen["never_refused"], seen["allowed_after_refused"]) == (0, 0)


def test_the_whole_chain_gives_the_service_the_identity_of_the_caller(tmp_path: Path) -> None:
    document = measured(tmp_path / "report.json", *QUICK, "--through-envoy", "--peer", "jwt_authn")
    ours, theirs = document["results"]
    assert [ours["name"], theirs["name"]] == ["portcullis", "jwt_authn"]
    assert ours["sound"]
    assert theirs["sound"]
    assert {"envoy", "service", "redis"} == set(ours["cpu_us"])
    assert document["ratios"]["jwt_authn"]["throughput"] > 0


@pytest.mark.parametrize(
    ("way", "variants"),
    [
        (("--workers", "1"), {"tool-rules": "with tool rules", "second-worker": "with a second worker"}),
        (("--through-envoy",), {"tool-rules": "with tool rules", "metrics": "with metrics"}),
        (("--workers", "1"), {"audit": "with the audit record"}),
        (
            ("--through-envoy",),
            {"no-answer-filters": "without the filters on answers", "lists": "lists, filtered"},
        ),
    ],
)
def test_the_cost_of_an_option_is_measured_next_to_the_service_without_it(
    tmp_path: Path, way: tuple[str, ...], variants: dict[str, str]
) -> None:
    chosen = [word for variant in variants for word in ("--with", variant)]
    # Half a second may be too short for one of so many processes to answer a call.
    document = measured(tmp_path / "report.json", *QUICK, "--seconds", "2", *way, *chosen)
    names = [result["name"] for result in document["results"]]
    assert names == ["portcullis", *variants.values()]
    assert all(result["sound"] for result in document["results"])
    for name in names[1:]:
        assert document["ratios"][name]["service_cpu"] > 0
        assert document["ratios"][name]["throughput"] > 0


def test_the_service_with_tool_rules_refuses_calls_without_a_body(tmp_path: Path) -> None:
    """Without the rules, the measurement with them would equal the one without."""
    with fixture.make_fixture(tokens=1, algorithm="ES256", progress=lambda _: None) as place:
        rules = ServiceOptions(workers=1, variant="tool-rules")
        with portcullis(place.with_tool_rules(), rules, fixture.RESOURCE) as subject:
            share = Load(subject.target, place.pool, 0, 1, connections=1, streams=1, mode="once", seconds=20)
            assert process_group.run(share).verdicts == {ALLOWED: 1}
            without = replace(share, target=replace(subject.target, body=""))
            assert process_group.run(without).verdicts == {"refused with 400": 1}


def test_the_service_with_the_audit_record_records_each_answer() -> None:
    with fixture.make_fixture(tokens=1, algorithm="ES256", progress=lambda _: None) as place:
        audit = ServiceOptions(workers=1, variant="audit")
        with portcullis(place, audit, fixture.RESOURCE) as subject:
            share = Load(subject.target, place.pool, 0, 1, connections=1, streams=1, mode="once", seconds=20)
            assert process_group.run(share).verdicts == {ALLOWED: 1}
        record = Record(place.folder / "audit")
        assert sum(b'"access.allowed"' in found.line for found in record.events(EventFilter())) == 1


def test_a_peer_that_refuses_all_calls_is_unsound_and_never_compared(tmp_path: Path) -> None:
    with serving(lambda _request, _context: refused(pb.Forbidden)) as server:
        done = bench(*QUICK, "--peer", server.address, json_file=tmp_path / "report.json")
    assert done.returncode == 1
    assert "unsound" in done.stdout
    assert "refused with 403" in done.stdout
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [result["sound"] for result in document["results"]] == [True, False]
    assert document["ratios"] == {}
    assert document["results"][1]["rate"] == 0


def test_peers_are_measured_alternately(tmp_path: Path) -> None:
    with serving(lambda _request, _context: allowed("anybody")) as server:
        done = bench(*QUICK[:2], "--tokens", "5", "--rounds", "2", "--peer", server.address)
    assert done.returncode == 0, done.stderr
    rounds = [line for line in done.stderr.splitlines() if line.startswith("round")]
    names = ["portcullis", server.address]
    assert [line.rpartition(": ")[2] for line in rounds] == [*names, *reversed(names)]


def test_a_running_service_is_called_with_the_users_tokens(tmp_path: Path) -> None:
    # {"aud": "http://localhost:8080/time/mcp", "sub": "7", "jti": "j"}; no program checks the signature here
    token = "e30.eyJhdWQiOiJodHRwOi8vbG9jYWxob3N0OjgwODAvdGltZS9tY3AiLCJzdWIiOiI3IiwianRpIjoiaiJ9.c2ln"
    file = tmp_path / "mine"
    file.write_text(token + "\n", encoding="ascii")
    with serving(lambda _request, _context: allowed("7")) as server:
        document = measured(
            tmp_path / "report.json", *QUICK, "--address", server.address, "--token-file", str(file)
        )
        assert set(server.tokens) == {token}
    assert document["results"][0]["sound"]
    assert document["plan"]["tokens"] == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--address", "127.0.0.1:1"), "--token-file"),
        (("--token-file", "x"), "goes with --address"),
        (("--address", "203.0.113.1:443", "--token-file", "x"), "--i-own-this-host"),
        (("--peer", "203.0.113.1:443"), "--i-own-this-host"),
        (("--peer", "example.com:443"), "--i-own-this-host"),
        (("--address", "nonsense", "--token-file", "x"), "neither host:port"),
        (("--address", "127.0.0.1:1", "--token-file", "x", "--revocation"), "leave --address out"),
        (("--peer", "nonsense"), "neither"),
        (("--peer", "jwt_authn"), "--through-envoy"),
        (("--with", "metrics", "--with", "metrics"), "given twice"),
        (("--with", "second-worker"), "give --workers 1"),
        (("--cold", "--open-loop", "5"), "exclude"),
        (("--cold", "--tokens", "2"), "one token for each round"),
        (("--open-loop", "fast"), "neither a rate nor a share"),
        (("--open-loop", "nan"), "neither a rate nor a share"),
        (("--open-loop", "-1"), "neither a rate nor a share"),
        (("--generator", "h2load"), "--tokens 1"),
        (("--tokens", "1000001"), "1000001"),
        (("--seconds", "601"), "601"),
    ],
)
def test_conflicting_options_are_reported_before_a_program_starts(arguments: tuple[str, ...], reason: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_an_invalid_line_in_a_token_file_is_reported_without_its_text(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine"
    file.write_text("not-a-token-but-perhaps-a-secret", encoding="ascii")
    done = bench("--address", "127.0.0.1:1", "--token-file", str(file))
    assert done.returncode == 1
    assert "not an access token" in done.stderr
    assert "perhaps-a-secret" not in done.stderr


def test_an_address_without_a_server_is_one_readable_line(tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text("e30.eyJhdWQiOiJhIiwic3ViIjoiYiIsImp0aSI6ImMifQ.x", encoding="ascii")
    done = bench("--address", "127.0.0.1:1", "--token-file", str(file))
    assert done.returncode == 1
    assert "cannot connect to 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["h2load", "ghz"])
def test_another_generator_measures_the_same_service(tmp_path: Path, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on PATH")
    document = measured(
        tmp_path / "report.json", "--seconds", "1", "--rounds", "1", "--tokens", "1", "--generator", program
    )
    (result,) = document["results"]
    assert result["sound"]
    assert result["rounds"][0]["generator"] == program
    assert result["answers"] > 0
