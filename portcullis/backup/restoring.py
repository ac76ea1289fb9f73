"""Restoring a backup: everything is checked before the first write, and what was ended since stays ended.

What a backup says is older than what Redis says. So it replaces what Redis has, but for two kinds of records. What
shuts somebody or something out (`oauth_core.store.maintenance.snapshot.SHUTS_OUT`) is added to. Grants, clients,
people, their consents and initial access tokens that Redis has as well stay as Redis has them. Records of an older
version, in Redis or in the backup, are brought to this program's version.
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
from oauth_core.store.maintenance.snapshot import NEWER_STAYS, Entry, Snapshot, family
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


@dataclass(frozen=True)
class Examined:
    """A backup that is whole and opens.

    `keys` are those of its records that Redis may have newer; `size` is the bytes of all records, at the least.
    `adopts` says that its records have no authentication codes, and that the operator has them adopted.
    """

    header: Header
    keys: frozenset[str]
    size: int
    adopts: bool = False


@dataclass(frozen=True)
class Restored:
    """How many records were written, and how many stayed as Redis had them, by the family of their key; and how
    many grants ended at once because they had been ended since.
    """

    records: Counter[str]
    stayed: Counter[str]
    left_out: int


def examine(file: IO[bytes], key: BackupKey, ring: KeyRingStore, *, adopt: bool) -> Examined:
    """Read `file` to its end, so that nothing is believed of one that is not whole, and check what it needs.

    `ring` has the master key. `adopt` is the operator's word that an older version wrote the backup, and that its
    records count although they have no authentication codes. Raises `BackupError`.
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
            elif family(entry.key) in NEWER_STAYS:
                keys.append(entry.key)
    file.seek(0)
    # A ring of this version beside plain records: an attacker wrote these, and they count as absent.
    needs_adoption = is_adopted is False or (is_adopted is None and has_plain)
    if needs_adoption and header.schema >= AUTHENTICATED_SINCE:
        raise BackupError(
            "nothing was restored: before the backup was made, an old key ring had been put into Redis"
        )
    if needs_adoption and not adopt:
        raise BackupError(
            "nothing was restored: its records have no authentication codes. If you made this backup with a "
            "version that wrote none, before the upgrade, give --adopt-records"
        )
    return Examined(header, frozenset(keys), size, adopts=needs_adoption)


def _is_adopted(text: str, ring: KeyRingStore) -> bool:
    try:
        ring.check_opens(text)
    except NotAdoptedError:
        return False
    except KeyRingError as error:
        raise BackupError(f"nothing was restored, for oauth_web would not start: {error}") from None
    return True


def _adopted(entry: Entry, ring: KeyRingStore) -> Entry:
    """An entry of an older version with its authentication codes; `entry` itself if it has them or needs none."""
    if entry.key == keyspace.KEYRING:
        text = str(entry.value)
        return entry if _is_adopted(text, ring) else replace(entry, value=ring.adopted(text))
    if isinstance(entry.value, str):
        signed = authenticated_text(ring.record_key, entry.key, entry.value)
        return entry if signed is None else replace(entry, value=signed)
    changed = authenticated_fields(ring.record_key, entry.key, entry.value)
    return replace(entry, value=entry.value | changed) if changed else entry


async def check_version(redis: Redis, examined: Examined, ring: KeyRingStore) -> None:
    """Pass when this program can read the records in Redis that may be newer than the backup's.

    Otherwise restoring would bring back rights that were narrowed and refresh tokens that were used since. Raises
    `BackupError`.
    """
    version = await SchemaStore(redis).version_before_restore(examined.header.salt)
    if version is None:
        return
    if version > VERSION:
        raise BackupError(
            f"nothing was restored: Redis has records of version {version}, and this program knows version "
            f"{VERSION}. What was used or narrowed since the backup would come back. Restore with the newer "
            "program; to go back to this one all the same, empty Redis first, and revoke everything afterwards"
        )
    if version < AUTHENTICATED_SINCE:
        with suppress(KeyRingError):  # with another master key nothing there can be read or kept
            await _check_adopted(ring)


async def _check_adopted(ring: KeyRingStore) -> None:
    try:
        await ring.check_adopted()
    except NotAdoptedError:
        raise BackupError(
            "nothing was restored: the records in Redis are of an older version and have no authentication codes, "
            "so it cannot be seen what was used or narrowed since the backup. Run `portcullis migrate "
            "--adopt-records` first"
        ) from None


