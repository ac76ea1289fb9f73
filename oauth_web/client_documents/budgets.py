"""How much fetching of documents a caller may cause, and how much a host is asked.

Strangers choose which URLs are fetched. Each limit here counts one caller, or URLs that have never been seen good,
so that no caller can use up what another caller's client needs:

- fetches a minute of one caller's address, in all (a setting) and of new URLs at one host;
- fetches a minute from one host, of new URLs and, apart from them, of URLs that were good before;
- fetches under way in this process, in all and of one caller, again apart for new and for known URLs.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from oauth_core.limits.rate_limits import Limit
from oauth_core.refusals import OAuthReason

if TYPE_CHECKING:
    from oauth_core.audit import AuditRecorder
    from oauth_core.limits.rate_limits import Rate
    from oauth_core.store.records.client_documents import DocumentStore
    from oauth_core.store.records.rate_limits import RateLimitStore

NEW_OF_ONE_CALLER = 10
"""URLs never seen good, of one host, that one caller's address may have fetched in a minute."""
NEW_OF_ONE_HOST = 300
"""URLs never seen good that are fetched from one host in a minute, whoever asks."""
KNOWN_OF_ONE_HOST = 60
"""URLs that were good before, fetched again from one host in a minute."""
_MINUTE = 60

AT_ONCE = 128
"""Fetches under way in one process, of new URLs; and as many of known ones."""
OF_ONE_CALLER = 4
"""... of one caller, while no more than half of the slots are taken; then one."""


class DocumentHeldBackError(Exception):
    """The document is not fetched now, because of a limit. `wait` is seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"try again in {wait} seconds")
        self.wait = wait


class FetchSlots:
    """The fetches under way. There is no queue: behind strangers' slow hosts it would only grow."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def take(self, caller: str) -> bool:
        """Take a slot for `caller`; `False` when there is none for it."""
        taken = self._held.total()
        most = OF_ONE_CALLER if taken < AT_ONCE // 2 else 1
        if taken >= AT_ONCE or self._held[caller] >= most:
            return False
        self._held[caller] += 1
        return True

    def release(self, caller: str) -> None:
        """Give a slot back."""
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]


class FetchBudgets:
    """Counts fetches, in all processes together. `caller` is the address by which a caller is counted."""

    def __init__(
        self, store: DocumentStore, rates: RateLimitStore, audit: AuditRecorder, *, per_address: Rate
    ) -> None:
        self._store = store
        self._rates = rates
        self._audit = audit
        self._per_address = per_address
        self.new, self.known = FetchSlots(), FetchSlots()

    async def spend(self, caller: str, host: str, *, known: bool) -> None:
        """Count a fetch from `host`. Raises `DocumentHeldBackError` and `StoreUnavailableError`."""
        limit = Limit.DOCUMENT_FETCHES_PER_ADDRESS
        if wait := await self._rates.take(limit, self._per_address, caller):
            self._refuse(limit, wait)
        if known:
            await self._count(f"known {host}", KNOWN_OF_ONE_HOST)
        else:
            # The caller's share first, so that what it asks for in vain is not counted against the host.
            await self._count(f"new {host} {caller}", NEW_OF_ONE_CALLER)
            await self._count(f"new {host}", NEW_OF_ONE_HOST)

    def slots(self, *, known: bool) -> FetchSlots:
        """The slots for URLs that were good before, or for new ones."""
        return self.known if known else self.new

    async def _count(self, subject: str, most: int) -> None:
        if await self._store.count_fetch(subject) > most:
            self._refuse("documents of one host", _MINUTE)

    def _refuse(self, reason: str, wait: int) -> None:
        self._audit.record(OAuthReason.TOO_MANY_REQUESTS.event, reason=reason)
        raise DocumentHeldBackError(wait)
