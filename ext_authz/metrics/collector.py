"""The parent's side: the latest figures of every worker, and the counters of ended workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ext_authz.metrics.families import BY_NAME, joined, lasting
from oauth_core.process.metrics import Figures, exposition

if TYPE_CHECKING:
    import asyncio

    from oauth_core.process.file_figures import FileFigures

PER_WORKER = "/metrics"
SUMMED = "/metrics/sum"


class Reporter(Protocol):
    """A worker that reports its figures repeatedly, until it has ended."""

    figures: Figures
    ended: asyncio.Task[int]


class Collector:
    """Collects figures. Counters never decrease when a worker is replaced: the successor continues them."""

    def __init__(self, files: FileFigures) -> None:
        """`files` has the figures that do not belong to a worker."""
        self._files = files
        self._present: dict[int, list[Reporter]] = {}
        self._past: dict[int, Figures] = {}

    def add(self, number: int, worker: Reporter) -> None:
        """Add `worker`, which is ready, to those with this number, until it ends."""
        self._present.setdefault(number, []).append(worker)
        start: Figures = {"portcullis_worker_starts_total": 1}
        self._past[number] = joined((self._past.get(number, {}), start))
        worker.ended.add_done_callback(lambda _: self._retire(number, worker))

    async def page(self, path: str) -> str | None:
        """Return the page at `path`; `None` when there is none."""
        if path not in {PER_WORKER, SUMMED}:
            return None
        files = await self._files.read()
        if path == PER_WORKER:
            workers = {str(number): self._of(number) for number in sorted(self._past)}
            return exposition(BY_NAME, {**workers, "": files})
        return exposition(BY_NAME, {"": {**joined(map(self._of, self._past)), **files}})

    def _of(self, number: int) -> Figures:
        present = self._present.get(number, [])
        up: Figures = {"portcullis_worker_up": sum(1 for worker in present if worker.figures)}
        return joined((self._past.get(number, {}), up, *(worker.figures for worker in present)))

    def _retire(self, number: int, worker: Reporter) -> None:
        self._present[number].remove(worker)
        self._past[number] = joined((self._past[number], lasting(worker.figures)))
