"""A bounded LRU (generational) cache that never searches, sorts or frees many entries at once.

It has two generations: a used entry moves to the young one. When that is full, it becomes the old one, and the
former old one is discarded. A discarded generation is freed a little at each write, because freeing a hundred
thousand entries at once would stop the process for longer than a check may take.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_FREED_AT_EACH_WRITE = 4


class LruCache(Generic[K, V]):
    """Keeps at least the `size` keys that were used last, and at most about twice as many. `None` is no value."""

    __slots__ = ("_dying", "_old", "_size", "_young")

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("a cache must have room for one entry at least")
        self._size = size
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._dying: list[dict[K, V]] = []

    def get(self, key: K) -> V | None:
        """Return the value of `key`. This counts as a use."""
        value = self._young.get(key)
        if value is None and self._old:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Store `value` under `key`, replacing an earlier value."""
        self._old.pop(key, None)
        if len(self._young) >= self._size and key not in self._young:
            self._retire(self._old)
            self._old, self._young = self._young, {}
        self._young[key] = value
        if self._dying:
            self._free_some()

    def discard(self, key: K) -> None:
        """Remove `key`, if it is stored."""
        self._young.pop(key, None)
        self._old.pop(key, None)

    def clear(self) -> None:
        """Remove all entries."""
        self._retire(self._young)
        self._retire(self._old)
        self._young, self._old = {}, {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _retire(self, generation: dict[K, V]) -> None:
        if generation:
            self._dying.append(generation)

    def _free_some(self) -> None:
        last = self._dying[-1]
        for _ in range(min(_FREED_AT_EACH_WRITE, len(last))):
            last.popitem()
        if not last:
            self._dying.pop()
