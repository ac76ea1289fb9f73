"""The Prometheus metrics of the monitor, served by a thread beside it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from oauth_core.process.metrics import Family, Figures, labelled
from portcullis.programs import metrics_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portcullis.audit.checkpoint_monitor import Monitor

TAKEN = Family("portcullis_monitor_checkpoints_total", "counter", "Checkpoints that were taken, by node.")
CONFLICTS = Family(
    "portcullis_monitor_conflicts_total", "counter", "Signed checkpoints that contradict the kept one, by node."
)
REFUSED = Family("portcullis_monitor_refused_total", "counter", "Messages that no known key has signed.")
SIZE = Family("portcullis_monitor_tree_entries", "gauge", "Entries of the newest tree of a node.")
AGE = Family(
    "portcullis_monitor_age_seconds", "gauge", "Seconds since a node's newest checkpoint; +Inf without one.", max
)
FAMILIES = (TAKEN, CONFLICTS, REFUSED, SIZE, AGE)
_BY_NAME = {family.name: family for family in FAMILIES}


@contextmanager
def serving(address: str, monitor: Monitor) -> Iterator[None]:
    """Answer `GET /metrics` at `address` inside the block. Raises `SettingsError` if it cannot listen there."""

    async def figures() -> Figures:
        now = time.time()
        found: Figures = {REFUSED.name: monitor.refused}
        for node, counts in monitor.counts.items():
            age = now - counts.time if counts.time else float("inf")
            values = ((TAKEN, counts.taken), (CONFLICTS, counts.conflicts), (SIZE, counts.size), (AGE, age))
            found |= {labelled(family.name, node=node): value for family, value in values}
        return found

    with metrics_server.serving(address, "audit.monitor_metrics_listen", _BY_NAME, figures):
        yield
