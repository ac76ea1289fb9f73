"""Documents that every check needs, on several nodes of a cluster, so that checks do not depend on one node.

With one server, or behind Sentinels, there is one key. In a cluster there are copies beside it, whose keys are
spread evenly over all slots. A check process reads the copies that it can reach
(`oauth_core.store.client_cache.tracked_document.Copies`).
"""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import TYPE_CHECKING

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from oauth_core.errors import StoreUnavailableError
from oauth_core.store.connection import is_cluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

_COPIES = 8
"""Up to this many primaries, with even shares of the slots, have a copy each."""


class NotEverywhereError(StoreUnavailableError):
    """A document was written at some nodes and could not be written at others."""


@cache
def copy_keys(key: str) -> tuple[str, ...]:
    """The keys under which a cluster keeps copies of the document `key`, each on another share of the slots."""
    share = REDIS_CLUSTER_HASH_SLOTS // _COPIES
    names = (
        next(name for number in count() if key_slot((name := f"{key}-copy:{number}").encode()) // share == part)
        for part in range(_COPIES)
    )
    return (key, *names)


def copy_keys_in(redis: Redis, key: str) -> tuple[str, ...]:
    """Return the keys of the document `key` in the Redis of this client."""
    return copy_keys(key) if is_cluster(redis) else (key,)


async def write_all_copies(keys: tuple[str, ...], write: Callable[[str], Awaitable[None]]) -> None:
    """Call `write` for each key, also after a failure.

    Raises the error of `write` when no copy could be written, and `NotEverywhereError` when some could.
    """
    failed: list[StoreUnavailableError] = []
    for key in keys:
        try:
            await write(key)
        except StoreUnavailableError as error:
            failed.append(error)
    if len(failed) == len(keys):
        raise failed[0]
    if failed:
        raise NotEverywhereError(f"{len(failed)} of {len(keys)} copies could not be written ({failed[0]})")
