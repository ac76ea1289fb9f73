"""Records of the model as JSON in Redis, read back with validation and, for most, with proof of their origin.

A record that an older version stored, or that was changed by hand, is a clear error and not a strange object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import structlog
from pydantic import TypeAdapter

from oauth_core.crypto.record_authentication import ForgedRecordError
from oauth_core.crypto.sealing import UnsealError

if TYPE_CHECKING:
    from oauth_core.crypto.record_authentication import RecordKey

T = TypeVar("T")


class Codec(Generic[T]):
    """Writes and reads values of one frozen dataclass, without a code: for records that only take rights away."""

    def __init__(self, kind: type[T]) -> None:
        self._adapter = TypeAdapter(kind)

    def dump(self, value: T) -> str:
        """Return `value` as JSON; fields that are `None` are left out."""
        return self._adapter.dump_json(value, exclude_none=True).decode()

    def load(self, text: str | bytes) -> T:
        """Return the value that `dump` wrote. Raises `pydantic.ValidationError`, a `ValueError`."""
        return self._adapter.validate_json(text)


class SignedCodec(Generic[T]):
    """Writes and reads values of one frozen dataclass with a code (`oauth_core.crypto.record_authentication`).

    `location` is the Redis key, and for one of several values in a hash the field as well (`location_in_hash`).
    """

    def __init__(self, kind: type[T]) -> None:
        self._plain = Codec(kind)

    def dump(self, value: T, key: RecordKey, location: str) -> str:
        """Return `value` as JSON behind its code, to be written at `location`."""
        return key.sign(location, self._plain.dump(value))

    def load(self, text: str | bytes | None, key: RecordKey, location: str) -> T | None:
        """Return the value at `location`; `None` when there is none, or when `text` was not written with `key`.

        A forged record counts as absent and is logged. Raises `pydantic.ValidationError` for a genuine record that
        another version wrote.
        """
        if text is None:
            return None
        signed = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        try:
            return self._plain.load(key.open(location, signed))
        except ForgedRecordError:
            _log_forged(location)
            return None


class SealedCodec(Generic[T]):
    """Writes and reads values of one frozen dataclass encrypted, for records that Redis must not show.

    `location` is as in `SignedCodec`.
    """

    def __init__(self, kind: type[T]) -> None:
        self._plain = Codec(kind)

    def dump(self, value: T, key: RecordKey, location: str) -> str:
        """Return `value` encrypted, to be written at `location`."""
        return key.seal(location, self._plain.dump(value))

    def load(self, text: str, key: RecordKey, location: str) -> T | None:
        """Return the value at `location`; `None` when `text` was not written with `key` at that place.

        A forged record is logged. Raises `pydantic.ValidationError` as `SignedCodec.load`.
        """
        try:
            return self._plain.load(key.unseal(location, text))
        except UnsealError:
            _log_forged(location)
            return None


def _log_forged(location: str) -> None:
    # Without the place, which contains the hash of a secret.
    structlog.get_logger("store").error("record.forged", kind=location.partition(":")[0])


def location_in_hash(hash_key: str, field: str) -> str:
    """Return the place of one field of a Redis hash."""
    return f"{hash_key} {field}"
