"""`portcullis audit search` finds the same events as a plain filter over all of them, for any content of the
folder.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from portcullis.audit import moments
from portcullis.audit.filters import EventFilter, FilterError
from portcullis.audit.reading import Reading, StoredEvent, events
from portcullis.cli.main import cli
from tests.support.audit_events import FILTERS, MINUTES, START, filter_of, plainly, time_at, write_boots
from tests.support.audit_segments import SegmentWriter, event, write_segment
from tests.support.programs import PORTCULLIS

if TYPE_CHECKING:
    from click.testing import Result


@given(st.lists(MINUTES, max_size=4), FILTERS, st.booleans())
def test_each_filter_finds_the_same_events_as_a_plain_one(
    boots: list[list[tuple[int, dict[str, Any]]]], wanted: dict[str, Any], newest_first: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        written = write_boots(Path(name), boots)
        reading = Reading()
        found = [one.fields for one in events(Path(name), filter_of(wanted), reading, newest_first=newest_first)]
        again = list(events(Path(name), filter_of(wanted), reading, newest_first=not newest_first))
    assert reading.faults == []
    assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, plainly(written, wanted)))
    assert [one["time"] for one in found] == sorted((one["time"] for one in found), reverse=newest_first)
    assert sorted(one.place for one in again) == sorted({one.place for one in again})
    assert len(again) == len(found)


def search(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["audit", "search", "--audit-dir", str(folder), *options])


def documents(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_found_event_is_one_line_below_a_header_and_the_last_line_has_the_count(tmp_path: Path) -> None:
    one = event(1, event="access.denied", outcome="denied", reason="revoked", user="octocat", user_id=583231)
    one |= {"client_id": "client-1", "service": "notes", "mcp_name": "read_note", "source": "192.0.2.7"}
    write_segment(tmp_path, batches=[[event(0), one], [event(2)]])
    header, found, blank, last = search(tmp_path, "--user", "Octocat").stdout.splitlines()
    assert header.split() == [
        "TIME",
        "EVENT",
        "OUTCOME",
        "PERSON",
        "CLIENT",
        "SERVICE",
        "TOOL",
        "SOURCE",
        "REASON",
    ]
    assert found.split() == [
        *("2026-11-30T06:00:01.000000Z", "access.denied", "denied", "octocat#583231", "client-1"),
        *("notes", "read_note", "192.0.2.7", "revoked"),
    ]
    assert blank == ""
    assert last.startswith("1 event; not sealed")


def test_an_empty_result_is_a_sentence_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    result = search(tmp_path)
    assert (result.exit_code, result.stdout) == (0, "No event fits.\n")
    assert documents(search(tmp_path, "--json")) == []


def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    result = search(tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "nowhere" in result.output


def test_json_lines_have_the_event_and_its_place(tmp_path: Path) -> None:
    write_segment(tmp_path, "oauth_web", batches=[[event(1)], [event(2, user="octocat")]], node="node-9")
    [found] = documents(search(tmp_path, "--user", "octocat", "--json"))
    place = {"node": "node-9", "writer": "oauth_web", "boot": "20261130T060000Z-0123abcd", "sequence": 2}
    assert found == event(2, user="octocat") | place | {"sealed": False}


def test_the_limit_selects_the_first_events_of_the_shown_order(tmp_path: Path) -> None:
    write_segment(tmp_path, "a", batches=[[event(1)], [event(4)]])
    write_segment(tmp_path, "b", batches=[[event(2), event(3)]])
    calls = [one["call"] for one in documents(search(tmp_path, "--json", "--limit", "3"))]
    assert calls == ["call-1", "call-2", "call-3"]
    calls = [one["call"] for one in documents(search(tmp_path, "--json", "--limit", "3", "--reverse"))]
    assert calls == ["call-4", "call-3", "call-2"]
    assert "there may be more" in search(tmp_path, "--limit", "3").stdout


def test_a_value_of_a_caller_cannot_change_the_terminal_or_add_a_line(tmp_path: Path) -> None:
    hostile = "\x1b[2J\r\n2026-11-30 forged\u202e\udc80"
    write_segment(tmp_path, batches=[[event(1, reason=hostile, client_id=hostile)]])
    result = search(tmp_path)
    assert len(result.stdout.splitlines()) == 4
    assert all(c.isprintable() or c == "\n" for c in result.stdout)
    [found] = documents(search(tmp_path, "--json"))
    assert found["reason"] == hostile


def test_an_unfinished_frame_at_the_end_hides_nothing_before_it(tmp_path: Path) -> None:
    writer = write_segment(tmp_path, batches=[[event(1)]], closed=False)
    whole = writer.path.read_bytes()
    frame = writer.write(event(2))
    for length in (1, 40, len(frame) - 1):
        writer.path.write_bytes(whole + frame[:length])
        assert [one["call"] for one in documents(search(tmp_path, "--json"))] == ["call-1"]
        assert [one["call"] for one in documents(search(tmp_path, "--json", "--reverse"))] == ["call-1"]


@pytest.mark.parametrize("order", [(), ("--reverse",)])
def test_damage_is_reported_with_exit_code_1_and_all_other_events_are_shown(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    writer = SegmentWriter(tmp_path)
    writer.write(event(1))
    begin = writer.path.stat().st_size
    writer.write(event(2))
    writer.write(event(3), b"not JSON", b"[]", b'{"a":' * 100_000, b'{"a":' + b"9" * 5000 + b"}")
    whole = writer.path.read_bytes()
    writer.path.write_bytes(whole[:begin] + b"XXXX" + whole[begin + 4 :])
    result = search(tmp_path, "--json", *order)
    assert result.exit_code == 1
    assert sorted(json.loads(line)["call"] for line in result.stdout.splitlines()) == ["call-1", "call-3"]
    assert "bytes are no frame" in result.stderr
    assert "event 4 is no JSON object" in result.stderr
    assert "event 5 is no JSON object" in result.stderr
    assert "event 6 is no JSON object" in result.stderr
    assert "event 7 is no JSON object" in result.stderr
    assert "portcullis audit verify" in result.stderr


def test_a_frame_with_changed_content_is_reported(tmp_path: Path) -> None:
    writer = write_segment(tmp_path, batches=[[event(1)]], closed=False)
    whole = bytearray(writer.path.read_bytes())
    whole[-1] ^= 1
    writer.path.write_bytes(whole)
    result = search(tmp_path)
    assert result.exit_code == 1
    assert "cannot be decompressed" in result.stderr


def test_a_missing_segment_is_reported(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    for number in (1, 2, 3):
        writer.write(event(number))
        writer.open_segment()
    (writer.folder / "000002.seg").unlink()
    result = search(tmp_path, "--json")
    assert result.exit_code == 1
    assert "segment 000002 is missing" in result.stderr
    assert [json.loads(line)["call"] for line in result.stdout.splitlines()] == ["call-1", "call-3"]


def test_a_caller_cannot_forge_another_column(tmp_path: Path) -> None:
    forged = event(1, mcp_name="x" + 25 * " " + "10.9.9.9" + 10 * " " + "revoked", source="10.0.0.1")
    write_segment(tmp_path, batches=[[forged]])
    [line] = [one for one in search(tmp_path).stdout.splitlines() if "access.allowed" in one]
    columns = [part.strip() for part in line.split("  ") if part]
    assert columns[-2:] == ["10.0.0.1", "-"]
    assert "10.9.9.9" not in columns


def test_files_of_other_programs_in_the_folder_are_ignored(tmp_path: Path) -> None:
    writer = write_segment(tmp_path, batches=[[event(1)]])
    (writer.folder / "000001.seg.swp").write_bytes(b"x")
    (tmp_path / "segments" / "lost+found").mkdir()
    (tmp_path / "segments" / "notes.txt").write_text("hello")
    (tmp_path / "segments" / "Other" / "20261130T060000Z-0123abcd").mkdir(parents=True)
    assert [one["call"] for one in documents(search(tmp_path, "--json"))] == ["call-1"]


def test_a_segment_without_its_opening_is_read_for_any_period(tmp_path: Path) -> None:
    writer = write_segment(tmp_path, batches=[[event(1)]])
    whole = writer.path.read_bytes()
    writer.path.write_bytes(whole[whole.index(b"PCA1", 4) :])
    [found] = documents(search(tmp_path, "--json", "--since", "2026-11-30T06:00:00Z"))
    assert (found["node"], found["call"]) == ("-", "call-1")


def test_segments_of_other_hours_are_not_read(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    for hour in range(10, 20):
        writer.open_segment(f"2026-11-30T{hour}:00:00.000000Z")
        writer.write({**event(1), "time": f"2026-11-30T{hour}:30:00.000000Z"})
    long_ago = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
    for path in writer.folder.iterdir():
        os.utime(path, (long_ago, long_ago))
    reading = Reading()
    wanted = EventFilter(since="2026-11-30T14:20:00.000000Z", until="2026-11-30T14:40:00.000000Z")
    assert [one.time for one in events(tmp_path, wanted, reading)] == ["2026-11-30T14:30:00.000000Z"]
    assert (reading.segments, reading.skipped) == (1, 10)


def test_an_event_outside_the_hour_of_its_segment_is_found(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.write({**event(1), "time": "2026-11-30T05:59:59.900000Z"})
    writer.write({**event(2), "time": "2026-11-30T07:00:00.100000Z"})
    for since, until, call in (("05:59:59", "06:00:00", "call-1"), ("07:00:00", "07:01:00", "call-2")):
        options = ("--since", f"2026-11-30T{since}Z", "--until", f"2026-11-30T{until}Z", "--json")
        assert [one["call"] for one in documents(search(tmp_path, *options))] == [call]


def test_an_event_is_found_after_the_clock_was_set_back_within_the_hour(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.open_segment("2026-11-30T08:50:00.000000Z")
    writer.write({**event(1), "time": "2026-11-30T08:05:00.000000Z"})
    options = ("--since", "2026-11-30T08:00:00Z", "--until", "2026-11-30T08:10:00Z", "--json")
    assert [one["call"] for one in documents(search(tmp_path, *options))] == ["call-1"]


def test_ten_thousand_events_of_many_boots_are_in_order(tmp_path: Path) -> None:
    numbers = iter(range(10_000))
    writers = [SegmentWriter(tmp_path, f"ext_authz.{number}") for number in range(5)]
    for writer in itertools.cycle(writers):
        if not (batch := list(itertools.islice(numbers, 37))):
            break
        writer.write(*({**event(n), "time": time_at(30 + n / 1000), "user_id": n % 10} for n in batch))
    assert len(list(events(tmp_path, EventFilter(), Reading()))) == 10_000
    found: list[StoredEvent] = list(events(tmp_path, EventFilter(user="3"), Reading()))
    assert [one.fields["call"] for one in found] == [f"call-{n}" for n in range(3, 10_000, 10)]
    assert {one.writer for one in found} == {f"ext_authz.{number}" for number in range(5)}


def test_a_reader_that_stops_reading_is_no_error(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[event(n, reason="x" * 200) for n in range(2000)]])
    command = [*PORTCULLIS, "audit", "search", "--audit-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"TIME")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-30T08:15:00Z", "2026-11-30T08:15:00.000000Z"),
        ("2026-11-30t08:15:00.5+02:00", "2026-11-30T06:15:00.500000Z"),
        ("2026-11-30 08:15:00Z", "2026-11-30T08:15:00.000000Z"),
        ("2026-11-30", "2026-11-30T00:00:00.000000Z"),
        ("-2h", "2026-11-30T03:30:00.000000Z"),
        ("-7d", "2026-11-23T05:30:00.000000Z"),
        ("-90s", "2026-11-30T05:28:30.000000Z"),
        ("-1w", "2026-11-23T05:30:00.000000Z"),
    ],
)
def test_times_are_read_in_several_forms(text: str, moment: str) -> None:
    assert moments.recorded(moments.parse(text, now=START)) == moment


def test_a_date_as_the_end_includes_its_day() -> None:
    assert moments.parse("2026-11-30", now=START, is_end=True) == datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-13-01",
        "2026-11-30T08:15:00",
        "2h",
        "-2y",
        "--2h",
        "-999999999w",
        "2026-11-30T25:00:00Z",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a time"):
        moments.parse(text, now=START)


@pytest.mark.parametrize(
    "options",
    [
        ("--since", "soon"),
        ("--source", "10.0.0.0/33"),
        ("--since", "2026-11-30", "--until", "2026-11-29"),
        ("--outcome", "maybe"),
        ("--limit", "0"),
    ],
)
def test_invalid_options_are_usage_errors(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert search(tmp_path, *options).exit_code == 2


def test_a_filter_refuses_an_empty_period() -> None:
    with pytest.raises(FilterError):
        EventFilter(since=time_at(1), until=time_at(1))


def test_the_help_names_every_option() -> None:
    text = CliRunner().invoke(cli, ["audit", "search", "--help"]).output
    for part in ("user", "client", "token", "grant", "service", "tool", "source", "event", "outcome"):
        assert f"--{part} " in text
    for part in ("since", "until", "limit", "reverse", "json"):
        assert f"--{part}" in text
