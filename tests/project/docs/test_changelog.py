"""`CHANGELOG.md` has the form of Keep a Changelog, and its newest release is the version of the package."""

from __future__ import annotations

import re
import tomllib
from datetime import date

from tests.support.project import ROOT

TEXT = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]

_RELEASE = re.compile(r"## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)")


def _headings() -> list[str]:
    return re.findall(r"^## .*$", TEXT, re.MULTILINE)


def test_unreleased_changes_come_first_and_then_each_release_with_its_date() -> None:
    first, *others = _headings()
    assert first == "## [Unreleased]"
    releases = [_RELEASE.fullmatch(heading) for heading in others]
    assert None not in releases
    dates = [date.fromisoformat(release[2]) for release in releases if release is not None]
    assert dates == sorted(dates, reverse=True)


def test_the_newest_release_is_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = _RELEASE.fullmatch(_headings()[1])
    assert newest is not None
    assert newest[1] == project["version"]


def test_changes_have_a_kind_and_each_kind_occurs_once() -> None:
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.*)$", section, re.MULTILINE)
        assert set(kinds) <= set(KINDS)
        assert len(kinds) == len(set(kinds))
        assert "\n- " not in section.partition("\n### ")[0]


def test_a_released_change_is_one_line() -> None:
    _, _, released = TEXT.partition(_headings()[1])
    assert [line for line in released.splitlines() if line.startswith("  ")] == []
