"""`portcullis bench audit-search` and `bench sealer` measure the real commands, and find all that they made."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import duckdb
from click.testing import CliRunner

from portcullis.audit.filters import EventFilter
from portcullis.audit.parquet.record import Record
from portcullis.bench import made_copies
from portcullis.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def run(*arguments: str) -> list[str]:
    result = CliRunner().invoke(cli, ["bench", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_one_person_is_found_by_login_and_by_number_in_a_made_record(tmp_path: Path) -> None:
    options = (
        "--events",
        "3000",
        "--people",
        "10",
        "--days",
        "2",
        "--rounds",
        "1",
        "--folder",
        str(tmp_path / "a"),
    )
    made, by_login, by_number = run("audit-search", *options)
    assert made.startswith("3000 events in 2 days: ")
    assert by_login.startswith("300 events of person-0000005: ")
    assert by_number.startswith("300 events of ")
    assert "s of processor time; " in by_login
    assert run("audit-search", *options)[0] == made, "the record that is there is used again"


def test_made_copies_have_the_columns_and_the_order_of_real_ones(tmp_path: Path) -> None:
    made = made_copies.make(tmp_path / "made", 2000, people=7, days=1, report=lambda _line: None)
    other = made_copies.make(tmp_path / "other", 2000, people=7, days=1, report=lambda _line: None)
    assert (made.of_person, made.user_id) == (other.of_person, other.user_id)
    record = Record(tmp_path / "made")
    events = list(record.events(EventFilter(since=made.since, until=made.until)))
    assert (len(events), record.reading.faults, record.reading.segments) == (2000, [], 0)
    path = next((tmp_path / "made" / "parquet").glob("*.parquet"))
    with duckdb.connect() as database:
        query = "SELECT login, user_id, client_id, time, line FROM read_parquet(?)"
        rows = database.execute(query, [str(path)]).fetchall()
    assert [row[:2] for row in rows] == sorted(row[:2] for row in rows)
    for login, user_id, client_id, _, line in rows:
        fields = json.loads(line)
        assert (login, user_id, client_id) == (fields["user"], str(fields["user_id"]), fields["client_id"])


def test_a_record_for_which_the_disk_has_no_room_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**9))
    result = CliRunner().invoke(
        cli, ["bench", "audit-search", "--events", "1000000000", "--folder", str(tmp_path)]
    )
    assert result.exit_code == 1
    assert "no room" in result.output


def test_the_sealer_seals_everything_that_comes_at_a_rate() -> None:
    counted, processor, lag, end = run("sealer", "--rate", "200", "--seconds", "1", "--writers", "2")
    assert int(counted.split()[0]) > 0
    assert processor.startswith("processor time of the sealer: ")
    assert lag.startswith("oldest unsealed event: ")
    assert end.startswith("all sealed ")
