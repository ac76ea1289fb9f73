"""Restoring a backup: all of it is checked before the first write, and records that were ended since stay ended.

The records of a backup replace those in Redis, with two exceptions, because Redis' are newer. Records that exclude
a person or a client (`oauth_core.store.maintenance.snapshot.ADD_ONLY_FAMILIES`) are merged. Grants, clients,
people, their consents and initial access tokens that are in both stay as they are in Redis. Records of an older
version, in Redis or in the backup, are migrated to this program's version.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

from oauth_core.errors import StoreUnavailableError
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded, is_cluster
from oauth_core.store.maintenance.adoption import authenticated_fields, authenticated_text
from oauth_core.store.maintenance.schema import AUTHENTICATED_SINCE, VERSION, SchemaError, SchemaStore
from oauth_core.store.maintenance.snapshot import KEEP_EXISTING_FAMILIES, Entry, Snapshot, family
from oauth_core.store.records import revocation_cutoffs
from oauth_core.store.records.disabled_services import DisabledServiceStore
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.key_ring import KeyRingError, KeyRingStore, NotAdoptedError, without
from oauth_core.store.records.sign_in_pause import SignInPauseStore
from portcullis.backup.file import BackupError, Header, read_header, read_pieces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container, Mapping

    from redis.asyncio import Redis

    from portcullis.backup.key import BackupKey

_REASON = "a backup is being restored"
_OF_PERSON = ("user", "contact", "notices")
"""The families of records that an erasure of a person removes, and that a person can have again."""
_CLOCKS_SECONDS = 60
"""The difference of the clocks of two machines that is allowed for."""


@dataclass(frozen=True)
class BackupInfo:
    """A complete backup that was decrypted once.

    `keys` are those of its records that may be newer in Redis; `size` is at least the bytes of all records.
    `adopts` is whether its records have no authentication codes and the operator adopts them.
    """

    header: Header
    keys: frozenset[str]
    size: int
    adopts: bool = False


@dataclass(frozen=True)
class RestoreResult:
    """The numbers of records that were written, and of those that stayed as they were in Redis, by the family of
    their key; and the number of restored grants that were ended again, because they had been ended since.
    """

    records: Counter[str]
    kept: Counter[str]
    ended_again: int


def examine(file: IO[bytes], key: BackupKey, ring: KeyRingStore, *, adopt: bool) -> BackupInfo:
    """Read `file` to its end, so that no part of an incomplete file is used, and check what it needs.

    `ring` has the master key. `adopt` is the operator's confirmation that an older version wrote the backup, and
    that its records count although they have no authentication codes. Raises `BackupError`.
    """
    header, line = read_header(file)
    if header.schema > VERSION:
        raise BackupError(f"its records are of version {header.schema}, and this program knows version {VERSION}")
    keys: list[str] = []
    size = 0
    is_adopted: bool | None = None
    has_plain = False
    for entries in read_pieces(file, header, line, key):
        for entry in entries:
            size += len(entry.key) + len(str(entry.value))
            has_plain = has_plain or _adopted(entry, ring) is not entry
            if entry.key == keyspace.KEYRING:
                is_adopted = _is_adopted(str(entry.value), ring)
            elif family(entry.key) in KEEP_EXISTING_FAMILIES:
                keys.append(entry.key)
    file.seek(0)
    # Records without codes beside a key ring of this version are an attacker's, and count as absent.
    needs_adoption = is_adopted is False or (is_adopted is None and has_plain)
    if needs_adoption and header.schema >= AUTHENTICATED_SINCE:
        raise BackupError(
            "nothing was restored: the backup has an old key ring, which was put into Redis before it was made"
        )
    if needs_adoption and not adopt:
        raise BackupError(
            "nothing was restored: its records have no authentication codes. If you made this backup with a "
            "version that wrote none, before the upgrade, give --adopt-records"
        )
    return BackupInfo(header, frozenset(keys), size, adopts=needs_adoption)


def _is_adopted(text: str, ring: KeyRingStore) -> bool:
    try:
        ring.check_opens(text)
    except NotAdoptedError:
        return False
    except KeyRingError as error:
        raise BackupError(f"nothing was restored, because oauth_web would not start: {error}") from None
    return True


def _adopted(entry: Entry, ring: KeyRingStore) -> Entry:
    """`entry` with authentication codes added; `entry` itself if it has them or needs none."""
    if entry.key == keyspace.KEYRING:
        text = str(entry.value)
        return entry if _is_adopted(text, ring) else replace(entry, value=ring.adopted(text))
    if isinstance(entry.value, str):
        signed = authenticated_text(ring.record_key, entry.key, entry.value)
        return entry if signed is None else replace(entry, value=signed)
    changed = authenticated_fields(ring.record_key, entry.key, entry.value)
    return replace(entry, value=entry.value | changed) if changed else entry


async def check_version(redis: Redis, info: BackupInfo, ring: KeyRingStore) -> None:
    """Check that this program can read the records in Redis that may be newer than the backup's.

    Otherwise a restore would bring back rights that were narrowed and refresh tokens that were used since. Raises
    `BackupError`.
    """
    version = await SchemaStore(redis).version_before_restore(info.header.salt)
    if version is None:
        return
    if version > VERSION:
        raise BackupError(
            f"nothing was restored: Redis has records of version {version}, and this program knows version "
            f"{VERSION}. Tokens used and rights narrowed since the backup would come back. Restore with the newer "
            "program. To return to this one anyway, empty Redis first, and revoke everything afterwards"
        )
    if version < AUTHENTICATED_SINCE:
        with suppress(KeyRingError):  # with another master key, no record there can be read or kept
            await _check_adopted(ring)


async def _check_adopted(ring: KeyRingStore) -> None:
    try:
        await ring.check_adopted()
    except NotAdoptedError:
        raise BackupError(
            "nothing was restored: the records in Redis are of an older version and have no authentication codes, "
            "so tokens used and rights narrowed since the backup cannot be recognised. Run `portcullis migrate "
            "--adopt-records` first"
        ) from None


async def check_room(redis: Redis, info: BackupInfo) -> None:
    """Raise `BackupError` if a single server certainly has too little memory for the backup."""
    if is_cluster(redis):
        return  # each node has its own limit, and a part of the records
    try:
        async with guarded():
            memory = await redis.info("memory")
    except StoreUnavailableError:
        return  # this Redis user may not use INFO
    limit = int(memory.get("maxmemory", 0))
    if 0 < limit < info.size:
        raise BackupError(
            f"nothing was restored: its records are {info.size} bytes, and Redis may have {limit} (maxmemory)"
        )


@asynccontextmanager
async def paused(redis: Redis) -> AsyncIterator[None]:
    """Pause sign-ins inside the block, and resume them after it if they were not paused before.

    If the restore began and failed, they stay paused, because Redis then has only a part of the records.
    """
    pauses = SignInPauseStore(redis)
    is_ours = await pauses.pause(_REASON) or await pauses.reason() == _REASON
    try:
        yield
    finally:
        # A pause with another reason is an operator's, who also resumes.
        if is_ours and await pauses.reason() == _REASON and await _version(SchemaStore(redis)) is not None:
            await pauses.resume()


async def restore(
    redis: Redis,
    file: IO[bytes],
    key: BackupKey,
    info: BackupInfo,
    ring: KeyRingStore,
    *,
    progress: Callable[[int], None],
) -> RestoreResult:
    """Write the records of `file` into Redis.

    Programs refuse to start meanwhile, and after an interruption. A second run with the same backup after an
    interruption has the same result as one complete run: newer records in Redis stay.
    """
    schema, snapshot = SchemaStore(redis), Snapshot(redis)
    may_be_newer = await schema.begin_restore(info.header.salt, ring.record_key)
    shut_out = await snapshot.shut_out_now()
    newer = await snapshot.clear(but=info.keys if may_be_newer else ())
    header, line = read_header(file)
    count: Counter[str] = Counter()
    for entries in read_pieces(file, header, line, key):
        codes = [_adopted(entry, ring) for entry in entries] if info.adopts else entries
        merged = [_merged(entry, shut_out, newer, header.created_at) for entry in codes]
        count += await snapshot.put([entry for entry in merged if entry is not None])
        progress(count.total())
    await schema.bring_up(header.schema, ring.record_key, newer)
    ended_again = await _end_revoked(redis, ring, tombstones_before=shut_out)
    await _publish(redis, ring)
    await schema.end_restore()
    return RestoreResult(count, Counter(map(family, newer)), ended_again)


async def _version(schema: SchemaStore) -> int | None:
    try:
        return await schema.version()
    except SchemaError:
        return None


def _merged(entry: Entry, shut_out: Mapping[str, str], newer: frozenset[str], created_at: int) -> Entry | None:
    """The part of an entry to write into Redis; `None` if Redis has a newer record or its tombstone.

    `created_at` is the second of the backup.
    """
    kind = family(entry.key)
    if entry.key in newer:
        return None
    if kind == "keyring":
        left = without(str(entry.value), lambda kid: keyspace.ended_key(kid) in shut_out)
        return None if left is None else replace(entry, value=left)
    if kind == "jwks" or _tombstone_of(entry.key) in shut_out:
        return None
    if kind in _OF_PERSON:
        erased_at = shut_out.get(f"ended:person:{entry.key.partition(':')[2]}")
        # A person who signed in again after the erasure is in later backups.
        if erased_at is not None and (not erased_at.isdecimal() or created_at <= int(erased_at) + _CLOCKS_SECONDS):
            return None
    return entry


def _tombstone_of(key: str) -> str | None:
    """The key of the tombstone of a record, or `None` if records of its kind have none."""
    kind, _, name = key.partition(":")
    match kind:
        case "grant":
            return keyspace.ended_grant(name.strip("{}"))
        case "client":
            return f"ended:client:{name}"
        case "initial-access-token":
            return keyspace.ended_invite(name)
        case "consents":
            return f"ended:consents:{name}"
        case _:
            return None


def _records_of(tombstone: str) -> tuple[str, ...]:
    """The keys of the records of a tombstone, unless it is of a grant or a signing key."""
    if tombstone.startswith("ended:person:"):
        return tuple(f"{kind}:{tombstone.rpartition(':')[2]}" for kind in _OF_PERSON)
    for kind in ("client", "initial-access-token", "consents"):
        name = tombstone.rpartition(":")[2]
        if _tombstone_of(f"{kind}:{name}") == tombstone:
            return (f"{kind}:{name}",)
    return ()


async def _end_revoked(redis: Redis, ring: KeyRingStore, *, tombstones_before: Container[str]) -> int:
    """End the grants that a revocation cutoff or a tombstone voids, the backup's own too; return their number.

    Delete also clients, initial access tokens, consents and people that were ended during the restore. Older
    tombstones (`tombstones_before`) kept their records out already; a record that exists beside one is newer.
    """
    grants = GrantStore(redis, ring.record_key, client_lifetime=0)  # 0: leave the clients as they are
    made, ended = await revocation_cutoffs.all_cutoffs(redis), 0
    shut_out = await Snapshot(redis).shut_out_now()
    async for grant_id in grants.all_ids():
        grant = await grants.get(grant_id)
        if grant is not None and (
            revocation_cutoffs.is_cut_off_by(made, grant)
            or keyspace.ended_grant(grant_id) in shut_out
            or keyspace.ended_client(grant.client_id) in shut_out
        ):
            ended += await grants.end(grant_id)
    for tombstone in shut_out:
        for record in () if tombstone in tombstones_before else _records_of(tombstone):
            async with guarded():
                await redis.delete(record)
    return ended


async def _publish(redis: Redis, ring: KeyRingStore) -> None:
    """Publish the keys and the disabled services to check services at once, at every node of a cluster."""
    # No ring means that every key was retired since, or that there was none: `oauth_web` makes one.
    with suppress(KeyRingError):
        await ring.publish_again(await ring.read())
    await DisabledServiceStore(redis).fill_missing_copies()
