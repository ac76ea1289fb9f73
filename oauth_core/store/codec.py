"""Records of the model as JSON in Redis, read back with validation: what was stored by an older version, or
changed by hand, is a clear error and not a strange object.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


class Codec(Generic[T]):
    """Writes and reads values of one frozen dataclass."""

    def __init__(self, kind: type[T]) -> None:
        self._adapter = TypeAdapter(kind)

    def dump(self, value: T) -> str:
        """`value` as JSON; fields that are `None` are left out."""
        return self._adapter.dump_json(value, exclude_none=True).decode()

    def load(self, text: str | bytes) -> T:
        """The value `dump` wrote. Raises `pydantic.ValidationError`, a `ValueError`."""
        return self._adapter.validate_json(text)
