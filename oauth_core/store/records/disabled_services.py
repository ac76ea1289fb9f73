"""Services that an operator disabled: one document, which every check process keeps a copy of.

In a cluster several nodes hold the document (`oauth_core.store.copies`). A service is disabled if any of these
copies lists it. So a copy that could not be written at an unreachable node can only keep a service disabled.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from oauth_core.errors import StoreUnavailableError
from oauth_core.policy.decision import Disabled
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec
from oauth_core.store.connection import guarded
from oauth_core.store.copies import NotEverywhereError, everywhere, places_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from redis.asyncio import Redis

_ISOLATED = Codec(dict[str, Disabled])
_MOST_TRIES = 10

# KEYS: document. ARGV: its old text ('' for none), its new text ('' for none). Two operators at once must not lose
# each other's change. The first write needs no memory, so that a full Redis accepts the second.
_REPLACE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2]) end
return 1
"""


def parse(document: str | bytes | None) -> Mapping[str, Disabled]:
    """Return the disabled services by name. Raises `ValueError` for a text that is no such document."""
    return {} if document is None else _ISOLATED.load(document)


def united(documents: Iterable[str | bytes | None]) -> str:
    """Return one document with all services of these documents. Raises `ValueError` as `parse` does."""
    return _ISOLATED.dump(_union(documents))


class DisabledServiceStore:
    """Stores the document for operators. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._replace = redis.register_script(_REPLACE)
        self._places = places_in(redis, keyspace.ISOLATED_SERVICES)

    async def read(self) -> Mapping[str, Disabled]:
        """Return the disabled services by name."""
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

    async def disable(self, service: str, isolated: Disabled) -> None:
        """Disable a service; a service that is disabled already gets the new reason.

        Raises `NotEverywhereError` when nodes of a cluster were unreachable: the service is disabled, but the
        copies at these nodes do not list it yet.
        """
        await everywhere(self._places, lambda key: self._change(key, lambda before: {**before, service: isolated}))

    async def enable(self, service: str) -> bool:
        """Enable a service. Returns whether it was disabled.

        Raises `NotEverywhereError` when nodes of a cluster were unreachable: it may stay disabled until a later
        call succeeds.
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
        """Write the document to the nodes of a cluster that have no copy, for instance after an upgrade."""
        if len(self._places) == 1 or not (isolated := await self.read()):
            return

        async def put(place: str) -> None:
            async with guarded():
                await self._redis.set(place, _ISOLATED.dump(dict(isolated)), nx=True)

        with contextlib.suppress(NotEverywhereError):  # an unreachable node gets its copy when it is back
            await everywhere(self._places, put)

    async def _change(self, key: str, how: Callable[[Mapping[str, Disabled]], dict[str, Disabled]]) -> None:
        """Replace the document at `key` by the result of `how`."""
        for _ in range(_MOST_TRIES):
            async with guarded():
                text = await self._redis.get(key)
                after = how(parse(text))
                # With several nodes an empty document stays, so that `spread` does not mistake it for a missing
                # one.
                kept = _ISOLATED.dump(after) if after or len(self._places) > 1 else ""
                if await self._replace([key], [text or "", kept]):
                    return
        raise StoreUnavailableError("others keep changing which services are disabled; try again")


def _union(documents: Iterable[str | bytes | None]) -> dict[str, Disabled]:
    return {name: why for document in documents for name, why in parse(document).items()}
