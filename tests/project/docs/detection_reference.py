"""Writes the table of detection rules into `docs/audit.md`, from the files of the rules.

`python -m tests.project.docs.detection_reference` writes it again; with `--check` it fails if it is outdated.
"""

from __future__ import annotations

import sys

from portcullis.detection.rules import load
from tests.support.project import ROOT

PAGE = ROOT / "docs" / "audit.md"
_HEAD = "| rule | level | fires on | expected false alarms |\n|---|---|---|---|\n"
_LEVELS = ("critical", "high", "medium", "low", "informational")


def table() -> str:
    """The table, the most severe rules first."""
    rows = []
    for rule in sorted(load(), key=lambda rule: (_LEVELS.index(rule.level), rule.name)):
        fires = f"{rule.title}: {rule.condition or 'one event'}"
        rows.append(f"| `{rule.name}` | {rule.level} | {fires} | {'; '.join(rule.false_positives)} |\n")
    return _HEAD + "".join(rows)


def fresh(page: str) -> str:
    """The page with the current table."""
    before, rest = page.split(_HEAD, 1)
    rows = rest.splitlines(keepends=True)
    kept = next(number for number, line in enumerate([*rows, "\n"]) if not line.startswith("|"))
    return before + table() + "".join(rows[kept:])


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if "--check" not in sys.argv:
        PAGE.write_text(fresh(page), encoding="utf-8")
    elif page != fresh(page):
        sys.exit("docs/audit.md is not fresh: python -m tests.project.docs.detection_reference")


if __name__ == "__main__":
    main()
