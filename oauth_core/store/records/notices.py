"""The notices of a person: one Redis hash for each person, one field for each kind and subject.

Notices are encrypted, because they have addresses. They come after the change that they report, and never make it
fail: without memory, or without an answer of Redis, the notice is lost and the change stays.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from oauth_core.errors import StoreUnavailableError
from oauth_core.flows.notices import (
    MOST_NOTICES,
    NOTICE_LIFETIME,
    Notice,
    RepeatedNotice,
    bounded,
    field_of,
)
from oauth_core.store import keyspace
from oauth_core.store.codec import SealedCodec, location_in_hash
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey
    from oauth_core.model import Grant
    from oauth_core.store.records.mail_queue import MailQueue

_NOTICE = SealedCodec(Notice)
_STORED = re.compile(r"([0-9]{1,12}) ([0-9]{1,18}) ([0-9]{1,9}) ([0-9]{1,12}) (.+)\Z")
"""The second of the latest notice, the microsecond at which it was stored, the number of notices, the second of
the first, and the latest notice, encrypted. Only this last part cannot be forged, so the numbers are bounded.
"""

# KEYS: a person's notices. ARGV: field, second, encrypted notice, most entries, lifetime in seconds. Beyond the
# most, the oldest entry of the most frequent kind goes: a flood of one kind displaces its own entries. Returns the
# number of notices of this entry.
_ADD = """
local at, lifetime = tonumber(ARGV[2]), tonumber(ARGV[5])
local count, first = 0, ARGV[2]
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before then
  local last, times, began = string.match(before, '^(%d+) %d+ (%d+) (%d+) ')
  if last and tonumber(last) + lifetime > at then count, first = tonumber(times), began end
end
local now = redis.call('TIME')
local stored = string.format('%s %s%06d %d %s %s', ARGV[2], now[1], now[2], count + 1, first, ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], stored)
redis.call('EXPIRE', KEYS[1], lifetime)
if redis.call('HLEN', KEYS[1]) <= tonumber(ARGV[4]) then return count + 1 end
local entries, of_kind = redis.call('HGETALL', KEYS[1]), {}
local most, oldest, its_field = 0, nil, nil
for i = 1, #entries, 2 do
  local kind = string.match(entries[i], '^[^:]*')
  of_kind[kind] = (of_kind[kind] or 0) + 1
  most = math.max(most, of_kind[kind])
end
for i = 1, #entries, 2 do
  local stored_at = tonumber(string.match(entries[i + 1], '^%d+ (%d+)') or '0')
  if of_kind[string.match(entries[i], '^[^:]*')] == most and entries[i] ~= ARGV[1]
     and (oldest == nil or stored_at < oldest) then
    oldest, its_field = stored_at, entries[i]
  end
end
if its_field then redis.call('HDEL', KEYS[1], its_field) end
return count + 1
"""


class NoticeStore:
    """Stores notices. Only `all` and `erase` raise `StoreUnavailableError`.

    `lost` is called when a notice is not stored.
    """

    def __init__(
        self,
        redis: Redis,
        key: RecordKey,
        *,
        mails: MailQueue,
        lost: Callable[[Notice, StoreUnavailableError], None],
    ) -> None:
        self._redis = redis
        self._key = key
        self._mails = mails
        self._lost = lost
        self._add = redis.register_script(_ADD)

    async def add(self, github_id: int, notice: Notice) -> bool:
        """Add a notice for a person, and a mail if they want one. Returns whether both were stored."""
        redis_key, field = keyspace.notices(github_id), field_of(notice)
        sealed = _NOTICE.dump(bounded(notice), self._key, location_in_hash(redis_key, field))
        try:
            async with guarded():
                count = await self._add([redis_key], [field, notice.at, sealed, MOST_NOTICES, NOTICE_LIFETIME])
            await self._mails.add_notice(github_id, notice, int(count))
        except StoreUnavailableError as error:
            self._lost(notice, error)
            return False
        return True

    async def add_ended(self, grants: Iterable[Grant], ended: Notice) -> None:
        """Add `ended` for the person of each grant, with the grant's client: once for each person and client.

        Call it after the grants have ended. It stops at the first notice that cannot be stored.
        """
        people_and_clients = dict.fromkeys((g.user.github_id, g.client_id) for g in grants if g.user is not None)
        for github_id, client_id in people_and_clients:
            if not await self.add(github_id, replace(ended, client_id=client_id)):
                return

    async def all(self, github_id: int, *, now: int) -> tuple[RepeatedNotice, ...]:
        """Return the notices of a person, newest first. Raises `StoreUnavailableError`."""
        redis_key = keyspace.notices(github_id)
        async with guarded():
            stored = await cast("Awaitable[dict[str, str]]", self._redis.hgetall(redis_key))
        found = (self._read(location_in_hash(redis_key, field), text) for field, text in stored.items())
        recent = [one for one in found if one is not None and one[1].latest.at > now - NOTICE_LIFETIME]
        recent.sort(key=lambda one: (one[1].latest.at, one[0]), reverse=True)
        return tuple(notice for _, notice in recent[:MOST_NOTICES])

    async def erase(self, github_id: int) -> None:
        """Remove all notices of a person. Raises `StoreUnavailableError`."""
        async with guarded():
            await self._redis.delete(keyspace.notices(github_id))

    def _read(self, location: str, text: str) -> tuple[int, RepeatedNotice] | None:
        """The microsecond at which an entry was stored, and the entry; `None` if this program did not write it."""
        parts = _STORED.match(text)
        if parts is None:
            return None
        latest = None
        with suppress(ValueError):  # from a newer version, with a kind that this one does not have
            latest = _NOTICE.load(parts[5], self._key, location)
        if latest is None:
            return None
        return int(parts[2]), RepeatedNotice(latest, int(parts[3]), min(int(parts[4]), latest.at))
