"""The table in `docs/availability.md`: what callers saw in the last run that was asked to record it.

`make availability` runs these tests and stores the results in `docs/generated/availability.json`; figures
differ from run to run, so an ordinary run changes neither. `python -m tests.system.availability.table` writes
the table again.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.system.availability.load import Account

_DOCS = ROOT / "docs"
PAGE = _DOCS / "availability.md"
RESULTS = _DOCS / "generated" / "availability.json"
WRITE = "WRITE_AVAILABILITY"
"""With this variable, a run of all these tests writes its results to the page."""

_BEGIN, _END = "<!-- begin figures -->\n", "<!-- end figures -->\n"

EVENTS = {
    "ext_authz": "one of two `ext_authz` killed",
    "frozen": "one of two `ext_authz` vanishes without closing a connection",
    "oauth_web": "one of two `oauth_web` killed",
    "envoy": "one of two Envoys killed",
    "sentinel": "Redis primary killed, Sentinel chooses another",
    "cluster-1": "the first of three primaries of a Redis Cluster killed",
    "cluster-2": "the second of them killed",
    "cluster-3": "the third of them killed",
    "rolling": "every `ext_authz`, `oauth_web` and Envoy replaced, one after the other",
}
"""The rows, and the text of each."""


class Record:
    """The results so far, event by event."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, Any]] = {}

    def saw(self, event: str, account: Account) -> None:
        """Record what callers saw during `event`."""
        assert event in EVENTS
        self._seen[event] = {
            "calls": account.kinds("call").total(),
            "calls_failed": dict(account.failed("call")),
            "calls_longest_gap": round(account.longest_gap("call"), 1),
            "sign_in": account.kinds("refresh").total() + account.kinds("discovery").total(),
            "sign_in_failed": dict(account.failed("refresh", "discovery")),
            "sign_in_longest_gap": round(account.longest_gap("refresh"), 1),
            "revoked": account.kinds("revoked").total(),
            "revoked_passed": account.kinds("revoked")["200"],
        }

    @property
    def is_to_be_kept(self) -> bool:
        """Whether every event happened, in a run that was asked to record."""
        return bool(os.environ.get(WRITE)) and self._seen.keys() == EVENTS.keys()

    def write(self) -> None:
        """Store the results, and update the page."""
        results = {event: self._seen[event] for event in EVENTS}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write_page(results)


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The table for `results`, the contents of `docs/generated/availability.json`."""
    heads = (
        "what happened",
        "calls: failed of all",
        "longest gap",
        "tokens and metadata: failed of all",
        "longest gap",
        "revoked tokens: passed of tried",
    )
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|---|---|"]
    for event, row in results.items():
        cells = (
            EVENTS[event],
            _share(row["calls_failed"], row["calls"]),
            f"{row['calls_longest_gap']} s",
            _share(row["sign_in_failed"], row["sign_in"]),
            f"{row['sign_in_longest_gap']} s",
            f"{row['revoked_passed']} of {row['revoked']}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """The table in `page`."""
    return page.partition(_BEGIN)[2].partition(_END)[0]


def write_page(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the table into its page."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    PAGE.write_text(f"{head}{_BEGIN}{table(results)}{_END}{rest.partition(_END)[2]}", encoding="utf-8")


def _share(failed: Mapping[str, int], of: int) -> str:
    kinds = ", ".join(f"{count} times {kind}" for kind, count in sorted(failed.items()))
    return f"{sum(failed.values())} of {of}" + (f" ({kinds})" if kinds else "")


if __name__ == "__main__":
    write_page(json.loads(RESULTS.read_text(encoding="utf-8")))
