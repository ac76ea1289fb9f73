"""The Prometheus metrics of alerts: findings, alerts and attempts, what waits, and when the rules looked last."""

from __future__ import annotations

import re
import threading
from collections import Counter
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from oauth_core.process.file_figures import FileFigures
from oauth_core.process.metrics import Family, Figures, labelled
from portcullis.alerts.outbox import Outbox, OutboxError
from portcullis.programs import metrics_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

FINDINGS = Family("portcullis_alert_findings_total", "counter", "New findings of the rules, by rule.")
MADE = Family("portcullis_alerts_made_total", "counter", "Alerts that were made of findings, by rule.")
SENT = Family("portcullis_alerts_sent_total", "counter", "Alerts that a destination took.")
FAILED = Family("portcullis_alert_attempts_failed_total", "counter", "Attempts that a destination did not take.")
GIVEN_UP = Family("portcullis_alerts_given_up_total", "counter", "Alerts that were given up for a destination.")
WAITING = Family("portcullis_alerts_waiting", "gauge", "Alerts that wait for a destination.")
OLDEST = Family("portcullis_alerts_oldest_waiting_seconds", "gauge", "The age of the oldest alert that waits.")
LOOKED = Family("portcullis_alerts_last_look_timestamp_seconds", "gauge", "When the rules looked last.")
BLIND = Family("portcullis_alerts_look_incomplete", "gauge", "1 while the rules do not see everything.")
FAMILIES = (FINDINGS, MADE, SENT, FAILED, GIVEN_UP, WAITING, OLDEST, LOOKED, BLIND)
_BY_NAME = {family.name: family for family in FAMILIES}

_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9_.-]")


class Counts:
    """The figures of one run of the program, by rule and by destination. Several threads count."""

    def __init__(self, rules: Iterable[str], destinations: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._figures: Counter[str] = Counter()
        # A series that begins with its first event has no increase that an alert rule could see.
        for family in (FINDINGS, MADE):
            self._figures.update({_by_rule(family, rule): 0 for rule in rules})
        for family in (SENT, FAILED, GIVEN_UP):
            self._figures.update({_at(family, name): 0 for name in destinations})

    def found(self, rule: str, *, is_alert: bool) -> None:
        """Count a new finding."""
        with self._lock:
            self._figures[_by_rule(FINDINGS, rule)] += 1
            self._figures[_by_rule(MADE, rule)] += is_alert

    def sent(self, destination: str) -> None:
        """Count an alert that was taken."""
        with self._lock:
            self._figures[_at(SENT, destination)] += 1

    def failed(self, destination: str, *, is_given_up: bool) -> None:
        """Count an attempt that failed."""
        with self._lock:
            self._figures[_at(FAILED, destination)] += 1
            self._figures[_at(GIVEN_UP, destination)] += is_given_up

    def figures(self) -> Figures:
        """Return all of them."""
        with self._lock:
            return dict(self._figures)


@contextmanager
def serving(
    address: str, path: Path, destinations: Iterable[str], counts: Counts, now: Callable[[], float]
) -> Iterator[None]:
    """Answer `GET /metrics` at `address` inside the block. Raises `SettingsError` if it cannot listen there."""
    names = tuple(destinations)
    of_outbox = FileFigures(lambda: _of_outbox(path, names, now()))

    async def figures() -> Figures:
        return {**counts.figures(), **await of_outbox.read()}

    with metrics_server.serving(address, "alerts.metrics_listen", _BY_NAME, figures):
        yield


def _of_outbox(path: Path, destinations: tuple[str, ...], now: float) -> Figures:
    """The figures of the outbox, or none while it cannot be used."""
    try:
        with closing(Outbox(path)) as outbox:
            waiting = outbox.waiting()
            looked, fault = outbox.last_look()
    except OutboxError:
        return {}
    found: Figures = {BLIND.name: float(fault is not None)}
    if looked is not None:
        found[LOOKED.name] = datetime.fromisoformat(looked).timestamp()
    for name in destinations:
        count, oldest = waiting.get(name, (0, now))
        found[_at(WAITING, name)] = count
        found[_at(OLDEST, name)] = max(0.0, now - oldest)
    return found


def _at(family: Family, destination: str) -> str:
    return labelled(family.name, destination=destination)


def _by_rule(family: Family, rule: str) -> str:
    # The name of an operator's rule is that of its file, which may have any character.
    return labelled(family.name, rule=_NOT_IN_LABELS.sub("_", rule))
