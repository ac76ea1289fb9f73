"""The bounded LRU cache: it keeps the entries that were used last, and does not grow without limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.store.client_cache.lru_cache import LruCache

KEYS = st.integers(0, 12)


@given(st.lists(st.tuples(st.sampled_from(["put", "get", "discard"]), KEYS), max_size=200), st.integers(1, 5))
def test_the_last_used_entries_are_present_and_no_value_is_stale(steps: list[tuple[str, int]], size: int) -> None:
    recent: LruCache[int, int] = LruCache(size)
    newest: dict[int, int] = {}  # the last value that was put, in the order of use
    for number, (what, key) in enumerate(steps):
        if what == "put":
            recent.put(key, number)
            newest.pop(key, None)
            newest[key] = number
        elif what == "discard":
            recent.discard(key)
            newest.pop(key, None)
            assert recent.get(key) is None
        elif (value := recent.get(key)) is not None:
            assert value == newest.pop(key)
            newest[key] = value
        assert len(recent) <= 2 * size
    for key in list(newest)[-size:]:
        assert recent.get(key) == newest[key]


def test_clear_removes_all_entries() -> None:
    recent: LruCache[int, int] = LruCache(3)
    for key in range(5):
        recent.put(key, key)
    recent.clear()
    assert len(recent) == 0
    assert [recent.get(key) for key in range(5)] == [None] * 5


def test_a_cache_that_is_cleared_repeatedly_frees_its_entries() -> None:
    recent: LruCache[int, int] = LruCache(100)
    for turn in range(50):
        for key in range(100):
            recent.put(key, turn)
        recent.clear()
    for key in range(100):
        recent.put(key, 0)
    assert sum(map(len, recent._dying)) <= 100


def test_a_cache_of_size_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="room"):
        LruCache(0)
