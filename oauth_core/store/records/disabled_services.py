"""Services that an operator took out of use: a document, of which every check process keeps a copy.

In a cluster the document lies on several nodes (`oauth_core.store.copies`). A service is isolated if any of
them says so: what could not be written at a node that was away can only leave a service out of use, never open it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from oauth_core.errors import StoreUnavailableError
from oauth_core.policy.decision import Isolated
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec
from oauth_core.store.connection import guarded
from oauth_core.store.copies import NotEverywhereError, everywhere, places_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from redis.asyncio import Redis

_ISOLATED = Codec(dict[str, Isolated])
_MOST_TRIES = 10

# KEYS: document. ARGV: what it was ('' for nothing), what it shall be ('' for nothing). Two operators at once must
# not lose each other's change. The first write needs no memory, so that a full Redis takes the second.
_REPLACE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2]) end
return 1
"""


def parse(document: str | bytes | None) -> Mapping[str, Isolated]:
    """The isolated services by name. Raises `ValueError` for what is no such document."""
    return {} if document is None else _ISOLATED.load(document)


def united(documents: Iterable[str | bytes | None]) -> str:
    """One document that says what any of these says. Raises `ValueError` for what is no such document."""
    return _ISOLATED.dump(_union(documents))


class DisabledServiceStore:
    """What an operator changes. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._replace = redis.register_script(_REPLACE)
        self._places = places_in(redis, keyspace.ISOLATED_SERVICES)

    async def read(self) -> Mapping[str, Isolated]:
        """The isolated services by name."""
        found, failed = [], None
        for place in self._places:
            try:
                async with guarded():
                    found.append(await self._redis.get(place))
            except StoreUnavailableError as error:
                failed = error
        if failed is not None and not found:
            raise failed
        return _union(found)

    async def isolate(self, service: str, isolated: Isolated) -> None:
        """Take a service out; one that is out already gets the new reason.

        Raises `NotEverywhereError` when nodes of a cluster were away: it is out, and these nodes do not say so
        yet.
        """
        await everywhere(self._places, lambda key: self._change(key, lambda before: {**before, service: isolated}))

    async def restore(self, service: str) -> bool:
        """Bring a service back. Answers whether it was out.

        Raises `NotEverywhereError` when nodes of a cluster were away: it may be out until this is done again.
        """
        was_out = service in await self.read()
        await everywhere(
            self._places,
            lambda key: self._change(
                key, lambda before: {name: why for name, why in before.items() if name != service}
            ),
        )
        return was_out

    async def spread(self) -> None:
        """Write what is isolated at the nodes of a cluster that have no copy, for instance after an upgrade."""
        if len(self._places) == 1 or not (isolated := await self.read()):
            return

        async def put(place: str) -> None:
            async with guarded():
                await self._redis.set(place, _ISOLATED.dump(dict(isolated)), nx=True)

        with contextlib.suppress(NotEverywhereError):  # a node that is away gets its copy when it is back
            await everywhere(self._places, put)

    async def _change(self, key: str, how: Callable[[Mapping[str, Isolated]], dict[str, Isolated]]) -> None:
        """Replace the document at `key` by what `how` makes of it."""
        for _ in range(_MOST_TRIES):
            async with guarded():
                text = await self._redis.get(key)
                after = how(parse(text))
                # With several nodes an empty document stays: `spread` must not take its place for one that is
                # missing.
                kept = _ISOLATED.dump(after) if after or len(self._places) > 1 else ""
                if await self._replace([key], [text or "", kept]):
                    return
        raise StoreUnavailableError("others keep changing which services are isolated; try again")


def _union(documents: Iterable[str | bytes | None]) -> dict[str, Isolated]:
    return {name: why for document in documents for name, why in parse(document).items()}
