"""`portcullis audit export` writes events in formats of other programs, and they are valid in the schemas of
these.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from oauth_core.audit import EventKind, Outcome
from portcullis.audit.export import ecs, forms, ocsf
from portcullis.audit.reading import StoredEvent
from portcullis.cli.main import cli
from tests.support.audit_segments import BOOT, NODE, event, write_segment
from tests.support.programs import PORTCULLIS

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

FULL: dict[str, Any] = {
    "v": 1,
    "time": "2026-11-30T06:00:01.250000Z",
    "reason": "because",
    "client_id": "client-1",
    "user": "octocat",
    "user_id": 583231,
    "provider": "https://github.com",
    "service": "notes",
    "grant_id": "grant-1",
    "jti": "token-1",
    "key": "key-1",
    "scope": "mcp:notes",
    "method": "POST",
    "path": "/notes/mcp",
    "mcp_method": "tools/call",
    "mcp_name": "read_note",
    "mcp_claimed": True,
    "source": "2001:db8::7",
    "peer": "10.0.0.1",
    "user_agent": "agent/1",
    "request_id": "request-1",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "policy_version": "p1",
}
SPARSE: list[dict[str, Any]] = [
    {"v": 1, "time": "2026-11-30T06:00:01.250000Z"},
    {"v": 1, "time": "2026-11-30T06:00:01.250000Z", "client_id": "client-1", "source": "unix:/run/x"},
    {"v": 1, "time": "2026-11-30T06:00:01.250000Z", "operator": "root", "user_id": 5},
    {"v": 1, "time": "2026-11-30T06:00:01.250000Z", "call": "tools/call read_note", "jti": "token-1"},
]
CASES = [
    {**fields, "event": str(kind), "outcome": str(outcome)}
    for kind in EventKind
    for fields in (FULL, *SPARSE)
    for outcome in (kind.outcome, Outcome.INTENT)
]


def stored(fields: dict[str, Any]) -> StoredEvent:
    return StoredEvent(NODE, "oauth_web", BOOT, 7, 3, bytes(32), json.dumps(fields).encode(), fields)


@cache
def schema_of(class_uid: int) -> Any:
    """The validator of a class of OCSF."""
    made = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=ocsf.VERSION))
    schema = made.get_class_schema(made.lookup_class_name_from_uid(class_uid))
    return Draft202012Validator(schema)


def test_every_kind_of_event_is_valid_in_ocsf() -> None:
    for fields in CASES:
        document = ocsf.document(stored(fields), is_sealed=True)
        faults = [error.message for error in schema_of(document["class_uid"]).iter_errors(document)]
        assert faults == [], fields
        assert document["type_uid"] == document["class_uid"] * 100 + document["activity_id"]
        assert document["category_uid"] == document["class_uid"] // 1000


def test_an_incomplete_document_is_not_valid_in_ocsf() -> None:
    document = ocsf.document(stored(CASES[0]), is_sealed=True)
    del document["metadata"]
    assert list(schema_of(document["class_uid"]).iter_errors(document))


@pytest.mark.parametrize(
    ("name", "class_uid", "activity"),
    [
        ("sign_in.succeeded", 3002, 1),
        ("session.ended", 3002, 2),
        ("token.refreshed", 3002, 99),
        ("user.blocked", 3001, 5),
        ("user.unblocked", 3001, 2),
        ("client.registered", 3001, 1),
        ("client.deleted", 3001, 6),
        ("access.allowed", 6003, 99),
        ("key.created", 6003, 1),
        ("grant.revoked", 6003, 4),
        ("something.new", 6003, 99),
    ],
)
def test_events_have_the_fitting_class_of_ocsf(name: str, class_uid: int, activity: int) -> None:
    document = ocsf.document(stored({**FULL, "event": name, "outcome": "success"}), is_sealed=False)
    assert (document["class_uid"], document["activity_id"]) == (class_uid, activity)


def test_a_call_in_ocsf_has_person_client_tool_and_address() -> None:
    document = ocsf.document(stored({**FULL, "event": "access.denied", "outcome": "denied"}), is_sealed=True)
    assert document["actor"] == {
        "user": {"name": "octocat", "uid": "583231", "type_id": 1},
        "app_uid": "client-1",
    }
    assert document["api"] == {"operation": "tools/call read_note", "service": {"name": "notes"}}
    assert document["src_endpoint"] == {"ip": "2001:db8::7"}
    assert (document["status_id"], document["status_detail"]) == (2, "because")
    assert document["time"] == 1796018401250
    assert document["metadata"]["uid"] == f"{NODE}/oauth_web/{BOOT}/7"
    assert document["unmapped"]["sealed"] is True
    assert document["unmapped"]["jti"] == "token-1"


# The fields of ECS 9.0 that are used, and for each used category the types that ECS expects.
ECS_FIELDS = {
    *("@timestamp", "ecs.version", "event.id", "event.kind", "event.action", "event.category", "event.type"),
    *("event.outcome", "event.reason", "event.sequence", "event.module", "event.dataset", "observer.vendor"),
    *("observer.product", "observer.name", "user.name", "user.id", "service.name", "http.request.method"),
    *("http.request.id", "url.path", "user_agent.original", "trace.id", "source.address", "source.ip"),
    *("related.user", "related.ip"),
}
ECS_TYPES = {
    "api": {
        *("access", "admin", "allowed", "change", "creation", "deletion", "denied", "end", "info", "start", "user")
    },
    "authentication": {"start", "end", "info"},
    "configuration": {"access", "change", "creation", "deletion", "info"},
    "iam": {"admin", "change", "creation", "deletion", "group", "info", "user"},
    "session": {"start", "end", "info"},
}
ECS_ARRAYS = {"event.category", "event.type", "related.user", "related.ip"}
ECS_NUMBERS = {"event.sequence"}


def flat(document: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in document.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


def test_every_kind_of_event_has_only_fields_and_values_of_ecs() -> None:
    for fields in CASES:
        document = ecs.document(stored(fields), is_sealed=True)
        own = document.pop("portcullis")
        values = flat(document)
        assert values.keys() <= ECS_FIELDS
        assert {"@timestamp", "ecs.version", "event.id", "event.action"} <= values.keys()
        for name, value in values.items():
            of = list if name in ECS_ARRAYS else int if name in ECS_NUMBERS else str
            assert isinstance(value, of), (name, value)
        [category] = values["event.category"]
        assert set(values["event.type"]) <= ECS_TYPES[category], fields["event"]
        assert values["event.outcome"] in {"success", "failure", "unknown"}
        assert (own["sealed"], own["boot"], own["outcome"]) == (True, BOOT, fields["outcome"])


def test_a_call_in_ecs_has_person_service_tool_and_address() -> None:
    document = ecs.document(stored({**FULL, "event": "access.denied", "outcome": "denied"}), is_sealed=True)
    assert document["user"] == {"name": "octocat", "id": "583231"}
    assert document["source"] == {"address": "2001:db8::7", "ip": "2001:db8::7"}
    assert document["event"]["category"] == ["api"]
    assert document["event"]["type"] == ["access", "denied"]
    assert document["event"]["outcome"] == "failure"
    assert document["portcullis"]["tool"] == "read_note"
    assert document["portcullis"]["client_id"] == "client-1"


def test_an_invalid_address_is_no_ip_in_ecs() -> None:
    fields = {**FULL, "event": "access.denied", "outcome": "denied", "source": "unix:/run/x"}
    assert ecs.document(stored(fields), is_sealed=True)["source"] == {"address": "unix:/run/x"}


def place_in(found: dict[str, Any]) -> str:
    """The place of an event in the part of a document that has it."""
    if "sequence" in found and "node" in found:
        return "/".join(str(found[key]) for key in ("node", "writer", "boot", "sequence"))
    return str(found.get("uid") or found.get("id"))


def export(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["audit", "export", "--audit-dir", str(folder), *options])


@pytest.mark.parametrize("form", list(forms.LINES))
def test_an_export_has_the_events_of_a_period_in_order(tmp_path: Path, form: str) -> None:
    write_segment(tmp_path, "a", batches=[[event(1)], [event(4)]])
    write_segment(tmp_path, "b", batches=[[event(2), event(3)]])
    result = export(
        tmp_path, "--format", form, "--since", "2026-11-30T06:00:02Z", "--until", "2026-11-30T06:00:04Z"
    )
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 2
    places = [f"{NODE}/b/{BOOT}/{n}" for n in (1, 2)]
    for place, line in zip(places, map(json.loads, result.stdout.splitlines()), strict=True):
        found = line if form == "jsonl" else {"ocsf": line.get("metadata"), "ecs": line.get("event")}[form]
        assert place_in(found) == place
    assert result.stderr == "2 events; not sealed: no checkpoint.\n"


def test_a_file_is_private_and_replaces_the_previous_one(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[event(1)]])
    output = tmp_path / "events.jsonl"
    output.write_text("before")
    result = export(tmp_path, "--output", str(output))
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(output.read_text())["call"] == "call-1"
    assert output.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[event(1)]])
    result = export(tmp_path, "--output", str(tmp_path / "nowhere" / "x"))
    assert result.exit_code == 1
    assert "nowhere" in result.output


def test_an_export_with_an_unreadable_part_has_the_others_and_fails(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[event(1), b"not JSON"]])
    output = tmp_path / "events.jsonl"
    result = export(tmp_path, "--output", str(output))
    assert result.exit_code == 1
    assert "event 2 is no JSON object" in result.stderr
    assert len(output.read_text().splitlines()) == 1


def test_an_empty_period_is_reported_with_a_sentence(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[event(1)]])
    result = export(tmp_path, "--until", "2026-01-01")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No event in this time.\n")


def test_a_parquet_file_has_a_row_for_each_event_in_order(tmp_path: Path) -> None:
    strange = {**event(3), "reason": "a\tb\r\n\u2028ü", "user": "octocat", "user_id": 5}
    write_segment(tmp_path, "a", batches=[[event(1), strange]])
    write_segment(tmp_path, "b", batches=[[event(2)]])
    output = tmp_path / "it's.parquet"
    result = export(tmp_path, "--format", "parquet", "--output", str(output))
    assert result.exit_code == 0, result.output
    assert result.stderr == "3 events; not sealed: no checkpoint.\n"
    question = "SELECT time, writer, sequence, sealed, user_id, reason, line FROM read_parquet(?)"
    rows = duckdb.connect().execute(question, [str(output)]).fetchall()
    assert [row[1:5] for row in rows] == [("a", 1, False, None), ("b", 1, False, None), ("a", 2, False, "5")]
    assert [row[0].second for row in rows] == [1, 2, 3]
    assert rows[2][5] == strange["reason"]
    assert json.loads(rows[2][6]) == strange
    assert output.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it's.parquet", "segments"]


def test_an_empty_parquet_file_has_no_row(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[event(1)]])
    output = tmp_path / "events.parquet"
    result = export(tmp_path, "--format", "parquet", "--until", "2026-01-01", "--output", str(output))
    assert (result.exit_code, result.stderr) == (0, "No event in this time.\n")
    assert duckdb.connect().execute("SELECT count(*) FROM read_parquet(?)", [str(output)]).fetchall() == [(0,)]


def test_parquet_needs_a_file(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[event(1)]])
    result = export(tmp_path, "--format", "parquet")
    assert result.exit_code == 2
    assert "needs --output" in result.output
    result = export(tmp_path, "--format", "parquet", "--output", str(tmp_path / "nowhere" / "x"))
    assert result.exit_code == 1
    assert "nowhere" in result.output


def test_a_reader_of_an_export_may_stop_reading(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[event(n, reason="x" * 200) for n in range(2000)]])
    command = [*PORTCULLIS, "audit", "export", "--format", "ecs", "--audit-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
