"""The table in `docs/generated/edge-rules.md`: each rule, the request, and the answer in the last complete run.

`docs/generated/edge-rules.json` keeps the results. `python -m tests.envoy.edge.table` writes the page again.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.envoy.edge.case import Case

_GENERATED = ROOT / "docs" / "generated"
PAGE = _GENERATED / "edge-rules.md"
RESULTS = _GENERATED / "edge-rules.json"

_PREFACE = """# Rules at the edge

`pytest tests/envoy/edge` writes this page. It sends each request, byte for byte, through a real Envoy and looks at
the answer and at the request that reached a service. The page shows the results of the last complete run. Every
request to a service has a valid token unless its row shows otherwise, so that no refusal here is due to a missing
token.
"""


class Record:
    """The results so far."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases
        self._seen: dict[str, tuple[str, str]] = {}

    def saw(self, case: Case, came_back: str, reached: str) -> None:
        """Record the result of `case`."""
        self._seen[case.name] = came_back, reached

    @property
    def is_complete(self) -> bool:
        """Whether every case was sent and had an accepted result."""
        return self._seen.keys() == {case.name for case in self._cases}

    def write(self) -> None:
        """Write the results and the page."""
        rows = [
            {"section": case.section, "rule": case.rule, "sent": case.sent}
            | dict(zip(("came_back", "reached"), self._seen[case.name], strict=True))
            for case in self._cases
        ]
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
        if not RESULTS.exists() or RESULTS.read_text(encoding="utf-8") != text:
            RESULTS.write_text(text, encoding="utf-8")
        PAGE.write_text(page(rows), encoding="utf-8")


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The page for `rows`, the contents of `docs/generated/edge-rules.json`."""
    parts = [_PREFACE]
    for section, group in groupby(rows, key=lambda row: row["section"]):
        parts.append(f"\n## {section}\n\n| rule | sent | came back | reached |\n|---|---|---|---|\n")
        for row in group:
            cells = (row["rule"], f"`{row['sent']}`", row["came_back"], row["reached"])
            parts.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
