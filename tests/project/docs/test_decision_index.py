"""`docs/adr/README.md` lists every decision record: its number, title, status and date."""

from __future__ import annotations

import re
from datetime import date

from tests.support.project import ROOT

FOLDER = ROOT / "docs" / "adr"

_ROW = re.compile(
    r"\| \[(?P<number>\d+)\]\((?P<file>[^)]+)\) \| (?P<title>.+) \| (?P<status>.+) \| (?P<date>[\d-]+) \|"
)
_TITLE = re.compile(r"# 0*(\d+)[.:] (.+)")
_OTHER = r"\[\d+\]\((?P<other>\d{4}-[a-z0-9-]+\.md)\)"
_STATUS = re.compile(
    rf"accepted(, continued by {_OTHER})?|(partly )?superseded by {_OTHER.replace('other', 'newer')}"
)


def _rows() -> list[re.Match[str]]:
    lines = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [_ROW.fullmatch(line) for line in lines if line.startswith("| [")]
    assert None not in rows
    return [row for row in rows if row is not None]


def _title(file: str) -> tuple[int, str]:
    """The number and the title in the record itself."""
    title = _TITLE.fullmatch((FOLDER / file).read_text(encoding="utf-8").partition("\n")[0])
    assert title is not None
    return int(title[1]), title[2]


def test_every_record_is_listed_once_by_its_number() -> None:
    assert [row["file"] for row in _rows()] == sorted(path.name for path in FOLDER.glob("0*.md"))


def test_numbers_and_titles_are_those_of_the_records() -> None:
    listed = {row["file"]: (int(row["number"]), row["title"]) for row in _rows()}
    assert listed == {file: _title(file) for file in listed}
    assert [file for file, (number, _) in listed.items() if not file.startswith(f"{number:04}-")] == []


def test_each_has_a_date_and_a_status_that_names_an_existing_record() -> None:
    for row in _rows():
        date.fromisoformat(row["date"])
        status = _STATUS.fullmatch(row["status"])
        assert status is not None, row["status"]
        other = status["other"] or status["newer"]
        assert other is None or (other > row["file"] and (FOLDER / other).exists())


def test_a_superseded_record_is_listed_as_superseded() -> None:
    said = re.compile(r"^\*(?:Superseded|Replaced|Its first paragraph was replaced) by \[(\d+)\]", re.MULTILINE)
    for row in _rows():
        newer = said.search((FOLDER / row["file"]).read_text(encoding="utf-8"))
        assert ("superseded" in row["status"]) == (newer is not None), row["file"]
        assert newer is None or f"superseded by [{newer[1]}]" in row["status"]
