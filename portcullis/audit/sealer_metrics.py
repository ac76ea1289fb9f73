"""The Prometheus metrics of the sealer, served by a thread beside it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from oauth_core.process import audit_figures
from oauth_core.process.audit_figures import AuditFolder
from oauth_core.process.file_figures import FileFigures
from oauth_core.process.metrics import Family, labelled
from portcullis.programs import metrics_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from oauth_core.process.metrics import Figures
    from portcullis.audit.copies import CopyCounts
    from portcullis.audit.monitoring import MonitorCounts
    from portcullis.audit.sealer import Counts
    from portcullis.audit.timestamps import StampCounts

ENTRIES = Family("portcullis_sealer_entries_total", "counter", "Entries that were added to the tree.")
CHECKPOINTS = Family("portcullis_sealer_checkpoints_total", "counter", "Checkpoints that were signed.")
FAULTS = Family("portcullis_sealer_faults_total", "counter", "Damaged places of segments, sealed as faults.")
FAILURES = Family("portcullis_sealer_failures_total", "counter", "Steps that failed and are tried again.")
TREE = Family("portcullis_sealer_tree_entries", "gauge", "Entries of the tree.")
UNSEALED = Family("portcullis_sealer_unsealed_bytes", "gauge", "Bytes of segments that the tree does not have.")
STAMPS = Family("portcullis_sealer_timestamps_total", "counter", "Time stamps that were verified and kept.")
STAMP_FAILURES = Family(
    "portcullis_sealer_timestamp_failures_total", "counter", "Attempts to get a time stamp that failed."
)
STAMPED = Family(
    "portcullis_sealer_timestamp_newest_seconds", "gauge", "The time of the newest time stamp; 0 without one."
)
MONITORED = Family(
    "portcullis_sealer_monitor_checkpoints_total", "counter", "Checkpoints that a monitor took, by monitor."
)
MONITOR_FAILURES = Family(
    "portcullis_sealer_monitor_failures_total", "counter", "Attempts that a monitor did not take."
)
MONITOR_CONFLICTS = Family(
    "portcullis_sealer_monitor_conflicts_total", "counter", "Answers of a monitor that prove a rollback."
)
FAMILIES = (
    ENTRIES,
    CHECKPOINTS,
    FAULTS,
    FAILURES,
    TREE,
    UNSEALED,
    STAMPS,
    STAMP_FAILURES,
    STAMPED,
    MONITORED,
    MONITOR_FAILURES,
    MONITOR_CONFLICTS,
    audit_figures.CHECKPOINT_AGE,
    audit_figures.FREE,
    audit_figures.DISK,
)
_BY_NAME = {family.name: family for family in FAMILIES}


@contextmanager
def serving(address: str, audit_dir: Path, counts: Counts, copies: CopyCounts) -> Iterator[None]:
    """Answer `GET /metrics` at `address` inside the block. Raises `SettingsError` if it cannot listen there."""
    files = FileFigures(AuditFolder(audit_dir).figures)

    async def figures() -> Figures:
        return {
            ENTRIES.name: counts.entries,
            CHECKPOINTS.name: counts.checkpoints,
            FAULTS.name: counts.faults,
            FAILURES.name: counts.failures,
            TREE.name: counts.tree_entries,
            UNSEALED.name: counts.unsealed_bytes,
            **_of_stamps(copies.stamps),
            **_of_monitors(copies.monitors),
            **await files.read(),
        }

    with metrics_server.serving(address, "audit.metrics_listen", _BY_NAME, figures):
        yield


def _of_stamps(counts: StampCounts | None) -> Figures:
    if counts is None:
        return {}
    return {
        STAMPS.name: counts.stamps,
        STAMP_FAILURES.name: counts.failures,
        STAMPED.name: counts.stamped_at,
    }


def _of_monitors(monitors: Mapping[str, MonitorCounts]) -> Figures:
    found: Figures = {}
    for host, counts in monitors.items():
        values = (
            (MONITORED, counts.taken),
            (MONITOR_FAILURES, counts.failures),
            (MONITOR_CONFLICTS, counts.conflicts),
        )
        found |= {labelled(family.name, monitor=host): value for family, value in values}
    return found
