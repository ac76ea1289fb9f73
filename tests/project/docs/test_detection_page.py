"""The table of detection rules in `docs/audit.md` matches the files, and the page explains all
additional fields.
"""

from __future__ import annotations

from portcullis.detection.events_table import ADDED
from portcullis.detection.rules import load
from tests.project.docs.detection_reference import PAGE, fresh


def test_the_table_of_rules_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == fresh(page)


def test_the_page_explains_every_field_that_rules_use_besides_those_of_events() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name, meaning in ADDED.items() if f"| `{name}` | {meaning} |" not in page] == []


def test_every_rule_names_its_row_of_the_requirements() -> None:
    rows = {"invalid-token", "unusual-access", "excessive-requests", "error-spike", "unusual-behaviour"}
    rows.add("unusual-location")
    for rule in load():
        assert [tag for tag in rule.tags if tag.removeprefix("portcullis.") in rows], rule.name
        assert rule.false_positives, rule.name
