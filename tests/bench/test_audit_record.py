"""`portcullis bench audit` creates a record, and finds exactly the events of one person in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner

from portcullis.bench import audit_record
from portcullis.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path


def test_the_events_of_one_person_are_found_with_copies_and_without(tmp_path: Path) -> None:
    options = [
        "--events",
        "3000",
        "--people",
        "10",
        "--days",
        "2",
        "--segments",
        "--folder",
        str(tmp_path / "made"),
    ]
    result = CliRunner().invoke(cli, ["bench", "audit", *options])
    assert result.exit_code == 0, result.output
    made, copied, *found = result.stdout.splitlines()
    assert made.startswith("3000 events of 10 people in 2 days: ")
    assert copied.startswith("Parquet copies: ")
    assert [line.partition(":")[0].partition("person, ")[2] for line in found] == ["from segments", "from copies"]
    assert 200 < int(found[0].split()[0]) < 400
    days = {path.name.partition(".")[0] for path in (tmp_path / "made" / "parquet").iterdir()}
    assert days >= {"2026-10-01", "2026-10-02"}, "every hour has a copy, whatever the date is now"
    again = CliRunner().invoke(cli, ["bench", "audit", *options])
    assert again.exit_code == 1
    assert "has a record already" in again.output


def test_the_same_arguments_create_the_same_record(tmp_path: Path) -> None:
    for name in ("a", "b"):
        audit_record.make(tmp_path / name, 100, people=3, days=1, batch=7)
    first, second = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.seg")}
        for name in ("a", "b")
    )
    assert first == second
    assert len(first) == 48
