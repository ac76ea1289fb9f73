"""The cache of client documents: fresh as long as the publisher allows; the last good copy when a fetch fails.

Many requests for one document share one fetch. A failed fetch is remembered for some seconds, which spares the
host. A fetch that a limit refused is not remembered: the limit concerns the caller, not the document.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import urlsplit

import structlog

from oauth_core.errors import StoreUnavailableError
from oauth_core.limits.quotas import NoRoomError, Stored
from oauth_core.store.records.client_documents import Copy, Failure
from oauth_web.client_documents.budgets import FetchLimitError
from oauth_web.client_documents.fetch import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from oauth_core.store.records.client_documents import DocumentStore
    from oauth_core.store.records.quotas import QuotaStore
    from oauth_web.client_documents.budgets import FetchBudgets
    from oauth_web.client_documents.fetch import GuardedFetcher

T = TypeVar("T")

_FAILURE_BACKOFF_SECONDS = 10
_SLOT_SECONDS = 3
"""Seconds after which a slot is free at the latest: no fetch takes longer."""
_log = structlog.get_logger("client_documents")


class DocumentUnavailableError(Exception):
    """The document could not be fetched, and there is no earlier copy."""


class DocumentRefusedError(Exception):
    """The fetched document is not acceptable, and there is no earlier copy. The message may be shown to anyone."""


class _FetchedBody(NamedTuple):
    """A fetched document, and the seconds for which it is fresh."""

    body: str
    fresh_for: int


@dataclass(eq=False)
class _Fetch:
    """A fetch and the callers that share it. Each tries under `lock` to store the result, until one succeeds."""

    task: asyncio.Task[_FetchedBody]
    sharers: int = 0
    is_kept: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class DocumentCache:
    """The cache. `clock` returns whole seconds since the epoch; a copy over `max_age` seconds old is not used."""

    def __init__(
        self,
        fetcher: GuardedFetcher,
        store: DocumentStore,
        budgets: FetchBudgets,
        quotas: QuotaStore,
        *,
        clock: Callable[[], int],
        max_age: int,
    ) -> None:
        self.store = store
        self._budgets = budgets
        self._quotas = quotas
        self._max_age = max_age
        self._fetcher = fetcher
        self._clock = clock
        self._running: dict[str, _Fetch] = {}
        self._stored = 0

    async def read(
        self, name: str, url: str, parse: Callable[[bytes], T], *, caller: str, newer_than: int = -1
    ) -> T:
        """The result of `parse` for the document at `url`, stored under `name`; the fetch counts for `caller`.

        `parse` raises `ValueError`, with a message for anyone, to refuse a document. A copy that was fetched up to
        the second `newer_than` counts as stale. Raises `DocumentUnavailableError`, `DocumentRefusedError`,
        `FetchLimitError`, and `DisplayedError` when there is no room for a new document.
        """
        stored = self._stored
        copy = await self.store.get(name)
        kept = _parsed(copy, parse)
        if copy is None or kept is None:
            body = await self._fetched_once(name, url, parse, caller, (stored, newer_than), known=False)
            return parse(body.encode())
        if self._is_fresh(copy, newer_than):
            return kept
        try:
            body = await self._fetched_once(name, url, parse, caller, (stored, newer_than), known=True)
            return parse(body.encode())
        except (
            DocumentUnavailableError,
            DocumentRefusedError,
            FetchLimitError,
            # A full Redis counts no fetch and stores no copy. The client must still be able to revoke a token.
            StoreUnavailableError,
            NoRoomError,
        ):
            # An attacker who blocks the publisher must not keep a withdrawn key valid forever.
            if self._clock() > copy.fetched_at + self._max_age:
                raise
            return kept

    async def keep_in_use(self, name: str) -> None:
        """Keep the copy under `name` until it is too old to be used, because a client that is in use needs it."""
        await self.store.keep_for(name, self._max_age)

    async def aclose(self) -> None:
        """Cancel the running fetches."""
        tasks = [fetch.task for fetch in self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _is_fresh(self, copy: Copy, newer_than: int) -> bool:
        return self._clock() < copy.fresh_until and copy.fetched_at > newer_than

    async def _fetched_once(
        self,
        name: str,
        url: str,
        parse: Callable[[bytes], object],
        caller: str,
        looked: tuple[int, int],
        *,
        known: bool,
    ) -> str:
        """The document, by a fetch that all callers share.

        `looked` is the count of stored documents when this caller looked for a copy, and its `newer_than`.
        """
        if name not in self._running:
            if (failure := await self.store.failure(name)) is not None:
                raise _error(failure)
            await self._budgets.spend(caller, urlsplit(url).netloc, known=known)
        stored, newer_than = looked
        while name not in self._running and self._stored != stored:
            # A fetch may have ended since this caller looked for a copy.
            stored = self._stored
            copy = await self.store.get(name)
            if copy is not None and self._is_fresh(copy, newer_than):
                return copy.body
        fetch = self._running.get(name) or self._begun(name, url, parse, caller, known=known)
        fetch.sharers += 1
        try:
            # The first caller may disconnect; the others still wait for the answer.
            fetched = await asyncio.shield(fetch.task)
            # The callers that share a fetch try one after the other to reserve room. If the first has used up its
            # quota, only that caller is refused.
            async with fetch.lock:
                if not fetch.is_kept:
                    await self._store(name, fetched, caller, known=known)
                    fetch.is_kept = True
                    self._stored += 1
            return fetched.body
        finally:
            fetch.sharers -= 1
            self._drop_if_over(name, fetch)

    def _begun(self, name: str, url: str, parse: Callable[[bytes], object], caller: str, *, known: bool) -> _Fetch:
        slots = self._budgets.slots(known=known)
        if not slots.take(caller):
            raise FetchLimitError(_SLOT_SECONDS)
        task = asyncio.create_task(self._fetch(name, url, parse))
        fetch = self._running[name] = _Fetch(task)
        task.add_done_callback(lambda _: slots.release(caller))
        task.add_done_callback(lambda _: self._drop_if_over(name, fetch))
        return fetch

    def _drop_if_over(self, name: str, fetch: _Fetch) -> None:
        """Drop a finished fetch. Later callers share it until its result is stored, instead of fetching again."""
        task = fetch.task
        if not task.done() or self._running.get(name) is not fetch:
            return
        # This retrieves the exception even when all callers have disconnected.
        if task.cancelled() or task.exception() is not None or fetch.is_kept or not fetch.sharers:
            del self._running[name]

    async def _fetch(self, name: str, url: str, parse: Callable[[bytes], object]) -> _FetchedBody:
        """Fetch the document and check it with `parse`."""
        try:
            fetched = await self._fetcher.fetch(url)
        except FetchError as error:
            raise await self._failed(name, url, Failure("unavailable", str(error))) from None
        try:
            parse(fetched.body)
        except ValueError as error:
            raise await self._failed(name, url, Failure("refused", str(error))) from None
        _log.info("document fetched", url=url, fresh_for=fetched.fresh_for)
        return _FetchedBody(fetched.body.decode(), fetched.fresh_for)  # it is UTF-8: otherwise `parse` had failed

    async def _store(self, name: str, fetched: _FetchedBody, caller: str, *, known: bool) -> None:
        """Store the fetched document. A new document needs room in Redis, which counts for `caller`."""
        if not known:
            size = len(fetched.body.encode())
            await self._quotas.take(Stored.CLIENT_DOCUMENTS, size, lifetime=self.store.lifetime, caller=caller)
        now = self._clock()
        await self.store.store(name, Copy(fetched.body, now, now + fetched.fresh_for))

    async def _failed(self, name: str, url: str, failure: Failure) -> Exception:
        _log.warning("no document", url=url, kind=failure.kind, reason=failure.reason)
        await self.store.record_failure(name, failure, _FAILURE_BACKOFF_SECONDS)
        return _error(failure)


def _error(failure: Failure) -> DocumentUnavailableError | DocumentRefusedError:
    kind = DocumentUnavailableError if failure.kind == "unavailable" else DocumentRefusedError
    return kind(failure.reason)


def _parsed(copy: Copy | None, parse: Callable[[bytes], T]) -> T | None:
    """Parse a cached copy. Returns `None` if there is no copy, or if `parse` rejects it now."""
    try:
        return None if copy is None else parse(copy.body.encode())
    except ValueError:
        return None
