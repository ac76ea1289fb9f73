"""Services that an operator took out of use: one document, which every check process keeps a copy of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.errors import StoreUnavailableError
from oauth_core.policy import Isolated
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis.asyncio import Redis

_ISOLATED = Codec(dict[str, Isolated])
_MOST_TRIES = 10

# KEYS: document. ARGV: what it was ('' for nothing), what it shall be ('' for nothing). Two operators at once must
# not lose each other's change.
_REPLACE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
"""


def parse(document: str | bytes | None) -> Mapping[str, Isolated]:
    """The isolated services by name. Raises `ValueError` for what is no such document."""
    return {} if document is None else _ISOLATED.load(document)


class IsolationStore:
    """What an operator changes. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._replace = redis.register_script(_REPLACE)

    async def read(self) -> Mapping[str, Isolated]:
        """The isolated services by name."""
        async with guarded():
            return parse(await self._redis.get(keyspace.ISOLATED_SERVICES))

    async def isolate(self, service: str, isolated: Isolated) -> None:
        """Take a service out; one that is out already gets the new reason."""
        await self._change(lambda before: {**before, service: isolated})

    async def restore(self, service: str) -> bool:
        """Bring a service back. Answers whether it was out."""
        before = await self._change(lambda before: {name: why for name, why in before.items() if name != service})
        return service in before

    async def _change(
        self, how: Callable[[Mapping[str, Isolated]], dict[str, Isolated]]
    ) -> Mapping[str, Isolated]:
        """Replace the document by what `how` makes of it; answers what it said before."""
        for _ in range(_MOST_TRIES):
            async with guarded():
                text = await self._redis.get(keyspace.ISOLATED_SERVICES)
                before = parse(text)
                after = how(before)
                changed = [text or "", _ISOLATED.dump(after) if after else ""]
                if await self._replace([keyspace.ISOLATED_SERVICES], changed):
                    return before
        raise StoreUnavailableError("others keep changing which services are isolated; try again")
