"""`docs/generated/edge-rules.md` has the results of the last complete run of `tests/envoy/edge`, for all rules."""

from __future__ import annotations

import json
from typing import Any

from tests.envoy.edge import table
from tests.envoy.edge.cases import CASES


def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(table.RESULTS.read_text(encoding="utf-8"))
    return rows


def test_the_page_has_the_results_of_the_last_run() -> None:
    assert table.PAGE.read_text(encoding="utf-8") == table.page(_rows())


def test_the_last_run_covered_every_case() -> None:
    assert [(row["section"], row["rule"], row["sent"]) for row in _rows()] == [
        (case.section, case.rule, case.sent) for case in CASES
    ]


def test_every_case_had_an_accepted_result() -> None:
    assert [row for row, case in zip(_rows(), CASES, strict=True) if row["came_back"] not in case.wanted] == []
