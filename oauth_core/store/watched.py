"""One document that a check process keeps a copy of: read over the tracking link, so that Redis tells of changes.

The theory is that of `oauth_core.store.view`. What was read counts until the bound has passed since the question
was sent, and for as long beyond that as Redis would have told of a change: the question went over the link, the
link is trusted, and nothing was told since.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from oauth_core.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oauth_core.store.link import Link

_NEVER = -float("inf")


class Watched:
    """The document at `key`. `LocalView` makes these and tells them what it hears."""

    def __init__(
        self,
        key: str,
        read_directly: Callable[[], Awaitable[str | bytes | None]],
        *,
        link: Callable[[], Link | None],
        is_trusted: Callable[[float], bool],
        deadline: float,
        bound: float,
        clock: Callable[[], float],
    ) -> None:
        """`read_directly` asks without a link; `link` is that of this moment, `is_trusted` whether it counts at a
        time, in seconds of `clock`.
        """
        self.key = key.encode()
        self.changed = asyncio.Event()
        """Set when the document may have changed; whoever reads it again clears it before."""
        self._key = key
        self._read_directly = read_directly
        self._link = link
        self._is_trusted = is_trusted
        self._deadline = deadline
        self._bound = bound
        self._clock = clock
        self._good_until = _NEVER
        self._tells = False
        self._news = 0

    @property
    def is_current(self) -> bool:
        """Whether what was read last may still be used."""
        now = self._clock()
        return now < self._good_until or (self._tells and self._is_trusted(now))

    def may_have_changed(self) -> None:
        """Redis tells of a change, or could not have told of one."""
        self._tells = False
        self._news += 1
        self.changed.set()

    async def read(self) -> str | bytes | None:
        """The document, or `None` when there is none.

        Raises `StoreUnavailableError`, and `ValueError` when what is there is not text.
        """
        link, news, sent_at = self._link(), self._news, self._clock()
        document = await (self._read_directly() if link is None else self._read_over(link))
        if link is not None and self._link() is not link:
            # It was lost, or its server is not the one that counts any more.
            raise StoreUnavailableError("the tracking link was lost")
        self._good_until = sent_at + self._bound
        self._tells = link is not None and news == self._news
        return document

    async def _read_over(self, link: Link) -> bytes | None:
        document: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def answered(value: object) -> None:
            if document.done():
                return
            if value is None or isinstance(value, bytes):
                document.set_result(value)
            else:
                document.set_exception(ValueError(f"{self._key} is no text, or may not be read"))

        def lost() -> None:
            if not document.done():
                document.set_exception(StoreUnavailableError("the tracking link was lost"))

        link.send("GET", self._key, on_answer=answered, on_lost=lost)
        try:
            async with asyncio.timeout(self._deadline):
                return await document
        except TimeoutError:
            raise StoreUnavailableError("Redis did not answer in time") from None
