"""`portcullis audit tail` shows the newest events, and follows those of all programs as they are written."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from portcullis.audit.filters import EventFilter
from portcullis.audit.following import Follower
from portcullis.audit.parquet.record import Record
from portcullis.audit.reading import Reading
from portcullis.cli.main import cli
from tests.support.audit_segments import SegmentWriter, event, write_segment
from tests.support.programs import PORTCULLIS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def tail(folder: Path, *options: str) -> list[str]:
    result = CliRunner().invoke(cli, ["audit", "tail", "--audit-dir", str(folder), "--json", *options])
    assert result.exit_code == 0, result.output
    return [json.loads(line)["call"] for line in result.stdout.splitlines()]


def test_the_newest_events_of_all_programs_are_shown_oldest_first(tmp_path: Path) -> None:
    write_segment(tmp_path, "a", batches=[[event(n) for n in range(0, 40, 2)]])
    write_segment(tmp_path, "b", batches=[[event(n)] for n in range(1, 40, 2)])
    assert tail(tmp_path) == [f"call-{n}" for n in range(30, 40)]
    assert tail(tmp_path, "-n", "3") == ["call-37", "call-38", "call-39"]
    assert tail(tmp_path, "-n", "0") == []
    assert tail(tmp_path, "--until", "2026-11-30T06:00:05Z", "-n", "1") == ["call-4"]


def test_a_follower_returns_each_new_event_once_including_those_of_new_boots_and_segments(tmp_path: Path) -> None:
    first = SegmentWriter(tmp_path, "a")
    first.write(event(1))
    reading = Reading()
    follower = Follower(tmp_path, EventFilter(), reading)

    def added() -> list[tuple[str, object]]:
        return [(one.node, one.fields["call"]) for one in follower.added()]

    assert added() == []
    second = SegmentWriter(tmp_path, "b", node="node-2")
    second.write(event(2))
    first.open_segment()
    first.write(event(4), event(3))
    assert added() == [("node-2", "call-2"), ("node-1", "call-3"), ("node-1", "call-4")]
    first.close()
    second.write(event(5))
    assert added() == [("node-2", "call-5")]
    assert added() == []
    assert reading.faults == []


def test_a_follower_waits_for_the_rest_of_a_frame(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    follower = Follower(tmp_path, EventFilter(), Reading())
    before = writer.path.read_bytes()
    frame = writer.write(event(1))
    writer.path.write_bytes(before + frame[:-1])
    assert follower.added() == []
    writer.path.write_bytes(before + frame)
    assert [one.fields["call"] for one in follower.added()] == ["call-1"]


def test_events_before_a_segment_without_a_frame_are_not_new(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.write(event(1))
    (writer.folder / "000002.seg").touch()
    follower = Follower(tmp_path, EventFilter(), Reading())
    [before] = Record(tmp_path).events(EventFilter())
    assert follower.is_before(before)
    writer.open_segment()
    writer.write(event(2))
    assert [one.fields["call"] for one in follower.added()] == ["call-2"]


@contextmanager
def following(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [*PORTCULLIS, "audit", "tail", "--follow", "--json", "--audit-dir", str(folder), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def next_event(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())["call"]


def test_new_events_are_followed_until_an_interrupt(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "a")
    writer.write(event(1), event(2, user="octocat"))
    with following(tmp_path, "--user", "octocat") as process:
        assert next_event(process) == "call-2"
        writer.write(event(3), event(4, user="octocat"))
        assert next_event(process) == "call-4"
        SegmentWriter(tmp_path, "b").write(event(5, user="octocat"))
        assert next_event(process) == "call-5"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_following_ends_when_the_reader_closes_even_without_a_new_event(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[event(1)]])
    with following(tmp_path) as process:
        assert next_event(process) == "call-1"
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
