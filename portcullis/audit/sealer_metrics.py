"""The Prometheus metrics of the sealer, served by a thread beside it."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ext_authz.metrics import page
from ext_authz.net.listen_addresses import ListenError
from oauth_core.errors import SettingsError
from oauth_core.net.listen_addresses import check_metrics_listen
from oauth_core.process import audit_figures
from oauth_core.process.audit_figures import AuditFolder
from oauth_core.process.file_figures import FileFigures
from oauth_core.process.metrics import Family, exposition

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portcullis.audit.sealer import Counts

PATH = "/metrics"

ENTRIES = Family("portcullis_sealer_entries_total", "counter", "Entries that were added to the tree.")
CHECKPOINTS = Family("portcullis_sealer_checkpoints_total", "counter", "Checkpoints that were signed.")
FAULTS = Family("portcullis_sealer_faults_total", "counter", "Damaged places of segments, sealed as faults.")
FAILURES = Family("portcullis_sealer_failures_total", "counter", "Steps that failed and are tried again.")
TREE = Family("portcullis_sealer_tree_entries", "gauge", "Entries of the tree.")
UNSEALED = Family("portcullis_sealer_unsealed_bytes", "gauge", "Bytes of segments that the tree does not have.")
FAMILIES = (
    ENTRIES,
    CHECKPOINTS,
    FAULTS,
    FAILURES,
    TREE,
    UNSEALED,
    audit_figures.CHECKPOINT_AGE,
    audit_figures.FREE,
    audit_figures.DISK,
)
_BY_NAME = {family.name: family for family in FAMILIES}


@contextmanager
def serving(address: str, audit_dir: Path, counts: Counts) -> Iterator[None]:
    """Answer `GET /metrics` at `address` inside the block. Raises `SettingsError` if it cannot listen there."""
    try:
        check_metrics_listen(address)
    except ValueError as error:
        raise SettingsError([f"audit.metrics_listen: {error}"]) from None
    files = FileFigures(AuditFolder(audit_dir).figures)

    async def answer(path: str) -> str | None:
        if path != PATH:
            return None
        figures = {
            ENTRIES.name: counts.entries,
            CHECKPOINTS.name: counts.checkpoints,
            FAULTS.name: counts.faults,
            FAILURES.name: counts.failures,
            TREE.name: counts.tree_entries,
            UNSEALED.name: counts.unsealed_bytes,
        }
        return exposition(_BY_NAME, {"": {**figures, **await files.read()}})

    listening: Future[None] = Future()
    loop, stopping = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        try:
            async with page.serving(address, answer):
                listening.set_result(None)
                await stopping.wait()
        except Exception as error:
            if listening.done():
                raise
            listening.set_exception(error)

    os.umask(0o077)  # only this user may use a Unix socket
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="metrics", daemon=True)
    thread.start()
    try:
        listening.result()
    except ListenError as error:
        raise SettingsError([f"audit.metrics_listen: {error}"]) from None
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()
