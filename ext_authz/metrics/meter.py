"""Counts every answer of one worker, and the time it took to decide.

It runs in every check, so it only reads the clock twice and adds a few numbers; the rest is done for each report.
"""

from __future__ import annotations

from http import HTTPStatus
from time import perf_counter

from oauth_core.policy.deny_response import deny_response
from oauth_core.process.metrics import Figures, Timings, labelled
from oauth_core.refusals import DenyReason

ALLOWED = "allowed"
DENIED = "denied"
UNAVAILABLE = "unavailable"
"""Refused with 503 because no decision was possible."""

EDGES = (
    *(0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5),
    *(0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
"""Upper ends of the buckets, in seconds. A cached token takes ten microseconds, one that Redis is asked about a
thousand, and a deadline ends checks that take a second.
"""

_UNAVAILABLE_REASONS = frozenset(
    reason for reason in DenyReason if deny_response(reason, None).status == HTTPStatus.SERVICE_UNAVAILABLE
)


class Meter:
    """Belongs to one event loop. Times are those of `perf_counter`."""

    __slots__ = ("_allowed", "_denied", "_reasons", "_unavailable", "waited")

    def __init__(self) -> None:
        self.waited = 0
        """Checks that the caches alone could not answer."""
        self._allowed, self._denied, self._unavailable = Timings(EDGES), Timings(EDGES), Timings(EDGES)
        self._reasons: dict[DenyReason, int] = {}

    def allowed(self, begun: float) -> None:
        """Count an allowed request; the check began at `begun`."""
        self._allowed.add(perf_counter() - begun)

    def refused(self, reason: DenyReason, begun: float) -> None:
        """Count a refused request; the check began at `begun`."""
        seconds = perf_counter() - begun
        timings = self._unavailable if reason in _UNAVAILABLE_REASONS else self._denied
        timings.add(seconds)
        self._reasons[reason] = self._reasons.get(reason, 0) + 1

    def figures(self) -> Figures:
        """Return all counts, by their Prometheus names."""
        figures: Figures = {}
        total = 0
        outcomes = ((ALLOWED, self._allowed), (DENIED, self._denied), (UNAVAILABLE, self._unavailable))
        for outcome, timings in outcomes:
            figures |= timings.figures("portcullis_check_seconds", outcome=outcome)
            total += timings.total
        for reason, count in self._reasons.items():
            figures[labelled("portcullis_checks_refused_total", reason=reason)] = count
        figures["portcullis_cache_hits_total"] = max(0, total - self.waited)
        figures["portcullis_cache_misses_total"] = self.waited
        return figures


class Unmetered(Meter):
    """Counts no answers, for a service without metrics."""

    __slots__ = ()

    def allowed(self, begun: float) -> None:
        """Do nothing."""

    def refused(self, reason: DenyReason, begun: float) -> None:
        """Do nothing."""
