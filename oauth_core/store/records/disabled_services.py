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
from oauth_core.store.copies import NotEverywhereError, copy_keys_in, write_all_copies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from redis.asyncio import Redis

_DISABLED = Codec(dict[str, Disabled])
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
    return {} if document is None else _DISABLED.load(document)


def merge(documents: Iterable[str | bytes | None]) -> str:
    """Return one document with all services of these documents. Raises `ValueError` as `parse` does."""
    return _DISABLED.dump(_all_services(documents))


class DisabledServiceStore:
    """Stores the document for operators. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._replace = redis.register_script(_REPLACE)
        self._keys = copy_keys_in(redis, keyspace.DISABLED_SERVICES)

    async def read(self) -> Mapping[str, Disabled]:
        """Return the disabled services by name."""
        found, failed = [], None
        for redis_key in self._keys:
            try:
                async with guarded():
                    found.append(await self._redis.get(redis_key))
            except StoreUnavailableError as error:
                failed = error
        if failed is not None and not found:
            raise failed
        return _all_services(found)

    async def disable(self, service: str, disabled: Disabled) -> None:
        """Disable a service; a service that is disabled already gets the new reason.

        Raises `NotEverywhereError` when nodes of a cluster were unreachable: the service is disabled, but the
        copies at these nodes do not list it yet.
        """
        await write_all_copies(
            self._keys, lambda key: self._change(key, lambda before: {**before, service: disabled})
        )

    async def enable(self, service: str) -> bool:
        """Enable a service. Returns whether it was disabled.

        Raises `NotEverywhereError` when nodes of a cluster were unreachable: it may stay disabled until a later
        call succeeds.
        """
        was_disabled = service in await self.read()
        await write_all_copies(
            self._keys,
            lambda key: self._change(
                key, lambda before: {name: why for name, why in before.items() if name != service}
            ),
        )
        return was_disabled

    async def fill_missing_copies(self) -> None:
        """Write the document to the nodes of a cluster that have no copy, for instance after an upgrade."""
        if len(self._keys) == 1 or not (disabled := await self.read()):
            return

        async def put(redis_key: str) -> None:
            async with guarded():
                await self._redis.set(redis_key, _DISABLED.dump(dict(disabled)), nx=True)

        with contextlib.suppress(NotEverywhereError):  # an unreachable node gets its copy when it is back
            await write_all_copies(self._keys, put)

    async def _change(self, key: str, how: Callable[[Mapping[str, Disabled]], dict[str, Disabled]]) -> None:
        """Replace the document at `key` by the result of `how`."""
        for _ in range(_MOST_TRIES):
            async with guarded():
                text = await self._redis.get(key)
                after = how(parse(text))
                # With several nodes an empty document stays, so that `fill_missing_copies` does not mistake it for
                # a missing one.
                kept = _DISABLED.dump(after) if after or len(self._keys) > 1 else ""
                if await self._replace([key], [text or "", kept]):
                    return
        raise StoreUnavailableError("others keep changing which services are disabled; try again")


def _all_services(documents: Iterable[str | bytes | None]) -> dict[str, Disabled]:
    return {name: why for document in documents for name, why in parse(document).items()}
