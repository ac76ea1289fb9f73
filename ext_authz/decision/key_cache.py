"""The public keys of this process: read at intervals, and at once after a change or for an unknown key id.

If Redis does not answer, the last keys stay: they are as valid as before, and the status of every token is checked
in any case. If Redis has no key set, or an invalid one, there are no keys, and every check is refused as unknown
until there are. A set without the signature of the authorization server (`oauth_core.jose.jwk_set_signature`), or
older than one that was read before, counts as none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Never, Protocol

import structlog

from oauth_core.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oauth_core.jose.jwk_set_signature import KeySetVerifier
    from oauth_core.jose.signing_keys import VerifyingKeys

READ_EVERY = 1.0
"""Seconds between reads, so that a key that left the ring is trusted no longer than that."""

READ_AT_MOST_EVERY = 0.25
"""Seconds between a read and one that an unknown key id causes, so that invented ids do not flood Redis."""


class KeysSource(Protocol):
    """The source of the published JWK set."""

    async def read(self) -> str | bytes | None:
        """Return the JWK set as JSON, or `None`.

        Raises `StoreUnavailableError`, or `ValueError` if it is not text.
        """


class KeyCache:
    """The keys of the last read, and whether that read got an answer."""

    def __init__(
        self,
        source: KeysSource,
        verifier: KeySetVerifier,
        *,
        changed: asyncio.Event | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`verifier` opens the documents of `source`. When `changed` is set, the keys are read at once."""
        self.current: VerifyingKeys | None = None
        self._source = source
        self._verifier = verifier
        self._newest_version = 0
        self._changed = changed or asyncio.Event()
        self._monotonic = monotonic
        self._answered = False
        self._document: str | bytes | None = None
        self._read_at = -float("inf")
        self._one_at_a_time = asyncio.Lock()
        self._next_read: asyncio.Task[None] | None = None
        # Kept, because the event loop could otherwise drop the task.
        self._this_read: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("keys")

    @property
    def is_fresh(self) -> bool:
        """Whether there are keys and the last read confirmed them: only then can this process decide."""
        return self._answered and self.current is not None

    async def read(self) -> None:
        """Read the keys now."""
        async with self._one_at_a_time:
            await self._read()

    async def read_for_unknown_key(self) -> None:
        """Return after a read that began later than this call, so that a key it did not find does not exist.

        Callers share reads, and reads have a minimum distance. So some callers wait for a fraction of a second;
        otherwise the garbage of one caller would cause the refusal of a valid token with a new key.
        """
        if self._next_read is None:
            self._next_read = asyncio.create_task(self._read_when_due())
        # Shielded: a caller that gives up must not cancel the read of the others.
        await asyncio.shield(self._next_read)

    async def watch(self, report: Callable[[bool], Awaitable[None]]) -> Never:
        """Read for ever, and call `report` after each read with whether the keys are fresh."""
        while True:
            self._changed.clear()  # before the read: a change during it causes another read
            await self.read()
            await report(self.is_fresh)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READ_EVERY if self.is_fresh else READ_AT_MOST_EVERY):
                    await self._changed.wait()

    async def _read_when_due(self) -> None:
        await asyncio.sleep(self._read_at + READ_AT_MOST_EVERY - self._monotonic())
        # A later caller may need a key that this read is too early to find.
        self._this_read, self._next_read = self._next_read, None
        await self.read()

    async def _read(self) -> None:
        was_fresh = self.is_fresh
        try:
            document = await self._source.read()
            if self.current is None or document != self._document:
                self.current = None if document is None else self._open_signed(document)
                self._document = document
            self._answered = True
        except StoreUnavailableError:
            self._answered = False
        except Exception as error:  # noqa: BLE001 - a key set can be broken in many ways, and each means: no keys
            # The type only: the message may repeat the value, which can be anything.
            self._log.error("keys.unusable", error=type(error).__name__)
            self._answered = True
            self.current = None
        finally:
            self._read_at = self._monotonic()
        if self.is_fresh != was_fresh:
            self._log.log(*self._freshness_event())

    def _open_signed(self, document: str | bytes) -> VerifyingKeys:
        published = self._verifier.open(document)
        if published.version < self._newest_version:
            # An attacker who may write to Redis could otherwise bring back a key that leaked and was retired.
            raise ValueError("an older key set than the last one")
        self._newest_version = published.version
        return published.keys

    def _freshness_event(self) -> tuple[int, str]:
        if self.is_fresh:
            return logging.INFO, "keys.fresh"
        return logging.WARNING, "keys.missing" if self._answered else "keys.unreachable"
