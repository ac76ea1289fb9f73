"""`docs/availability.md` says what the last run that was asked to write saw, and that run was of every event."""

from __future__ import annotations

import json
from typing import Any

from tests.system.availability import table


def _results() -> dict[str, dict[str, Any]]:
    results: dict[str, dict[str, Any]] = json.loads(table.RESULTS.read_text(encoding="utf-8"))
    return results


def test_the_page_says_what_that_run_saw() -> None:
    assert table.written(table.PAGE.read_text(encoding="utf-8")) == table.table(_results())


def test_that_run_was_of_every_event() -> None:
    assert list(_results()) == list(table.EVENTS)


def test_nothing_revoked_passed_in_it_and_an_upgrade_cost_nothing() -> None:
    results = _results()
    assert {event for event, row in results.items() if row["revoked_passed"] or not row["revoked"]} == set()
    assert results["rolling"]["calls_failed"] == results["rolling"]["sign_in_failed"] == {}
