"""Mails that wait for the mail server: an encrypted record for each, and a set by the time of the next attempt.

They survive restarts of every program. A mail is removed after the server took it, so it is sent at least once.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from oauth_core.crypto.credentials import new_identifier
from oauth_core.flows.mail_notices import (
    MAIL_LIFETIME,
    PENDING_LIFETIME,
    QueuedMail,
    is_mailed,
    limited_as,
    mail_kind_of,
)
from oauth_core.limits.rate_limits import Limit
from oauth_core.store import keyspace
from oauth_core.store.codec import SealedCodec
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey
    from oauth_core.flows.notices import Notice
    from oauth_core.limits.rate_limits import Rate
    from oauth_core.store.records.contacts import ContactStore
    from oauth_core.store.records.rate_limits import RateLimitStore

MOST_WAITING = 10_000
"""Mails that wait at most, for all people. Beyond it no new one is added."""

_UNREADABLE_WAIT = 3600

_MAIL = SealedCodec(QueuedMail)


class MailResult(StrEnum):
    """The result of an attempt to send a mail, or of a mail for which there was none."""

    SENT = "sent"
    """The mail server took it."""
    FAILED = "failed"
    """The attempt failed, and is repeated."""
    REFUSED = "refused"
    """The mail server refused it for good, or it could not be made."""
    GIVEN_UP = "given_up"
    """No server took it within its lifetime."""


class MailQueue:
    """Stores mails that wait. Every method raises `StoreUnavailableError`. `rate_of` has the limits."""

    def __init__(
        self,
        redis: Redis,
        key: RecordKey,
        contacts: ContactStore,
        rates: RateLimitStore,
        rate_of: Callable[[Limit], Rate],
    ) -> None:
        self._redis = redis
        self._key = key
        self._contacts = contacts
        self._rates = rates
        self._rate_of = rate_of
        self.counts: Counter[MailResult] = Counter()
        """The results in this process."""

    async def add_notice(self, github_id: int, notice: Notice, count: int) -> bool:
        """Add a mail about a notice, if the person wants it and had not too many. Returns whether it was added."""
        if not is_mailed(notice, count):
            return False
        contact = await self._contacts.get(github_id)
        if contact is None or mail_kind_of(notice.kind) not in contact.kinds:
            return False
        # The app's name and the operator's reason are on the account page only.
        shown = replace(notice, client_id=None, client_name=None, grant_id=None, reason=None)
        if await self._is_over(Limit.MAILS_PER_USER_A_DAY, str(github_id)):
            return False
        return await self._add(QueuedMail(github_id, notice.at, notice=shown))

    async def add_confirmation(self, github_id: int, address: str, token: str, *, now: int) -> bool:
        """Add a mail with the link that confirms `address`. Returns whether it was added.

        A person causes few of these in a day, and an address gets few of them from all people together: this is no
        way to flood another mailbox. They leave half of the queue to notices.
        """
        if await self._is_over(Limit.MAIL_CONFIRMATIONS_PER_USER_A_DAY, str(github_id)):
            return False
        if await self._is_over(Limit.MAIL_CONFIRMATIONS_PER_ADDRESS_A_DAY, limited_as(address)):
            return False
        return await self._add(QueuedMail(github_id, now, address=address, token=token), most=MOST_WAITING // 2)

    async def add_farewell(self, github_id: int, address: str, *, now: int) -> bool:
        """Add a mail that `address` gets no mails any more, or fewer. Returns whether it was added.

        A thief of a session who ends the mails must not do so unseen. No other mails count for the limit of these,
        so the address got some of them before the limit is reached.
        """
        if await self._is_over(Limit.MAIL_CONFIRMATIONS_PER_ADDRESS_A_DAY, f"farewell {limited_as(address)}"):
            return False
        return await self._add(QueuedMail(github_id, now, address=address))

    async def due(self, now: int, most: int) -> list[tuple[str, QueuedMail]]:
        """Return mails whose next attempt is due, with their ids, the oldest first.

        A mail that another version of this program wrote waits for an hour: it must not hold the others.
        """
        async with guarded():
            ids = await self._redis.zrangebyscore(keyspace.MAILS, "-inf", now, start=0, num=most)
        found: list[tuple[str, QueuedMail]] = []
        for mail_id in map(str, ids):
            try:
                mail = await self._load(mail_id)
            except ValueError:
                async with guarded():
                    await self._redis.zadd(keyspace.MAILS, {mail_id: now + _UNREADABLE_WAIT}, xx=True)
                continue
            if mail is None:  # its time is up
                self.counts[MailResult.GIVEN_UP] += 1
                await self.remove(mail_id)
            else:
                found.append((mail_id, mail))
        return found

    async def retry(self, mail_id: str, mail: QueuedMail, *, at: int) -> None:
        """Let the mail wait until `at` after a failed attempt."""
        redis_key = keyspace.mail(mail_id)
        text = _MAIL.dump(replace(mail, attempts=mail.attempts + 1), self._key, redis_key)
        async with guarded():
            await self._redis.set(redis_key, text, xx=True, keepttl=True)
            await self._redis.zadd(keyspace.MAILS, {mail_id: at}, xx=True)

    async def remove(self, mail_id: str) -> None:
        """Remove a mail: it was sent, or is not sent any more."""
        async with guarded():
            await self._redis.delete(keyspace.mail(mail_id))
            await self._redis.zrem(keyspace.MAILS, mail_id)

    async def waiting(self) -> int:
        """Return how many mails wait."""
        async with guarded():
            return int(await self._redis.zcard(keyspace.MAILS))

    async def oldest(self) -> int | None:
        """Return the second at which the oldest mail that waits was added; `None` without one."""
        async with guarded():
            ids = await self._redis.zrange(keyspace.MAILS, 0, -1)
        times = [mail_id.partition("-")[0] for mail_id in map(str, ids)]
        return min((int(text) for text in times if text.isdecimal()), default=None)

    async def count_of(self, github_id: int) -> int:
        """Return how many mails wait that are about this person."""
        return len(await self._ids_of(github_id))

    async def erase(self, github_id: int) -> None:
        """Remove all mails that wait and are about this person."""
        for mail_id in await self._ids_of(github_id):
            await self.remove(mail_id)

    async def _ids_of(self, github_id: int) -> list[str]:
        async with guarded():
            ids = await self._redis.zrange(keyspace.MAILS, 0, -1)
        found: list[str] = []
        for mail_id in map(str, ids):
            with suppress(ValueError):
                mail = await self._load(mail_id)
                if mail is not None and mail.github_id == github_id:
                    found.append(mail_id)
        return found

    async def _load(self, mail_id: str) -> QueuedMail | None:
        """The mail, or `None` if its time is up. Raises `ValueError` for one that another version wrote."""
        redis_key = keyspace.mail(mail_id)
        async with guarded():
            text = await self._redis.get(redis_key)
        return None if text is None else _MAIL.load(str(text), self._key, redis_key)

    async def _add(self, mail: QueuedMail, *, most: int = MOST_WAITING) -> bool:
        if await self.waiting() >= most:
            return False
        # A link that does not work any more is worth no attempt, and hostile addresses hold the queue for less.
        lifetime = MAIL_LIFETIME if mail.token is None else PENDING_LIFETIME
        mail_id = f"{mail.queued_at}-{new_identifier()}"
        redis_key = keyspace.mail(mail_id)
        async with guarded():
            await self._redis.set(redis_key, _MAIL.dump(mail, self._key, redis_key), ex=lifetime)
            await self._redis.zadd(keyspace.MAILS, {mail_id: mail.queued_at})
        return True

    async def _is_over(self, limit: Limit, subject: str) -> bool:
        return bool(await self._rates.take(limit, self._rate_of(limit), subject))
