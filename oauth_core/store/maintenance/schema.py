"""The version of the layout in `keyspace` that Redis has, and the migration of an older one to this version.

A program of an older version must not work on a newer layout: it would write records that lack data which others
need. So a program that writes checks the version first, and stops with a reason. (The check service reads three
keys and writes none; their meaning does not change within a major version.)

A migration is a function that may be done twice and be interrupted. One process at a time does it, under a lease.
If the lease is lost and two processes do it, there is no harm.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, cast

from oauth_core.clients.registration_permissions import READ
from oauth_core.crypto.record_authentication import ForgedRecordError
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded
from oauth_core.store.maintenance.snapshot import Snapshot
from oauth_core.store.records.clients import ClientStore
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.users import UserStore
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Mapping

    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey
    from oauth_core.store.records.key_ring import KeyRingStore
    from oauth_core.store.records.leases import LeaseStore

VERSION = 3
"""The version that this program reads and writes."""

AUTHENTICATED_SINCE = 3
"""Records of an older version may have no codes (`oauth_core.store.maintenance.adoption`)."""

_UNNUMBERED = 0
_RESTORING = "restoring"
_OF = " "
_LEASE_SECONDS = 60.0
_PAUSE = 0.2
_WEEK = 604_800

# KEYS: schema. ARGV: the version that was migrated, the new version.
_ADVANCE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class SchemaError(Exception):
    """This program may not work on the records in Redis. The message contains the reason and the remedy."""


async def index_grants(redis: Redis, key: RecordKey) -> int:
    """Make the indexes of grants agree with the existing grants; returns the number of these."""
    grants, clients = GrantStore(redis, key), ClientStore(redis, key)
    count = 0
    async for grant_id in grants.all_ids():
        grant = await grants.get(grant_id)
        if grant is not None:
            count += 1
            await grants.index(grant)
            await clients.index_grant(grant)
            sibling = await grants.sibling_of(grant_id)
            if sibling is not None:
                await clients.index_sibling_grant(sibling, grant)
    return count


async def _number_indexes(redis: Redis, key: RecordKey, _newer: Container[str]) -> None:
    """0 to 1: grants once had no index by person, and their index by client was a set without expiries.

    Blocking such a person would not end these grants, and adding another grant of such a client would fail.
    """
    async for name in scan(redis, keyspace.ALL_CLIENT_GRANTS):
        async with guarded():
            if await redis.type(name) == "set":
                await redis.delete(name)
    await index_grants(redis, key)


async def _part_shared_registrations(redis: Redis, key: RecordKey, _newer: Container[str]) -> None:
    """1 to 2: identical registrations once shared a record. Its first registrant may still only read it.

    Otherwise a caller that registered the metadata of a popular client could now add a redirect URI for its users.
    """
    clients = ClientStore(redis, key)
    async for name in scan(redis, keyspace.ALL_CLIENTS):
        async with guarded():
            record = _open_record(key, name, await redis.get(name))
        if record is None or json.loads(record).get("sharing") != "shared":
            continue
        client = await clients.get_stored(name.partition(":")[2])
        if client is not None:
            await clients.swap(client, dataclasses.replace(client, registration_permissions=(READ,)))
    async for name in scan(redis, keyspace.OLD_REGISTRATIONS):
        async with guarded():
            await redis.delete(name)


def _open_record(key: RecordKey, redis_key: str, text: object) -> str | None:
    try:
        return None if text is None else key.open(redis_key, str(text))
    except ForgedRecordError:
        return None


async def _index_again(redis: Redis, key: RecordKey, newer: Container[str]) -> None:
    """2 to 3: records have a code.

    An operator adopts the old records before this step (`oauth_core.store.maintenance.adoption`).

    A backup of an older version is restored without indexes, so they are made here. They show which clients hold
    no grant. Clients that any caller could register were once kept for 90 days; those without a grant now end
    within a week. `newer` ones have the lifetime that this version gave them.

    An older version did not store the account of a login. It is taken from the records of people, the earliest
    sign-in first. Otherwise the next account with a listed login could be the first one seen after the upgrade.
    """
    await index_grants(redis, key)
    users = UserStore(redis, key, lifetime=0)
    for known in sorted(await users.all(), key=lambda known: known.signed_in_at):
        if not known.is_vouched_for:
            await users.account_of(known.user.login.lower(), first_seen=known.user.github_id)
    async for name in scan(redis, keyspace.ALL_CLIENTS):
        if name in newer:
            continue
        async with guarded():
            holds_grants = await redis.exists(keyspace.client_grants(name.partition(":")[2]))
            if not holds_grants and await redis.ttl(name) > _WEEK:
                await redis.expire(name, _WEEK)


_STEPS: Mapping[int, Callable[[Redis, RecordKey, Container[str]], Awaitable[None]]] = {
    _UNNUMBERED: _number_indexes,
    1: _part_shared_registrations,
    2: _index_again,
}
"""By the version they begin from; each leads to the next. A step does not change the keys that are newer."""


class SchemaStore:
    """The version in Redis. Every method raises `SchemaError` and `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._advance = redis.register_script(_ADVANCE)

    async def version(self) -> int:
        """Return the version in Redis. An empty Redis is given this program's."""
        text = await self._get()
        if text is None:
            first = VERSION if await Snapshot(self._redis).is_empty() else _UNNUMBERED
            async with guarded():
                await self._redis.set(keyspace.SCHEMA, first, nx=True)
            text = await self._get()
        if (text or "").startswith(_RESTORING):
            raise SchemaError(
                "a backup is being restored into this Redis, or restoring it was interrupted; "
                "wait for `portcullis restore`, or run it again with --force"
            )
        if text is None or not text.isdecimal():
            raise SchemaError(
                f"the key {keyspace.SCHEMA!r} in Redis is {text!r}, which no version of Portcullis wrote"
            )
        if int(text) > VERSION:
            raise SchemaError(
                f"Redis has records of version {text}, and this program knows version {VERSION}: "
                "upgrade this program, or restore a backup of its own time"
            )
        return int(text)

    async def is_restoring(self) -> bool:
        """Return whether a backup is being restored, or its restore was interrupted."""
        return (await self._get() or "").startswith(_RESTORING)

    async def migrate(self, leases: LeaseStore, ring: KeyRingStore) -> tuple[int, ...]:
        """Migrate Redis to `VERSION`, or wait for another process; returns the versions left behind here.

        Records without codes are not changed. Raises `NotAdoptedError` when the key ring shows that there may be
        some, and another `KeyRingError` when it was sealed with another master key.
        """
        left: list[int] = []
        while (version := await self.version()) != VERSION:
            if not await leases.acquire("migration", seconds=_LEASE_SECONDS):
                await asyncio.sleep(_PAUSE)
                continue
            try:
                # Between the check and the lease another process may have finished.
                if await self.version() == version:
                    await ring.check_adopted()
                    await _STEPS[version](self._redis, ring.record_key, ())
                    async with guarded():
                        if await self._advance([keyspace.SCHEMA], [version, version + 1]):
                            left.append(version)
            finally:
                await leases.release("migration")
        return tuple(left)

    async def version_before_restore(self, backup: str) -> int | None:
        """Return the version of the records in Redis, which may be newer than those of `backup`.

        If the restore of the same backup was interrupted, it is the version before that restore. If the restore of
        another backup was interrupted, or if there are no records of this product, it is `None`.
        """
        text = await self._get()
        if text is None:
            return None if await Snapshot(self._redis).is_empty() else _UNNUMBERED
        _, _, interrupted = text.partition(_OF)
        before, _, name = interrupted.partition(_OF)
        version = text if text.isdecimal() else before if name == backup else ""
        return int(version) if version else None

    async def begin_restore(self, backup: str, key: RecordKey) -> bool:
        """Stop every program until `end_restore`; returns whether Redis has records that may be newer.

        Such records are first migrated to this program's version, so that they can be kept beside those of the
        backup, whatever its version.
        """
        version = await self.version_before_restore(backup)
        if version is not None and version < VERSION:
            await self._mark(backup, version)
            await self.bring_up(version, key)
        await self._mark(backup, None if version is None else VERSION)
        return version is not None

    async def _mark(self, backup: str, version: int | None) -> None:
        async with guarded():
            await self._redis.set(
                keyspace.SCHEMA, _OF.join((_RESTORING, "" if version is None else str(version), backup))
            )

    async def bring_up(self, version: int, key: RecordKey, newer: Container[str] = ()) -> None:
        """Migrate records of `version` to this program's, and index them.

        Call it between `begin_restore` and `end_restore`. `newer` are keys whose records are of this program's
        version already.
        """
        for before in range(version, VERSION):
            await _STEPS[before](self._redis, key, newer)
        await index_grants(self._redis, key)

    async def end_restore(self) -> None:
        """Let every program start: the restored records are complete, and of this program's version."""
        async with guarded():
            await self._redis.set(keyspace.SCHEMA, VERSION)

    async def _get(self) -> str | None:
        async with guarded():
            return cast("str | None", await self._redis.get(keyspace.SCHEMA))
