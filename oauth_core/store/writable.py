"""Makes Redis accept writes while an operator takes rights away.

Redis may refuse every write, `DEL` too: while it cannot write to its disk (MISCONF), and while it has fewer
replicas than `min-replicas-to-write` requires (NOREPLICAS). A stolen token must end in any case. So these rules
are lifted for that time and restored afterwards, with the rights of the operator's Redis user (`CONFIG`).
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from oauth_core.errors import StoreUnavailableError
from oauth_core.store.connection import guarded
from oauth_core.store.replication import servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from redis.asyncio import Redis

    from oauth_core.settings import RedisSettings

IN_MEMORY_ONLY = (
    "warning: Redis cannot write to its disk. The change is only in its memory: a restart of Redis before there "
    "is room on the disk undoes it. Make room, then run the command again."
)
_FEW_REPLICAS = (
    "warning: fewer replicas follow Redis than min-replicas-to-write requires; it was lifted for this command."
)
_TRIES_AFTER_ROOM = 30
_BETWEEN_TRIES = 0.1


@dataclass(frozen=True)
class _Rule:
    """A setting under which Redis refuses writes, and a value under which it accepts them."""

    setting: str
    lifted: str
    warning: str


_REPLICAS = _Rule("min-replicas-to-write", "0", _FEW_REPLICAS)
_SNAPSHOTS = _Rule("stop-writes-on-bgsave-error", "no", IN_MEMORY_ONLY)
_LOG = _Rule("appendonly", "no", IN_MEMORY_ONLY)


@asynccontextmanager
async def writable(
    redis: Redis, settings: RedisSettings, *, make_room: Callable[[Path], bool], warn: Callable[[str], None]
) -> AsyncIterator[None]:
    """Make every reachable server accept writes inside the block.

    `redis` is a client for `settings`. `make_room` frees space in the data folder of a Redis of this machine, if
    any was reserved for that. `warn` gets the warnings for the operator. Raises `StoreUnavailableError` with the
    remedy when Redis refuses writes and its user may not change that.
    """
    async with servers(redis, settings) as found:
        undo: list[tuple[Any, str, str]] = []
        try:
            for server, mark in found:
                for rule in await _lift(server, mark, make_room, undo):
                    warn(rule.warning)
            yield
        finally:
            for server, setting, value in reversed(undo):
                try:
                    async with guarded():
                        await server.config_set(setting, value)
                except StoreUnavailableError as error:
                    warn(f"warning: set {setting} of Redis back to {value!r} yourself ({error})")


async def _lift(
    server: Any, mark: str, make_room: Callable[[Path], bool], undo: list[tuple[Any, str, str]]
) -> list[_Rule]:
    """Lift every rule under which this server refuses writes; returns these. Records the old values in `undo`."""
    lifted: list[_Rule] = []
    while (refusal := await _refusal(server, mark)) is not None:
        rule = _rule(refusal)
        if rule in lifted:
            raise StoreUnavailableError(f"Redis refuses writes: {refusal}")
        try:
            async with guarded():
                has_room = rule is not _REPLICAS and make_room(Path((await server.config_get("dir"))["dir"]))
            if has_room and await _is_over(server, mark):
                continue
            async with guarded():
                before = (await server.config_get(rule.setting))[rule.setting]
                await server.config_set(rule.setting, rule.lifted)
        except StoreUnavailableError as error:
            raise StoreUnavailableError(
                f"nothing was ended. Redis refuses writes ({refusal}), its user may not change that ({error}). "
                f"As a user that may, run: redis-cli CONFIG SET {rule.setting} {rule.lifted} - then run this "
                f"command again, and set {rule.setting} back"
            ) from None
        undo.append((server, rule.setting, before))
        lifted.append(rule)
    return lifted


def _rule(refusal: str) -> _Rule:
    if refusal.startswith("NOREPLICAS"):
        return _REPLICAS
    return _LOG if "AOF" in refusal else _SNAPSHOTS


async def _is_over(server: Any, mark: str) -> bool:
    """Return whether Redis accepts writes after room was made: it tries its disk again within a second."""
    for _ in range(_TRIES_AFTER_ROOM):
        if await _refusal(server, mark) is None:
            return True
        await asyncio.sleep(_BETWEEN_TRIES)
    return False


async def _refusal(server: Any, mark: str) -> str | None:
    """Return why this server refuses every write. For an unreachable server it returns `None`.

    Deleting `mark`, which has no meaning, is a write that needs no memory.
    """
    try:
        async with guarded():
            await server.delete(mark)
    except StoreUnavailableError as error:
        if isinstance(error.__cause__, ResponseError):
            message = str(error.__cause__)
            return message if message.startswith(("MISCONF", "NOREPLICAS")) else None
    return None