async def check_room(redis: Redis, examined: Examined) -> None:
    """Pass unless a single server certainly has no memory for the backup. Raises `BackupError`."""
    if is_cluster(redis):
        return  # each node has its own limit, and a part of the records
    try:
        async with guarded():
            memory = await redis.info("memory")
    except StoreUnavailableError:
        return  # this user may not ask
    limit = int(memory.get("maxmemory", 0))
    if 0 < limit < examined.size:
        raise BackupError(
            f"nothing was restored: its records are {examined.size} bytes, and Redis takes {limit} (maxmemory)"
        )


@asynccontextmanager
async def paused(redis: Redis) -> AsyncIterator[None]:
    """Sign-ins are paused inside the block; afterwards they are as they were before.

    If restoring began and failed they stay paused: what stands there then is no gateway.
    """
    pauses = SignInPauseStore(redis)
    is_ours = await pauses.pause(_REASON) or await pauses.reason() == _REASON
    try:
        yield
    finally:
        # An operator who paused meanwhile has another reason, and resumes.
        if is_ours and await pauses.reason() == _REASON and await _version(SchemaStore(redis)) is not None:
            await pauses.resume()


async def restore(
    redis: Redis,
    file: IO[bytes],
    key: BackupKey,
    examined: Examined,
    ring: KeyRingStore,
    *,
    progress: Callable[[int], None],
) -> Restored:
    """Put what `file` holds into Redis.

    Programs that start meanwhile, or after this was interrupted, refuse to. After an interruption the same backup
    is restored as if it had not begun: what Redis had newer stays.
    """
    schema, snapshot = SchemaStore(redis), Snapshot(redis)
    may_be_newer = await schema.begin_restore(examined.header.salt, ring.record_key)
    shut_out = await snapshot.shut_out_now()
    newer = await snapshot.clear(but=examined.keys if may_be_newer else ())
    header, line = read_header(file)
    count: Counter[str] = Counter()
    for entries in read_pieces(file, header, line, key):
        codes = [_adopted(entry, ring) for entry in entries] if examined.adopts else entries
        merged = [_merged(entry, shut_out, newer) for entry in codes]
        count += await snapshot.put([entry for entry in merged if entry is not None])
        progress(count.total())
    await schema.bring_up(header.schema, ring.record_key, newer)
    left_out = await _end_what_was_ended(redis, ring, noted_before=shut_out)
    await _publish(redis, ring)
    await schema.end_restore()
    return Restored(count, Counter(map(family, newer)), left_out)


async def _version(schema: SchemaStore) -> int | None:
    try:
        return await schema.version()
    except SchemaError:
        return None


def _merged(entry: Entry, shut_out: Mapping[str, str], newer: frozenset[str]) -> Entry | None:
    """What of an entry is put into Redis, where something else is known to be newer."""
    kind = family(entry.key)
    if entry.key in newer:
        return None
    if kind == "keyring":
        left = without(str(entry.value), lambda kid: keyspace.ended_key(kid) in shut_out)
        return None if left is None else replace(entry, value=left)
    if kind == "jwks" or _note_of(entry.key) in shut_out:
        return None
    return entry


def _note_of(key: str) -> str | None:
    """The key of the note that a record was ended."""
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


def _record_of(note: str) -> str | None:
    """The key of the record that was ended, unless it is a grant or a signing key."""
    for kind in ("client", "initial-access-token", "consents"):
        name = note.rpartition(":")[2]
        if _note_of(f"{kind}:{name}") == note:
            return f"{kind}:{name}"
    return None


async def _end_what_was_ended(redis: Redis, ring: KeyRingStore, *, noted_before: Container[str]) -> int:
    """End the grants that a cut or a note is about, the backup's own too; answers how many these were.

    Clients, invitations and consents that were ended while the backup was restored go as well. What was noted
    before that kept them out already, and such a record that is there is newer than the note.
    """
    grants = GrantStore(redis, ring.record_key, grace=0, client_lifetime=0)  # 0: leave the clients as they are
    made, ended = await revocation_cutoffs.every(redis), 0
    shut_out = await Snapshot(redis).shut_out_now()
    async for grant_id in grants.all_ids():
        grant = await grants.get(grant_id)
        if grant is not None and (
            revocation_cutoffs.reached(made, grant)
            or keyspace.ended_grant(grant_id) in shut_out
            or keyspace.ended_client(grant.client_id) in shut_out
        ):
            ended += await grants.end(grant_id)
    for note in shut_out:
        if note not in noted_before and (record := _record_of(note)) is not None:
            async with guarded():
                await redis.delete(record)
    return ended


async def _publish(redis: Redis, ring: KeyRingStore) -> None:
    """Let check services know the keys and the isolated services at once, at every node of a cluster."""
    # Without a ring every key was retired since, or there never was one: `oauth_web` makes one.
    with suppress(KeyRingError):
        await ring.publish_again(await ring.read())
    await DisabledServiceStore(redis).spread()
