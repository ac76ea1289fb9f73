"""The bounded memory: what was used last stays, and nothing grows without end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.store.client_cache.lru_cache import LruCache

KEYS = st.integers(0, 12)


@given(st.lists(st.tuples(st.sampled_from(["put", "get", "discard"]), KEYS), max_size=200), st.integers(1, 5))
def test_the_last_used_are_always_there_and_a_value_is_never_stale(
    steps: list[tuple[str, int]], size: int
) -> None:
    recent: LruCache[int, int] = LruCache(size)
    newest: dict[int, int] = {}  # the value last put, in the order of use
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


def test_everything_can_be_forgotten() -> None:
    recent: LruCache[int, int] = LruCache(3)
    for key in range(5):
        recent.put(key, key)
    recent.clear()
    assert len(recent) == 0
    assert [recent.get(key) for key in range(5)] == [None] * 5


def test_a_memory_that_is_cleared_again_and_again_frees_what_it_held() -> None:
    recent: LruCache[int, int] = LruCache(100)
    for turn in range(50):
        for key in range(100):
            recent.put(key, turn)
        recent.clear()
    for key in range(100):
        recent.put(key, 0)
    assert sum(map(len, recent._dying)) <= 100


def test_a_memory_for_nobody_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="room"):
        LruCache(0)
