"""`portcullis audit ship`: the records that a sink receives, and their times.

The sink is an OTLP receiver in this process.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from oauth_core.audit_log.checkpoints import open_checkpoint
from portcullis.audit.sealer import Sealer
from portcullis.cli.main import cli
from portcullis.sinks.shipping import MOST_REFUSALS
from tests.support.audit_record import recorded
from tests.support.audit_segments import SegmentWriter, event
from tests.support.sinks import TOKEN, OtlpReceiver, SinkWorld, attributes, places, receiving_otlp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SinkWorld:
    monkeypatch.chdir(tmp_path)
    return SinkWorld(tmp_path)


@pytest.fixture
def collector(world: SinkWorld) -> Iterator[OtlpReceiver]:
    with receiving_otlp() as receiver:
        world.sink("siem", "otlp", receiver.url)
        yield receiver


def test_every_sealed_event_arrives_once_with_its_line_and_its_place(
    world: SinkWorld, collector: OtlpReceiver
) -> None:
    world.happen(3, 1, 2)
    assert world.ship().exit_code == 0
    assert dict(collector.events()) == world.lines()
    found = [attributes(record) for record in collector.records()]
    events = [one for one in found if one["portcullis.record"] == "event"]
    assert [one["log.record.uid"] for one in events] == places(range(1, 7))
    assert world.ship().exit_code == 0
    assert len(collector.events()) == 6


def test_events_of_several_programs_arrive_in_the_order_of_the_tree(
    world: SinkWorld, collector: OtlpReceiver
) -> None:
    other = SegmentWriter(world.audit_dir, "oauth_web")
    for number in range(3):
        world.happen(1)
        other.write(event(100 + number, event="token.issued", outcome="success"))
        world.sealed.seal()
    world.ship()
    found = [attributes(record) for record in collector.records()]
    events = [
        (one["portcullis.writer"], one["portcullis.sequence"]) for one in found if "portcullis.sequence" in one
    ]
    assert events == [(writer, number) for number in (1, 2, 3) for writer in ("ext_authz.0", "oauth_web")]


def test_an_event_that_is_not_sealed_waits(world: SinkWorld, collector: OtlpReceiver) -> None:
    world.happen(1)
    world.happen(1, sealed=False)
    world.ship()
    assert [number for number, _ in collector.events()] == [1]
    world.sealed.seal()
    world.ship()
    assert [number for number, _ in collector.events()] == [1, 2]


def test_the_newest_checkpoint_arrives_as_it_was_signed(world: SinkWorld, collector: OtlpReceiver) -> None:
    world.happen(2)
    world.ship()
    [note] = [
        record.body.string_value
        for record in collector.records()
        if attributes(record)["portcullis.record"] == "checkpoint"
    ]
    assert open_checkpoint(note, world.sealed.signer.verifier) == world.sealed.checkpoint()


def test_fields_have_the_names_of_the_semantic_conventions(world: SinkWorld, collector: OtlpReceiver) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    fields = {"user": "octocat", "user_id": 7, "source": "192.0.2.1", "mcp_claimed": True, "trace_id": trace}
    world.writer.write(event(61, event="access.denied", outcome="denied", **fields))
    world.sealed.seal()
    world.ship()
    [record] = [one for one in collector.records() if one.event_name == "portcullis.access.denied"]
    found = attributes(record)
    named = {"user.name": "octocat", "user.id": "7", "client.address": "192.0.2.1"}
    assert named.items() <= found.items()
    assert found["portcullis.event.mcp_claimed"] is True
    assert (record.severity_text, record.severity_number) == ("WARNING", 13)
    assert record.trace_id.hex() == trace
    assert record.time_unix_nano == 1796018461 * 10**9
    resource = attributes(collector.requests[0].resource_logs[0].resource)
    assert resource["service.name"] == "portcullis"


@pytest.mark.parametrize(
    "forged",
    [
        {"event": "\ud800"},
        {"\ud800": "a name"},
        {"user": "\ud800", "trace_id": "\ud800" * 32},
        {"time": "9999-12-31T23:59:59Z"},
        {"time": "0001-01-01T00:00:00Z", "count": 2**70},
    ],
)
def test_an_event_that_a_program_forged_keeps_back_no_other(
    world: SinkWorld, collector: OtlpReceiver, forged: dict[str, object]
) -> None:
    lines = [json.dumps(event(number, **(forged if number == 2 else {}))) for number in (1, 2, 3)]
    world.writer.write(*(line.encode() for line in lines))
    world.sealed.seal()
    result = world.ship()
    assert result.exit_code == 0, result.output
    assert collector.events() == list(enumerate(lines, 1))


def test_an_unreachable_sink_gets_everything_when_it_is_back(world: SinkWorld, collector: OtlpReceiver) -> None:
    collector.status = 503
    world.happen(2)
    result = world.ship()
    assert result.exit_code == 1
    assert "siem: it answers 503; trying again" in result.stderr
    assert world.states()["siem"]["lag_events"] == 2
    assert world.states()["siem"]["fault"] == "it answers 503"
    world.happen(1)
    collector.status = 200
    assert world.ship().exit_code == 0
    assert dict(collector.events()) == world.lines()
    state = world.states()["siem"]
    assert (state["lag_events"], state["fault"]) == (0, "")


def test_a_batch_that_is_too_large_is_sent_in_parts(world: SinkWorld, collector: OtlpReceiver) -> None:
    collector.most = 3
    world.happen(20)
    assert world.ship().exit_code == 0
    assert [number for number, _ in collector.events()] == list(range(1, 21))


def test_records_that_a_sink_refuses_permanently_are_counted_and_not_repeated(
    world: SinkWorld, collector: OtlpReceiver
) -> None:
    collector.rejected = 1
    world.happen(2)
    result = world.ship()
    assert result.exit_code == 0
    assert "siem: it refused 1 records for good" in result.stderr
    assert "a secret of the receiver" not in result.output
    assert world.states()["siem"]["rejected"] == len(collector.requests)
    assert "REFUSED" in world.run("sinks").stdout


def refuses_event(number: int) -> Callable[[LogRecord], bool]:
    return lambda record: attributes(record).get("portcullis.sequence") == number


def test_a_record_that_a_sink_never_takes_is_put_aside_after_many_refusals(
    world: SinkWorld, collector: OtlpReceiver
) -> None:
    collector.refuses = refuses_event(3)
    world.happen(2, 3)
    for _ in range(MOST_REFUSALS - 1):
        assert world.ship().exit_code == 1
    assert [number for number, _ in collector.events()] == [1, 2]
    assert world.states()["siem"]["fault"] == "it answers 400"
    result = world.ship()
    assert result.exit_code == 0, result.output
    assert [number for number, _ in collector.events()] == [1, 2, 4, 5]
    file = world.audit_dir / "sinks" / "siem.refused.jsonl"
    assert str(file) in result.stderr
    (kept,) = map(json.loads, file.read_text().splitlines())
    assert (kept["sequence"], kept["line"]) == (3, world.lines()[3])
    assert kept["refused"]["fault"] == "it answers 400"
    state = world.states()["siem"]
    assert (state["rejected"], state["fault"], state["lag_events"]) == (1, "", 0)
    (event,) = (one for one in recorded(world.audit_dir, "sinks") if one["event"] == "audit.record_refused")
    assert (event["key"], event["outcome"]) == ("siem", "failure")
    assert f"{kept['id']}: it answers 400" == event["reason"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_no_record_is_put_aside_for_a_sink_that_refuses_all_of_them(
    world: SinkWorld, collector: OtlpReceiver, status: int
) -> None:
    collector.status = status
    world.happen(3)
    for _ in range(MOST_REFUSALS + 2):
        assert world.ship().exit_code == 1
    assert not (world.audit_dir / "sinks" / "siem.refused.jsonl").exists()
    assert world.states()["siem"]["fault"] == f"it answers {status}, also to a checkpoint alone"
    collector.status = 200
    assert world.ship().exit_code == 0
    assert dict(collector.events()) == world.lines()


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_other_answers_than_refusals_put_nothing_aside(
    world: SinkWorld, collector: OtlpReceiver, status: int
) -> None:
    world.happen(1)
    collector.status = status
    for _ in range(MOST_REFUSALS + 1):
        assert world.ship().exit_code == 1
    assert world.states()["siem"]["rejected"] == 0
    assert not (world.audit_dir / "sinks" / "siem.refused.jsonl").exists()


def test_a_refused_record_waits_while_it_cannot_be_put_aside(world: SinkWorld, collector: OtlpReceiver) -> None:
    collector.refuses = refuses_event(1)
    world.happen(2)
    file = world.audit_dir / "sinks" / "siem.refused.jsonl"
    file.parent.mkdir()
    file.symlink_to(world.root / "elsewhere")
    for _ in range(MOST_REFUSALS + 1):
        assert world.ship().exit_code == 1
    assert "cannot be put aside" in world.states()["siem"]["fault"]
    assert not (world.root / "elsewhere").exists()
    file.unlink()
    assert world.ship().exit_code == 0
    assert [number for number, _ in collector.events()] == [2]


def test_records_after_an_old_cursor_are_sent_again_with_the_same_id(
    world: SinkWorld, collector: OtlpReceiver
) -> None:
    world.happen(2)
    cursor = world.audit_dir / "sinks" / "siem.json"
    world.ship()
    assert cursor.exists()
    before = cursor.read_text()
    world.happen(1)
    world.ship()
    cursor.write_text(before)  # as after a crash between the answer and the write of the cursor
    world.ship()
    ids = [attributes(record)["log.record.uid"] for record in collector.records()]
    assert [one for one in ids if one in places([3])] == places([3, 3])


def test_an_unreachable_sink_delays_no_other(world: SinkWorld, collector: OtlpReceiver) -> None:
    with receiving_otlp() as gone:
        world.sink("gone", "otlp", gone.url)
    world.happen(5)
    result = world.ship()
    assert result.exit_code == 1
    assert "not everything was taken by: gone" in result.stderr
    assert dict(collector.events()) == world.lines()
    assert world.states()["gone"]["lag_events"] == 5


def test_a_new_sink_gets_the_record_from_its_beginning(world: SinkWorld, collector: OtlpReceiver) -> None:
    world.happen(2)
    world.ship()
    with receiving_otlp() as second:
        world.sink("second", "otlp", second.url)
        world.ship()
        assert dict(second.events()) == world.lines()
    assert len(collector.events()) == 2


def test_the_secret_in_a_header_file_is_sent_and_never_printed(world: SinkWorld) -> None:
    headers = world.root / "headers"
    headers.write_text(f"Authorization: Bearer {TOKEN}\n")
    with receiving_otlp() as receiver:
        world.sink("siem", "otlp", receiver.url, f'headers_file = "{headers}"')
        world.happen(1)
        shown = world.ship().output
        receiver.status = 401
        world.happen(1)
        shown += world.ship().output
        assert receiver.authorization == {f"Bearer {TOKEN}"}
    shown += world.run("sinks").output + (world.audit_dir / "sinks" / "siem.json").read_text()
    assert "it answers 401" in shown
    assert TOKEN not in shown


def test_a_tree_that_was_rolled_back_is_not_sent(world: SinkWorld, collector: OtlpReceiver) -> None:
    world.happen(1)
    world.ship()
    kept = world.sealed.folder.checkpoint.read_text()
    world.happen(1)
    world.ship()
    world.sealed.folder.checkpoint.write_text(kept)
    result = world.ship()
    assert result.exit_code == 1
    assert "siem: the sealed tree is shorter than what was sent: it was rolled back" in result.stderr


def test_a_checkpoint_with_an_invalid_signature_is_not_sent(world: SinkWorld, collector: OtlpReceiver) -> None:
    world.happen(1)
    note = world.sealed.folder.checkpoint.read_text()
    world.sealed.folder.checkpoint.write_text(note.replace("time 2", "time 3"))
    result = world.ship()
    assert result.exit_code == 1
    assert "siem: the checkpoint cannot be used" in result.stderr
    assert collector.attempts == 0


def test_a_frame_that_was_altered_is_not_sent_and_its_entry_is(world: SinkWorld, collector: OtlpReceiver) -> None:
    world.happen(1, 1, 1)
    data = bytearray(world.writer.path.read_bytes())
    place = data.rindex(b"PCA1", 0, data.rindex(b"PCA1"))
    data[place + 100] ^= 1  # in the content of the second frame
    world.writer.path.write_bytes(bytes(data))
    world.ship()
    assert [number for number, _ in collector.events()] == [1, 3]
    entries = [attributes(one) for one in collector.records()]
    indexes = [one["portcullis.index"] for one in entries if "portcullis.index" in one]
    assert indexes == list(range(world.sealed.checkpoint().size))


def test_the_lag_and_the_address_without_its_path_are_printed(world: SinkWorld, collector: OtlpReceiver) -> None:
    world.happen(2)
    world.ship()
    world.happen(3)
    sentence = world.run("sinks").stdout
    assert "siem (otlp, http://127.0.0.1:" in sentence
    assert "3 events wait" in sentence
    assert "/v1/logs" not in sentence


def test_a_sink_whose_state_was_deleted_gets_everything_again(world: SinkWorld, collector: OtlpReceiver) -> None:
    world.happen(2)
    world.ship()
    assert world.run("sinks", "--forget", "siem").exit_code == 0
    world.ship()
    assert [number for number, _ in collector.events()] == [1, 2, 1, 2]
    assert world.run("sinks", "--forget", "other").exit_code == 2


@pytest.mark.parametrize("sent", [2, 3, 10**18])
def test_a_cursor_beyond_the_events_of_a_frame_skips_none_of_them(
    world: SinkWorld, collector: OtlpReceiver, sent: int
) -> None:
    world.happen(2)
    assert world.ship().exit_code == 0
    cursor = world.audit_dir / "sinks" / "siem.json"
    kept = json.loads(cursor.read_text())
    last = kept["place"]["index"] - 1
    cursor.write_text(json.dumps({**kept, "place": {"index": last, "events": sent}}))
    assert world.ship().exit_code == 0
    assert [number for number, _ in collector.events()] == [1, 2, 1, 2]


def test_an_invalid_cursor_is_reported_and_nothing_is_sent(world: SinkWorld, collector: OtlpReceiver) -> None:
    world.happen(1)
    (world.audit_dir / "sinks").mkdir()
    for content in ("{", '{"v": 1}', "[" * 60_000, '{"v":1,"place":{"index":-1,"events":0}}'):
        (world.audit_dir / "sinks" / "siem.json").write_text(content)
        result = world.ship()
        assert "siem.json is no cursor of a sink" in str(result.exception)
    assert collector.attempts == 0


def test_without_a_sink_the_command_fails_and_names_the_setting(world: SinkWorld) -> None:
    assert "audit.sinks is empty" in str(world.ship().exception)


def prune(world: SinkWorld, *more: str) -> Result:
    """Run retention over everything, with these options too."""
    return world.run("prune", "--keep-size", "0", "--yes", *more)


def test_retention_keeps_segments_that_a_sink_has_not_received(world: SinkWorld, collector: OtlpReceiver) -> None:
    world.happen(2)
    world.writer.close()
    world.sealed.seal()
    collector.status = 503
    world.ship()
    result = prune(world)
    assert result.exit_code == 1
    assert "1 segments stay: the sink siem does not have them yet" in result.stderr
    assert world.writer.path.exists()
    collector.status = 200
    world.ship()
    assert prune(world).exit_code == 0
    assert not world.writer.path.exists()
    assert dict(collector.events()) == world.lines()


def test_with_an_option_retention_does_not_wait_and_the_entries_are_still_sent(
    world: SinkWorld, collector: OtlpReceiver
) -> None:
    world.happen(2)
    world.writer.close()
    world.sealed.seal()
    collector.status = 503
    world.ship()
    assert prune(world, "--unsent").exit_code == 0
    collector.status = 200
    world.sealed.seal()
    assert world.ship().exit_code == 0
    records = [attributes(record) for record in collector.records()]
    kinds = [one["portcullis.record"] for one in records if one.get("portcullis.writer") == "ext_authz.0"]
    assert kinds == ["entry", "entry", "entry"]


@pytest.mark.parametrize(
    ("kind", "url", "more", "fault"),
    [
        ("otlp", "http://collector.example.com/v1/logs", "", "only loopback addresses may use http"),
        ("otlp", "ftp://collector.example.com/v1/logs", "", "must be https://HOST"),
        ("otlp", "https://user:secret@collector.example.com", "", "must not have a user or a password"),
        ("syslog", "tcp://log.example.com:514", "", "only loopback addresses may use tcp"),
        ("syslog", "tls://log.example.com/path", "", "must be tls://HOST:PORT and nothing else"),
        ("syslog", "tls://log.example.com", 'proof = "frames"', "frames are too long for messages of syslog"),
        ("nats", "nats://nats.example.com:4222", "", "only loopback addresses may use nats"),
        ("nats", "tls://nats.example.com", 'subject = "a.>"', "subject must be words"),
        ("webhook", "https://hook.example.com", "", "a webhook needs secret_file"),
        ("otlp", "https://c.example.com", 'cert_file = "/c"', "cert_file and key_file belong together"),
        ("syslog", "tls://log.example.com", 'headers_file = "/h"', "headers_file is for otlp"),
    ],
)
def test_an_invalid_address_or_file_is_reported(
    world: SinkWorld, kind: str, url: str, more: str, fault: str
) -> None:
    world.sink("siem", kind, url, more)
    shown = str(world.ship().exception)
    assert fault in shown
    assert "secret@" not in shown


def test_frames_of_many_programs_are_found_in_any_order_of_the_tree(
    world: SinkWorld, collector: OtlpReceiver
) -> None:
    writers = [SegmentWriter(world.audit_dir, f"ext_authz.{number}") for number in range(1, 41)]
    for turn in range(3):
        for writer in writers:
            if turn == 1:
                writer.open_segment()
            writer.write(event(turn))
        world.sealed.seal()
        assert world.ship().exit_code == 0
    found = [attributes(record) for record in collector.records()]
    events = [one["log.record.uid"] for one in found if one["portcullis.record"] == "event"]
    assert sorted(events) == sorted(place for writer in writers for place in places([1, 2, 3], writer.writer))
    indexes = [one["portcullis.index"] for one in found if "portcullis.index" in one]
    assert indexes == list(range(world.sealed.checkpoint().size))


def test_a_sink_goes_on_in_the_middle_of_a_frame(world: SinkWorld, collector: OtlpReceiver) -> None:
    world.happen(1200)
    world.ship()
    assert [number for number, _ in collector.events()] == list(range(1, 1201))
    cursor = world.audit_dir / "sinks" / "siem.json"
    kept = json.loads(cursor.read_text())
    cursor.write_text(json.dumps({**kept, "place": {"index": 1, "events": 1100}}))
    world.ship()
    assert [number for number, _ in collector.events()[1200:]] == list(range(1101, 1201))


def test_after_a_new_tree_everything_in_the_folder_is_sent_with_the_same_ids(
    world: SinkWorld, collector: OtlpReceiver
) -> None:
    world.happen(2)
    world.ship()
    key = ["--key-file", str(world.sealed.key.path)]
    result = CliRunner().invoke(cli, ["audit", "key", "--new-tree", "--audit-dir", str(world.audit_dir), *key])
    assert result.exit_code == 0, result.output
    world.sealed.folder.root.mkdir()
    sealer = Sealer(world.audit_dir, world.sealed.key, report=print, publish=lambda _note: None)
    while sealer.step():
        pass
    assert world.ship().exit_code == 0
    found = [attributes(record) for record in collector.records()]
    ids = [one["log.record.uid"] for one in found if one.get("portcullis.writer") == "ext_authz.0"]
    events = [one for one in ids if "ext_authz" in one and "/entry/" not in one]
    assert events == [*places([1, 2]), *places([1, 2])]
    assert len({one["portcullis.tree"] for one in found}) == 2
