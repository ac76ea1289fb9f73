"""`portcullis audit verify-received` proves that a sink has everything, and finds what it does not have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from google.protobuf.json_format import MessageToJson

from oauth_core.audit_log.signed_notes import Signer
from oauth_core.errors import SettingsError
from portcullis.cli.main import cli
from tests.support.alerts import SECRET, receiving
from tests.support.audit_segments import SegmentWriter, event
from tests.support.certificates import Authority
from tests.support.nats_server import TOKEN, nats_server
from tests.support.programs import until
from tests.support.sinks import SinkWorld, receiving_otlp
from tests.support.syslog_receiver import receiving_syslog

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


class ReceivedWorld(SinkWorld):
    """A sealed record with two programs, and the lines that a sink has of it."""

    def fill(self) -> None:
        """Record events of two programs; one of them ends."""
        other = SegmentWriter(self.audit_dir, "oauth_web")
        self.happen(3, 1)
        other.write(event(1), event(2))
        other.close()
        self.happen(2)

    def verify(self, lines: list[bytes], *more: str) -> Result:
        """Verify these lines, with the public key."""
        file = self.root / "received"
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        options = ["--key", self.sealed.signer.verifier.text, *more]
        return CliRunner().invoke(cli, ["audit", "verify-received", str(file), *options])

    def received(self, proof: str = "frames") -> list[dict[str, Any]]:
        """The records that a webhook got."""
        (self.root / "secret").write_text(SECRET)
        with receiving() as receiver:
            options = (f'secret_file = "{self.root}/secret"', f'proof = "{proof}"')
            self.sink("hook", "webhook", receiver.url, *options)
            assert self.ship().exit_code == 0
        return [one for request in receiver.taken() for one in json.loads(request.body)["data"]["records"]]


def encoded(records: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReceivedWorld:
    monkeypatch.chdir(tmp_path)
    made = ReceivedWorld(tmp_path)
    made.fill()
    return made


def of_otlp(world: ReceivedWorld) -> list[bytes]:
    with receiving_otlp() as receiver:
        world.sink("sink", "otlp", receiver.url)
        world.ship()
    return [MessageToJson(request, indent=None).encode() for request in receiver.requests]


def of_syslog(world: ReceivedWorld) -> list[bytes]:
    authority = Authority(world.root, "authority")
    with receiving_syslog(authority.identity("localhost")) as receiver:
        world.sink("sink", "syslog", f"tls://localhost:{receiver.port}", f'ca_file = "{authority.cert}"')
        world.ship()
        until(lambda: len(receiver.messages) == 12, "the messages")
    return receiver.messages


def of_a_webhook(world: ReceivedWorld) -> list[bytes]:
    (world.root / "secret").write_text(SECRET)
    with receiving() as receiver:
        world.sink("sink", "webhook", receiver.url, f'secret_file = "{world.root}/secret"')
        world.ship()
    return [request.body for request in receiver.taken()]


def of_nats(world: ReceivedWorld) -> list[bytes]:
    (world.root / "token").write_text(TOKEN)
    with nats_server(world.root / "nats") as server:
        server.make_stream()
        world.sink("sink", "nats", server.url, f'secret_file = "{world.root}/token"')
        world.ship()
        return [data for _, data in server.messages()]


@pytest.mark.parametrize("export", [of_otlp, of_syslog, of_a_webhook, of_nats])
def test_everything_that_a_sink_of_any_kind_got_is_proven_complete(world: ReceivedWorld, export: Any) -> None:
    result = world.verify(export(world))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Complete: 7 entries with 8 events")


def test_with_the_frames_the_content_of_each_event_is_proven_too(world: ReceivedWorld) -> None:
    result = world.verify(encoded(world.received()))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Complete and unaltered: 7 entries with 8 events")


def test_the_order_and_repetitions_make_no_difference(world: ReceivedWorld) -> None:
    lines = encoded(world.received())
    result = world.verify([*reversed(lines), *lines])
    assert result.exit_code == 0, result.output
    assert "records are there more than once" in result.stdout


def test_a_missing_event_is_found(world: ReceivedWorld) -> None:
    records = world.received("entries")
    [place] = [
        number
        for number, one in enumerate(records)
        if (one["kind"], one.get("writer"), one.get("sequence")) == ("event", "ext_authz.0", 2)
    ]
    result = world.verify(encoded(records[:place] + records[place + 1 :]))
    assert result.exit_code == 1
    assert "missing: 1 events of node-1/ext_authz.0/" in result.stdout
    assert "the first is 2" in result.stdout


def test_every_single_record_that_is_missing_is_found(world: ReceivedWorld) -> None:
    records = world.received("entries")
    for number, record in enumerate(records):
        result = world.verify(encoded(records[:number] + records[number + 1 :]))
        assert result.exit_code == 1, record


def test_an_altered_event_is_found_by_its_frame(world: ReceivedWorld) -> None:
    records = world.received()
    for record in records:
        if record["kind"] == "event":
            changed = [one if one is not record else {**one, "line": one["line"] + " "} for one in records]
            result = world.verify(encoded(changed))
            assert result.exit_code == 1
            assert f"altered: event {record['id']} is not the one in its frame" in result.stdout


def test_an_altered_frame_entry_or_checkpoint_is_found(world: ReceivedWorld) -> None:
    records = world.received()
    other = Signer("node-1/portcullis-audit", bytes(32))
    note = records[-1]["note"]
    for kind, name, value in (
        ("frame", "data", "AAAA"),
        ("entry", "entry", "portcullis-frame/1 node-1 oauth_web x 1 H 1 0 " + "0" * 64),
        ("checkpoint", "note", note.replace("open", "closed")),
        ("checkpoint", "note", other.sign(note.partition("\n\n")[0] + "\n")),
    ):
        place = next(number for number, one in enumerate(records) if one["kind"] == kind)
        changed = [*records[:place], {**records[place], name: value}, *records[place + 1 :]]
        assert world.verify(encoded(changed)).exit_code == 1, kind


def test_an_event_with_two_contents_is_found(world: ReceivedWorld) -> None:
    records = world.received("entries")
    first = next(one for one in records if one["kind"] == "event")
    result = world.verify(encoded([*records, {**first, "line": "{}"}]))
    assert result.exit_code == 1
    assert "is there with two contents" in result.stdout


def test_an_event_behind_the_end_of_its_program_is_found(world: ReceivedWorld) -> None:
    records = world.received("entries")
    last = [one for one in records if one.get("writer") == "oauth_web"][-1]
    added = {**last, "sequence": last["sequence"] + 1, "entry": None}
    result = world.verify(encoded([*records, added]))
    assert result.exit_code == 1
    assert "added: 1 events of node-1/oauth_web/" in result.stdout


def test_a_checkpoint_that_was_kept_elsewhere_shows_that_the_newest_part_is_missing(world: ReceivedWorld) -> None:
    records = world.received("entries")
    world.happen(1)
    kept = world.root / "kept.txt"
    kept.write_text(world.sealed.folder.checkpoint.read_text())
    assert world.verify(encoded(records)).exit_code == 0
    result = world.verify(encoded(records), "--checkpoint", str(kept))
    assert result.exit_code == 1
    assert "missing: entries 7 to 7 of the tree" in result.stdout


def test_a_part_is_proven_without_the_records_before_it(world: ReceivedWorld) -> None:
    first = world.received("entries")
    end = world.root / "end"
    assert world.verify(encoded(first), "--end", str(end)).exit_code == 0
    world.happen(2, 3)
    later = [one for one in world.received("entries") if one not in first]
    assert world.verify(encoded(later)).exit_code == 1, "without a beginning, everything must be there"
    result = world.verify(encoded(later), "--begin", str(end), "--end", str(world.root / "next"))
    assert result.exit_code == 0, result.output
    assert "proven from entry 7 on" in result.stdout
    assert "Complete: 2 entries with 5 events" in result.stdout
    world.happen(1)
    last = [one for one in world.received("entries") if one not in (*first, *later)]
    assert world.verify(encoded(last), "--begin", str(world.root / "next")).exit_code == 0
    for missing in (one for one in later if one["kind"] == "event"):
        rest = [one for one in later if one is not missing]
        assert world.verify(encoded(rest), "--begin", str(end)).exit_code == 1


def test_the_gateway_makes_the_beginning_of_a_part(world: ReceivedWorld) -> None:
    world.received("entries")
    kept, begin = world.root / "kept.txt", world.root / "begin"
    kept.write_text(world.sealed.folder.checkpoint.read_text(encoding="utf-8"), encoding="utf-8")
    world.happen(4)
    later = [one for one in world.received("entries") if one.get("index", 7) >= 7 or one.get("sequence", 0) > 6]
    options = [
        "--audit-dir",
        str(world.audit_dir),
        "--checkpoint",
        str(kept),
        "--beginning",
        "--output",
        str(begin),
    ]
    made = CliRunner().invoke(cli, ["audit", "verify", *options])
    assert made.exit_code == 0, made.output
    result = world.verify(encoded(later), "--begin", str(begin))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "changed",
    [
        {"hashes": []},
        {"hashes": ["AAAA"]},
        {"hashes": ["A" * 43 + "="] * 3},
        {"hashes": [7]},
        {"hashes": None},
        {"checkpoint": "no note"},
        {"checkpoint": 7},
        {"format": "another"},
    ],
)
def test_an_altered_beginning_is_refused(world: ReceivedWorld, changed: dict[str, Any]) -> None:
    lines = encoded(world.received("entries"))
    end = world.root / "end"
    assert world.verify(lines, "--end", str(end)).exit_code == 0
    end.write_text(json.dumps(json.loads(end.read_text(encoding="utf-8")) | changed), encoding="utf-8")
    assert isinstance(world.verify(lines, "--begin", str(end)).exception, SettingsError)


def test_a_record_that_the_sink_refused_is_named_and_completes_the_proof(world: ReceivedWorld) -> None:
    records = world.received("entries")
    refused = next(one for one in records if one.get("sequence") == 2)
    file = world.root / "hook.refused.jsonl"
    file.write_text(json.dumps({**refused, "refused": {"time": "", "fault": "it answers 400"}}) + "\n")
    rest = encoded([one for one in records if one is not refused])
    assert world.verify(rest).exit_code == 1
    result = world.verify(rest, "--refused", str(file))
    assert result.exit_code == 0, result.output
    assert f"refused: {refused['id']}: the sink does not have it" in result.stdout
    assert "refused:" not in world.verify(encoded(records), "--refused", str(file)).stdout
    altered = {**refused, "line": refused["line"].replace("{", "{ ", 1)}
    file.write_text(json.dumps(altered) + "\n")
    assert "two contents" in world.verify(encoded(records), "--refused", str(file)).stdout


def test_without_a_checkpoint_nothing_is_proven(world: ReceivedWorld) -> None:
    records = [one for one in world.received() if one["kind"] != "checkpoint"]
    result = world.verify(encoded(records))
    assert result.exit_code == 1
    assert "there is no checkpoint that the key has signed" in result.stdout


def test_a_line_that_is_no_record_is_named_and_not_repeated(world: ReceivedWorld) -> None:
    lines = encoded(world.received())
    result = world.verify([*lines, b"a secret", b'{"kind": "event"}', b"<13>1 - - - - - text", b"\xff"])
    assert result.exit_code == 1
    assert result.stderr.count("unreadable: ") == 4
    assert "secret" not in result.output


def test_an_event_that_waits_for_its_checkpoint_is_noted(world: ReceivedWorld) -> None:
    records = world.received("entries")
    newest = {**next(one for one in records if one.get("sequence") == 6), "sequence": 7, "entry": None}
    result = world.verify(encoded([*records, newest]))
    assert result.exit_code == 0
    assert "1 events are not covered by a checkpoint" in result.stdout


def test_the_result_is_json_for_programs(world: ReceivedWorld) -> None:
    found = json.loads(world.verify(encoded(world.received()), "--json").stdout)
    assert (found["complete"], found["entries"], found["events"], found["contents"]) == (True, 7, 8, 8)
