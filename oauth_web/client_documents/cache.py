"""Documents of clients, remembered: fresh as long as they say, and the last good copy when there is no newer one.

Many requests for one document share one fetch. A failure is not remembered as an answer, but for some seconds it
spares the host, so that nobody can make us hammer somebody.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import structlog

from oauth_core.store.documents import Copy, Failure
from oauth_web.client_documents.fetch import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from oauth_core.store.documents import DocumentStore
    from oauth_web.client_documents.fetch import GuardedFetcher

T = TypeVar("T")

_REST_SECONDS = 10
_MOST_FETCHES = 60
"""From one host, in a minute: many clients may live there, but thousands of made-up URLs do not."""
_log = structlog.get_logger("client_documents")


class DocumentUnavailableError(Exception):
    """The document could not be had, and there is no earlier copy."""


class DocumentRefusedError(Exception):
    """What came is not what it should be, and there is no earlier copy. The message is fit for anybody."""


class DocumentCache:
    """`clock` answers whole seconds since the epoch; a copy older than `max_age` seconds is as good as none."""

    def __init__(
        self, fetcher: GuardedFetcher, store: DocumentStore, *, clock: Callable[[], int], max_age: int
    ) -> None:
        self.store = store
        self._max_age = max_age
        self._fetcher = fetcher
        self._clock = clock
        self._under_way: dict[str, asyncio.Task[str]] = {}

    async def read(self, name: str, url: str, parse: Callable[[bytes], T], *, newer_than: int = -1) -> T:
        """What `parse` makes of the document at `url`, kept under `name`.

        `parse` raises `ValueError`, in words for anybody, to refuse a document. A copy that was fetched up to the
        second `newer_than` counts as stale. Raises `DocumentUnavailableError` and `DocumentRefusedError`.
        """
        copy = await self.store.get(name)
        kept = _parsed(copy, parse)
        if copy is not None and kept is not None:
            if self._clock() < copy.fresh_until and copy.fetched_at > newer_than:
                return kept
            try:
                return parse((await self._fetched_once(name, url, parse)).encode())
            except (DocumentUnavailableError, DocumentRefusedError):
                # Whoever can keep us from its publisher must not make a key that was withdrawn last for ever.
                if self._clock() > copy.fetched_at + self._max_age:
                    raise
                return kept
        return parse((await self._fetched_once(name, url, parse)).encode())

    async def aclose(self) -> None:
        """End the fetches under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._fetcher.close()

    async def _fetched_once(self, name: str, url: str, parse: Callable[[bytes], object]) -> str:
        task = self._under_way.get(name)
        if task is None:
            task = asyncio.create_task(self._fetch(name, url, parse))
            self._under_way[name] = task
            task.add_done_callback(lambda done: self._finished(name, done))
        # Whoever asked first may go away; the others still wait for the answer.
        return await asyncio.shield(task)

    def _finished(self, name: str, task: asyncio.Task[str]) -> None:
        del self._under_way[name]
        if not task.cancelled():
            task.exception()  # seen, even when nobody waits any more

    async def _fetch(self, name: str, url: str, parse: Callable[[bytes], object]) -> str:
        """Fetch, look whether it is any good, and keep it."""
        if (failure := await self.store.failure(name)) is not None:
            raise _error(failure)
        host = urlsplit(url).netloc
        try:
            if await self.store.count_fetch(host) > _MOST_FETCHES:
                raise FetchError("its host was asked too often in this minute")
            fetched = await self._fetcher.fetch(url)
        except FetchError as error:
            raise await self._failed(name, url, Failure("unavailable", str(error))) from None
        try:
            parse(fetched.body)
        except ValueError as error:
            raise await self._failed(name, url, Failure("refused", str(error))) from None
        now = self._clock()
        body = fetched.body.decode()  # UTF-8, or it would not have been parsed
        await self.store.keep(name, Copy(body, now, now + fetched.fresh_for))
        _log.info("document fetched", url=url, fresh_for=fetched.fresh_for)
        return body

    async def _failed(self, name: str, url: str, failure: Failure) -> Exception:
        _log.warning("no document", url=url, kind=failure.kind, reason=failure.reason)
        await self.store.note_failure(name, failure, _REST_SECONDS)
        return _error(failure)


def _error(failure: Failure) -> DocumentUnavailableError | DocumentRefusedError:
    kind = DocumentUnavailableError if failure.kind == "unavailable" else DocumentRefusedError
    return kind(failure.reason)


def _parsed(copy: Copy | None, parse: Callable[[bytes], T]) -> T | None:
    """The copy's meaning; `None` for one that today's rules refuse, as if there were none."""
    try:
        return None if copy is None else parse(copy.body.encode())
    except ValueError:
        return None
