"""Parquet copies of closed hours: a search with them finds the same events as one without them."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.audit_log.frames import MOST_CONTENT
from oauth_core.process import file_lock
from portcullis.audit import identities
from portcullis.audit.filters import EventFilter
from portcullis.audit.identities import BelongsTo
from portcullis.audit.parquet import catalog, compaction, database
from portcullis.audit.parquet.record import Record
from portcullis.cli.main import cli
from tests.support.audit_events import FILTERS, MINUTES, filter_of, plainly, write_boots
from tests.support.audit_segments import SegmentWriter, event, line_of, write_segment
from tests.support.property_tests import examples

if TYPE_CHECKING:
    from click.testing import Result

NEXT_DAY = datetime(2026, 12, 1, 1, tzinfo=UTC)
HALF_PAST_SEVEN = datetime(2026, 11, 30, 7, 30, tzinfo=UTC)
SAME_DAY = datetime(2026, 11, 30, 20, tzinfo=UTC)


def compact(folder: Path, now: datetime = NEXT_DAY) -> list[str]:
    """The report lines of a run."""
    lines: list[str] = []
    compaction.compact(folder, now=now, report=lines.append)
    return lines


def names(folder: Path) -> list[str]:
    """The beginnings of the names of all copies."""
    return sorted(path.name.partition(".")[0] for path in (folder / catalog.FOLDER).glob("*.parquet"))


def hours(folder: Path, *numbers: int, writer: str = "oauth_web", day: str = "2026-11-30") -> SegmentWriter:
    """A boot with a segment and an event for each of these hours."""
    made = SegmentWriter(folder, writer)
    made.path.unlink()
    made.encoder, made.index = type(made.encoder)(), 0
    for hour in numbers:
        made.open_segment(f"{day}T{hour:02}:00:00.000000Z")
        made.write({**at(hour), "time": f"{day}T{hour:02}:30:00.000000Z"})
    return made


def at(hour: int, **fields: Any) -> dict[str, object]:
    return {**event(hour, **fields), "time": f"2026-11-30T{hour:02}:30:00.000000Z"}


def calls(folder: Path, **wanted: Any) -> list[object]:
    """The events that a search finds with copies. It checks that a search without them finds the same."""
    record = Record(folder)
    found = [one.fields["call"] for one in record.events(EventFilter(**wanted))]
    assert record.reading.faults == []
    assert [
        one.fields["call"] for one in Record(folder, segments_only=True).events(EventFilter(**wanted))
    ] == found
    return found


@examples(40)
@given(
    st.lists(MINUTES, max_size=3),
    FILTERS,
    st.booleans(),
    st.sampled_from([NEXT_DAY, HALF_PAST_SEVEN]),
)
def test_a_search_of_copies_finds_the_same_events_as_a_plain_filter(
    boots: list[list[tuple[int, dict[str, Any]]]], wanted: dict[str, Any], newest_first: bool, now: datetime
) -> None:
    with tempfile.TemporaryDirectory() as name:
        written = write_boots(Path(name), boots)
        compact(Path(name), now)
        record = Record(Path(name))
        found = list(record.events(filter_of(wanted), newest_first=newest_first))
        others = list(Record(Path(name), segments_only=True).events(filter_of(wanted), newest_first=newest_first))
    assert record.reading.faults == []
    assert sorted(json.dumps(one.fields) for one in found) == sorted(map(json.dumps, plainly(written, wanted)))
    times = [one.time for one in found]
    assert times == sorted(times, reverse=newest_first)
    assert sorted(found, key=lambda one: one.place) == sorted(others, key=lambda one: one.place)


def test_closed_hours_get_a_file_each_and_a_day_that_is_over_gets_one(tmp_path: Path) -> None:
    writer = hours(tmp_path, 6, 7, 20)
    compact(tmp_path, SAME_DAY)
    assert names(tmp_path) == ["2026-11-30T06", "2026-11-30T07"]
    assert calls(tmp_path) == ["call-6", "call-7", "call-20"]
    assert compact(tmp_path, SAME_DAY) == []
    compact(tmp_path, NEXT_DAY)
    assert names(tmp_path) == ["2026-11-30", "2026-11-30T06", "2026-11-30T07"]
    assert calls(tmp_path) == ["call-6", "call-7", "call-20"]
    assert compact(tmp_path, NEXT_DAY) == []
    assert names(tmp_path) == ["2026-11-30"], "a search that began before could still read the hours"
    assert compact(tmp_path, NEXT_DAY) == []
    assert len(list(writer.folder.iterdir())) == 3, "the segments stay"


def test_an_hour_is_closed_ten_minutes_after_its_end(tmp_path: Path) -> None:
    hours(tmp_path, 6)
    assert compact(tmp_path, datetime(2026, 11, 30, 7, 9, tzinfo=UTC)) == []
    assert len(compact(tmp_path, datetime(2026, 11, 30, 7, 10, tzinfo=UTC))) == 1


def test_a_segment_that_grew_after_it_was_copied_is_read_itself(tmp_path: Path) -> None:
    hours(tmp_path, 6, 7, writer="other")
    writer = hours(tmp_path, 6)
    compact(tmp_path)
    writer.write(at(8))
    assert calls(tmp_path) == ["call-6", "call-6", "call-7", "call-8"]
    compact(tmp_path)
    compact(tmp_path)
    assert names(tmp_path) == ["2026-11-30"]
    assert calls(tmp_path) == ["call-6", "call-6", "call-7", "call-8"]


def test_a_removed_segment_is_missing_although_it_has_a_copy(tmp_path: Path) -> None:
    writer = hours(tmp_path, 6, 7, 8)
    compact(tmp_path)
    (writer.folder / "000002.seg").unlink()
    record = Record(tmp_path)
    assert [one.fields["call"] for one in record.events(EventFilter())] == ["call-6", "call-8"]
    assert len(record.reading.faults) == 1


def test_a_damaged_segment_is_not_copied_and_each_search_reports_it(tmp_path: Path) -> None:
    writer = hours(tmp_path, 6, 7, 8)
    second = writer.folder / "000002.seg"
    content = bytearray(second.read_bytes())
    content[-1] ^= 1
    second.write_bytes(content)
    assert "segment 000002: not copied: the content cannot be decompressed" in compact(tmp_path)[0]
    record = Record(tmp_path)
    assert [one.fields["call"] for one in record.events(EventFilter())] == ["call-6", "call-8"]
    assert record.used_copies
    assert "cannot be decompressed" in record.reading.faults[0]
    assert compact(tmp_path) == [], "it is not retried"


@pytest.mark.parametrize("line", [b"not JSON", b"[]", b'{"a":"\t"}', '{"user":"ü"}'.encode(), b'{"a":1}\r{"b":2}'])
def test_a_segment_with_an_invalid_line_is_not_copied(tmp_path: Path, line: bytes) -> None:
    writer = hours(tmp_path, 6, 7)
    writer.write(line)
    assert "segment 000002: not copied" in compact(tmp_path)[0]
    [copy] = catalog.copies(tmp_path)
    assert [key.number for key in copy.segments] == [1]
    assert [key.number for key in copy.refused] == [2]
    found = [one.fields.get("call") for one in Record(tmp_path).events(EventFilter())]
    assert [one for one in found if one] == ["call-6", "call-7"]


def test_a_record_without_segments_that_can_be_copied_is_not_retried(tmp_path: Path) -> None:
    hours(tmp_path, 6).write(b"not JSON")
    assert len(compact(tmp_path)) == 2
    assert compact(tmp_path) == []
    assert not Record(tmp_path).used_copies


@pytest.mark.parametrize("what", ["cut", "gone", "without description", "description is no JSON"])
def test_an_incomplete_copy_is_not_used(tmp_path: Path, what: str) -> None:
    hours(tmp_path, 6, 7)
    compact(tmp_path)
    [copy] = catalog.copies(tmp_path)
    if what == "cut":
        copy.path.write_bytes(copy.path.read_bytes()[:-1])
    elif what == "gone":
        copy.path.unlink()
    elif what == "without description":
        copy.description.unlink()
    else:
        copy.description.write_text("{")
    assert calls(tmp_path) == ["call-6", "call-7"]
    assert not Record(tmp_path).used_copies


def test_an_altered_copy_is_reported(tmp_path: Path) -> None:
    hours(tmp_path, 6)
    compact(tmp_path)
    [copy] = catalog.copies(tmp_path)
    copy.path.write_bytes(b"x" * copy.size)
    result = search(tmp_path)
    assert result.exit_code == 1
    assert f"not read: {copy.path.name}" in result.stderr
    assert search(tmp_path, "--segments-only").exit_code == 0


def search(folder: Path, *options: str, command: str = "search") -> Result:
    return CliRunner().invoke(cli, ["audit", command, "--audit-dir", str(folder), *options])


def test_the_last_line_reports_that_copies_were_used(tmp_path: Path) -> None:
    hours(tmp_path, 6, day="2020-01-01")
    assert "Parquet" not in search(tmp_path).stdout
    assert search(tmp_path, command="compact").exit_code == 0
    assert search(tmp_path).stdout.splitlines()[-1].startswith("Some come from Parquet copies, which no seal")
    assert "Parquet" not in search(tmp_path, "--segments-only").stdout
    assert "Parquet" not in search(tmp_path, "--since", "2027-01-01").stdout
    assert search(tmp_path, command="compact").stdout == "Every closed hour has its copy.\n"


def test_a_timeline_is_the_same_with_copies(tmp_path: Path) -> None:
    writer = hours(tmp_path, 6)
    grant = {"grant_id": "grant-1", "client_id": "client-1", "user": "Octocat", "user_id": 5}
    writer.write(
        at(6, jti="token-1", **grant), at(6, jti="token-1", service="notes"), at(6, event="everybody.revoked")
    )
    writer.write(at(6, jti="token-2", **{**grant, "grant_id": "grant-2"}), at(6, user="octocat", user_id=5))
    compact(tmp_path)
    for text in ("token-1", "octocat", "id:5", "client-1", "grant-2"):
        places = []
        for segments_only in (True, False):
            record = Record(tmp_path, segments_only=segments_only)
            identity = identities.find(text, record.events)
            places.append(sorted(one.place for one in record.events(BelongsTo(identity))))
        assert places[0] == places[1]
        assert len(places[0]) >= 3


def test_without_duckdb_the_segments_are_read_and_compacting_reports_the_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours(tmp_path, 6, 7)
    compact(tmp_path)
    monkeypatch.setattr(database, "find_spec", lambda _name: None)
    assert calls(tmp_path) == ["call-6", "call-7"]
    assert not Record(tmp_path).used_copies
    result = search(tmp_path, command="compact")
    assert result.exit_code == 1
    assert "DuckDB is not installed" in result.output


def test_only_their_owner_can_read_copies(tmp_path: Path) -> None:
    hours(tmp_path, 6)
    compact(tmp_path)
    folder = tmp_path / catalog.FOLDER
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == 3, "only the lock is left of the run"


def test_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    hours(tmp_path, 6)
    left = tmp_path / catalog.FOLDER / ".making-12345678"
    left.mkdir(parents=True)
    (left / "lines").write_text("x")
    compact(tmp_path)
    assert not left.exists()


def test_a_second_concurrent_run_on_a_folder_is_refused(tmp_path: Path) -> None:
    hours(tmp_path, 6)
    (tmp_path / catalog.FOLDER).mkdir()
    with file_lock.held(tmp_path / catalog.FOLDER / "lock"):
        result = search(tmp_path, command="compact")
    assert result.exit_code == 1
    assert "another run" in result.output


@pytest.mark.parametrize(
    "node", ["a\tb", "ñ", 'x\tw\t20261130T060000Z-0123abcd\t1\t2\tab\t9\t{"call":"forged"}\nx', ""]
)
def test_a_forged_node_name_adds_no_event_to_a_copy_or_an_export(tmp_path: Path, node: str) -> None:
    folder, output = tmp_path / "audit", tmp_path / "out.parquet"
    write_segment(folder, "forged", batches=[[event(1)]], node=node)
    write_segment(folder, "oauth_web", batches=[[event(2)]])
    assert compact(folder)[0].endswith(" bytes")
    for options in ((), ("--segments-only",)):
        shown = [json.loads(line) for line in search(folder, "--json", *options).stdout.splitlines()]
        assert [(one["node"], one["call"]) for one in shown] == [("-", "call-1"), ("node-1", "call-2")]
    result = search(folder, "--format", "parquet", "--output", str(output), command="export")
    assert result.exit_code == 0, result.output
    with database.opened() as connection:
        rows = connection.execute(
            "SELECT node, sequence FROM read_parquet(?) ORDER BY node", [str(output)]
        ).fetchall()
    assert rows == [("-", 1), ("node-1", 1)]


def test_the_longest_line_is_copied(tmp_path: Path) -> None:
    empty = line_of(event(1, reason=""))
    longest = line_of(event(1, reason="a" * (MOST_CONTENT - len(empty) - 1)))
    write_segment(tmp_path, batches=[[longest]])
    assert "1 segments" in compact(tmp_path)[0]
    [found] = Record(tmp_path).events(EventFilter())
    assert found.line == longest
