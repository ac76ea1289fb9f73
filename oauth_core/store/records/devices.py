"""Devices that wait for a person's decision (RFC 8628). Each of deciding, pacing and using up is one atomic step.

The device code and the user code are different keys of one record. The polling device does not receive the user
code again, and the person who types the user code does not learn the device code. Both are stored as hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from oauth_core.crypto.credentials import hash_secret, new_secret, new_word
from oauth_core.crypto.record_authentication import ForgedRecordError
from oauth_core.errors import StoreUnavailableError
from oauth_core.flows.device import ALPHABET, INTERVAL, LENGTH
from oauth_core.limits.quotas import Stored
from oauth_core.model import DeviceAuthorization, DeviceDecision, DevicePace
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec, SignedCodec, location_in_hash
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey
    from oauth_core.store.records.quotas import QuotaStore

ATTEMPTS_OF_A_BROWSER = 10
FIRST_ATTEMPTS_OF_AN_ADDRESS = 5
FIRST_ATTEMPTS_OF_ALL = 5000
FURTHER_ATTEMPTS_OF_ALL = 120
_SUBJECT_SECONDS = 600
_ALL_SECONDS = 60

_OTHER_BYTES = 500
"""Bytes that a device needs in Redis beside its record: pace, two keys, pointer from the user code."""

_DEVICE = SignedCodec(DeviceAuthorization)
_PACE = Codec(DevicePace)
_DECISION = SignedCodec(DeviceDecision)

# KEYS: device. ARGV: record, pace, expiry.
_ADD = """
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'pace', ARGV[2])
return redis.call('EXPIREAT', KEYS[1], ARGV[3])
"""

# KEYS: device. ARGV: decision. The first decision counts: a device cannot act for two people.
_DECIDE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HSETNX', KEYS[1], 'decision', ARGV[1])
"""

# KEYS: device. ARGV: the pace that was read, the new pace. Returns 0 when another poll came in between.
_KEEP_PACE = """
if redis.call('HGET', KEYS[1], 'pace') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'pace', ARGV[2])
return 1
"""

# KEYS: a counter. ARGV: its lifetime. It starts at the first attempt; otherwise each new attempt would extend it.
_COUNT = """
local n = redis.call('INCR', KEYS[1])
if n == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return n
"""


@dataclass(frozen=True)
class Started:
    """The two codes of a new device, which are shown only once. `repr` leaves the values out."""

    device_code: str
    user_code: str

    def __repr__(self) -> str:
        return "Started()"


@dataclass(frozen=True)
class FoundDevice:
    """The present state of a device. `keep_pace` compares with `seen_pace`."""

    device_hash: str
    device: DeviceAuthorization
    decision: DeviceDecision | None
    pace: DevicePace
    seen_pace: str


