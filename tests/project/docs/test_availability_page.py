"""`docs/availability.md` has the results of the last run that wrote it, and that run covered every event."""

from __future__ import annotations

import json
from typing import Any

from tests.system.availability import table


def _results() -> dict[str, dict[str, Any]]:
    results: dict[str, dict[str, Any]] = json.loads(table.RESULTS.read_text(encoding="utf-8"))
    return results


def test_the_page_has_the_results_of_the_run() -> None:
    assert table.written(table.PAGE.read_text(encoding="utf-8")) == table.table(_results())


def test_the_run_covered_every_event() -> None:
    assert list(_results()) == list(table.EVENTS)


def test_the_run_allowed_no_revoked_token_and_an_upgrade_failed_no_call() -> None:
    results = _results()
    assert {event for event, row in results.items() if row["revoked_passed"] or not row["revoked"]} == set()
    assert results["rolling"]["calls_failed"] == results["rolling"]["sign_in_failed"] == {}
