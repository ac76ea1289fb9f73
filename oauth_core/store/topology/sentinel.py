"""The primary by the answers of Sentinels. One Sentinel may be outdated or partitioned, so a majority must agree.

A Sentinel that leads a fail-over knows the new primary first. A client that writes there before a majority knows
it would write records that others cannot see yet. So writers find the primary by majority too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    from oauth_core.store.topology.quorum import Address


class SentinelAnswer(NamedTuple):
    """The primary that one Sentinel names, if any, and how many Sentinels it knows, itself included."""

    primary: Address | None
    sentinels: int


async def ask_sentinel(sentinel: Any, service: str) -> SentinelAnswer:
    """Ask one Sentinel. Raises a `RedisError`, `OSError` or `TimeoutError`."""
    try:
        state = await sentinel.execute_command("SENTINEL", "MASTER", service)
    except ResponseError:
        return SentinelAnswer(None, 0)  # it does not know the name
    # Not from the state: during a fail-over this command returns the new primary as soon as there is one.
    found = await sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
    primary = (str(found[0]), int(found[1])) if found else None
    fields = state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
    return SentinelAnswer(primary, int(fields["num-other-sentinels"]) + 1)


async def ask_server(server: Any, address: Address) -> Address | None:
    """Return `address` if the server reports the role of the primary. Raises the same errors as `ask_sentinel`."""
    role = await server.execute_command("ROLE")
    return address if role[0] in {"master", b"master"} else None


class FollowingConnection(SentinelManagedConnection):
    """Asks for the primary at each connect. The class of redis-py uses its old address after a disconnect."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002
        """See `AbstractConnection`."""
        await self.connect()  # type: ignore[no-untyped-call]
        await super().send_packed_command(command, check_health)


class FollowingRedis(Redis):
    """Closes its connections to the Sentinels too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001
        """See `Redis`."""
        await super().aclose(close_connection_pool)
        pool: Any = self.connection_pool
        await pool.sentinel_manager.aclose()


class FollowingTlsConnection(FollowingConnection, SentinelManagedSSLConnection):
    """The same with TLS."""


class MajoritySentinel(Sentinel):
    """Finds the primary that a majority of all Sentinels agrees on."""

    async def discover_master(self, service_name: str) -> Address:
        """Return the address of the primary. Raises `MasterNotFoundError` when there is no agreement."""
        asked = (ask_sentinel(sentinel, service_name) for sentinel in self.sentinels)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        received = [answer for answer in answers if isinstance(answer, SentinelAnswer)]
        needed = max([len(self.sentinels), *(answer.sentinels for answer in received)]) // 2 + 1
        for primary, count in Counter(answer.primary for answer in received).items():
            if primary is not None and count >= needed:
                return primary
        unexpected = [e for e in answers if isinstance(e, BaseException)]
        for error in unexpected:
            if not isinstance(error, (RedisError, OSError, TimeoutError)):
                raise error
        names = ", ".join(sorted({type(error).__name__ for error in unexpected}))
        why = f": {len(unexpected)} of {len(self.sentinels)} gave no answer ({names})" if names else ""
        raise MasterNotFoundError(f"no majority of the Sentinels agrees on a primary{why}")