class DeviceStore:
    """Stores devices. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis, key: RecordKey, quotas: QuotaStore) -> None:
        self._redis = redis
        self._key = key
        self._quotas = quotas
        self._add = redis.register_script(_ADD)
        self._decide = redis.register_script(_DECIDE)
        self._keep_pace = redis.register_script(_KEEP_PACE)
        self._count = redis.register_script(_COUNT)

    async def add(self, device: DeviceAuthorization, *, caller: str) -> Started:
        """Store a new device, which counts against `caller`, and return its codes.

        Raises `DisplayedError` when the quota is used up.
        """
        device_code = new_secret()
        device_hash = hash_secret(device_code)
        forgotten_at = device.expires_at + keyspace.EXPIRED_DEVICE_LIFETIME
        redis_key = keyspace.device(device_hash)
        record, pace = _DEVICE.dump(device, self._key, redis_key), _PACE.dump(DevicePace(INTERVAL))
        lifetime = forgotten_at - device.created_at
        await self._quotas.take(Stored.DEVICE_CODES, len(record) + _OTHER_BYTES, lifetime=lifetime, caller=caller)
        async with guarded():
            await self._add([redis_key], [record, pace, forgotten_at])
            for _ in range(10):
                user_code = new_word(ALPHABET, LENGTH)
                pointer = keyspace.device_user_code(hash_secret(user_code))
                # Never the code of another device: that device's person would decide about this one.
                if await self._redis.set(
                    pointer, self._key.sign(pointer, device_hash), nx=True, exat=device.expires_at
                ):
                    return Started(device_code, user_code)
        raise StoreUnavailableError("no user code is free")

    async def by_device_code(self, device_code: str) -> FoundDevice | None:
        """Return the device that holds `device_code`."""
        return await self.get(hash_secret(device_code))

    async def by_user_code(self, user_code: str) -> FoundDevice | None:
        """Return the device that shows `user_code`, a result of `oauth_core.flows.device.parse_user_code`."""
        redis_key = keyspace.device_user_code(hash_secret(user_code))
        async with guarded():
            pointer = cast("str | None", await self._redis.get(redis_key))
        try:
            return None if pointer is None else await self.get(self._key.open(redis_key, pointer))
        except ForgedRecordError:
            return None

    async def get(self, device_hash: str) -> FoundDevice | None:
        """Return the device by the hash of its device code."""
        redis_key = keyspace.device(device_hash)
        async with guarded():
            record, pace, decision = await cast(
                "Awaitable[list[str | None]]", self._redis.hmget(redis_key, ["record", "pace", "decision"])
            )
        device = _DEVICE.load(record, self._key, redis_key)
        if device is None or pace is None:
            return None
        decided = _DECISION.load(decision, self._key, location_in_hash(redis_key, "decision"))
        return FoundDevice(device_hash, device, decided, _PACE.load(pace), pace)

    async def decide(self, device_hash: str, decision: DeviceDecision) -> bool:
        """Record a person's decision. Returns False when there is an earlier one, or the device is gone."""
        redis_key = keyspace.device(device_hash)
        record = _DECISION.dump(decision, self._key, location_in_hash(redis_key, "decision"))
        async with guarded():
            return bool(await self._decide([redis_key], [record]))

    async def keep_pace(self, found: FoundDevice, pace: DevicePace) -> bool:
        """Record a poll. Returns False when another poll was recorded since `found` was read."""
        async with guarded():
            done = await self._keep_pace([keyspace.device(found.device_hash)], [found.seen_pace, _PACE.dump(pace)])
        return bool(done)

    async def use_up(self, found: FoundDevice) -> bool:
        """Use the device code up: returns True for only one of any number of callers."""
        async with guarded():
            return bool(await self._redis.delete(keyspace.device(found.device_hash)))

    async def may_try(self, browser_hash: str, address_hash: str) -> bool:
        """Count an attempt at a user code, right or wrong, and return whether the code may be looked up.

        A browser has ten attempts in ten minutes. A caller without its cookie is subject to the limits that
        addresses share. A person needs only the first attempts of an address, and these are counted apart from the
        further ones. So a few addresses that guess cannot use up the attempts of others. Guessing stays hopeless
        (RFC 8628 section 5.1): both limits together allow 51,200 of 25,600,000,000 codes in the ten minutes of a
        code.
        """
        async with guarded():
            if (
                await self._count([keyspace.device_attempts(browser_hash)], [_SUBJECT_SECONDS])
                > ATTEMPTS_OF_A_BROWSER
            ):
                return False
            own = await self._count([keyspace.device_attempts(address_hash)], [_SUBJECT_SECONDS])
            if own <= FIRST_ATTEMPTS_OF_AN_ADDRESS:
                shared, most = keyspace.DEVICE_FIRST_ATTEMPTS, FIRST_ATTEMPTS_OF_ALL
            else:
                shared, most = keyspace.DEVICE_ATTEMPTS, FURTHER_ATTEMPTS_OF_ALL
            return bool(await self._count([shared], [_ALL_SECONDS]) <= most)
