"""Limits on fetches of documents, by caller and by host.

Callers choose which URLs are fetched. Each limit here counts one caller, or URLs that never had a good document,
so that no caller can use up what another caller's client needs:

- fetches a minute by one caller's address, in total (a setting) and of new URLs at one host;
- fetches a minute from one host, of new URLs and, separately, of URLs that were good before;
- running fetches in this process, in total and by one caller, again separately for new and for known URLs.
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
"""Fetches a minute that one caller's address may cause, of URLs at one host that were never good."""
NEW_OF_ONE_HOST = 300
"""Fetches a minute from one host, of URLs that were never good, for all callers."""
KNOWN_OF_ONE_HOST = 60
"""Fetches a minute from one host, of URLs that were good before."""
_MINUTE = 60

AT_ONCE = 128
"""Running fetches of new URLs in one process; the same number applies to known ones."""
OF_ONE_CALLER = 4
"""Running fetches of one caller while at most half of the slots are taken; above that, one."""


class FetchLimitError(Exception):
    """A limit does not permit the fetch now. `wait` is in seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"try again in {wait} seconds")
        self.wait = wait


class FetchSlots:
    """Limits the fetches that run at once, in total and for each caller.

    A fetch without a free slot is refused and does not wait: a queue would grow behind an attacker's slow hosts.
    """

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def take(self, caller: str) -> bool:
        """Take a slot for `caller`; returns `False` when none is free for it."""
        taken = self._held.total()
        most = OF_ONE_CALLER if taken < AT_ONCE // 2 else 1
        if taken >= AT_ONCE or self._held[caller] >= most:
            return False
        self._held[caller] += 1
        return True

    def release(self, caller: str) -> None:
        """Free a slot."""
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]


class FetchBudgets:
    """Counts fetches of all processes together. `caller` is the address under which a caller is counted."""

    def __init__(
        self, store: DocumentStore, rates: RateLimitStore, audit: AuditRecorder, *, per_address: Rate
    ) -> None:
        self._store = store
        self._rates = rates
        self._audit = audit
        self._per_address = per_address
        self.new, self.known = FetchSlots(), FetchSlots()

    async def spend(self, caller: str, host: str, *, known: bool) -> None:
        """Count a fetch from `host`. Raises `FetchLimitError` and `StoreUnavailableError`."""
        limit = Limit.DOCUMENT_FETCHES_PER_ADDRESS
        if wait := await self._rates.take(limit, self._per_address, caller):
            self._refuse(limit, wait)
        if known:
            await self._count(f"known {host}", KNOWN_OF_ONE_HOST)
        else:
            # The caller's share first: its refused attempts must not count against the host.
            await self._count(f"new {host} {caller}", NEW_OF_ONE_CALLER)
            await self._count(f"new {host}", NEW_OF_ONE_HOST)

    def slots(self, *, known: bool) -> FetchSlots:
        """The slots for known URLs, which were good before, or for new ones."""
        return self.known if known else self.new

    async def _count(self, subject: str, most: int) -> None:
        if await self._store.count_fetch(subject) > most:
            self._refuse("documents of one host", _MINUTE)

    def _refuse(self, reason: str, wait: int) -> None:
        self._audit.record(OAuthReason.TOO_MANY_REQUESTS.event, reason=reason)
        raise FetchLimitError(wait)
