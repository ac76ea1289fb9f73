"""Follows the settings file while a program runs: who may do what changes without a restart, all of it or nothing.

A file that cannot be used is refused and told, and what was in use stays. So is one that takes away the last role:
without roles everybody may use everything, and half of a file that somebody is just writing looks like that. Only
services and roles are taken over; the rest of the settings waits for a restart.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Never, TypeVar

import structlog

from oauth_core.audit import EventKind
from oauth_core.errors import SettingsError
from oauth_core.process.file_follower import FileFollower
from oauth_core.settings import CONFIG_VARIABLE, GatewaySettings, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from oauth_core.audit import AuditRecorder

LOOK_EVERY = 0.5
"""Seconds. A change counts once the file has stayed the same from one look to the next."""

Settings = TypeVar("Settings", bound=GatewaySettings)


class SettingsWatcher(Generic[Settings]):
    """The settings file of one program, which began with the settings `used`."""

    def __init__(
        self, kind: type[Settings], environ: Mapping[str, str], used: Settings, audit: AuditRecorder
    ) -> None:
        self._kind = kind
        self._environ = environ
        self._used = used
        self._audit = audit
        self._log = structlog.get_logger("policy")
        self._hurry = asyncio.Event()
        named = environ.get(CONFIG_VARIABLE)
        self._path = Path(named) if named else None

    def look_now(self) -> None:
        """Read the file again, changed or not: somebody asked for it."""
        self._hurry.set()

    async def follow(self, apply: Callable[[Settings], None]) -> Never:
        """Hand every new policy to `apply`, until cancelled. Without a file there never is one."""
        if self._path is None:
            never: asyncio.Future[Never] = asyncio.get_running_loop().create_future()
            await never
        # What was read when the program started may be older than this: the first look reads in any case.
        file = FileFollower(self._path)
        while True:
            asked = await self._wait()
            if file.has_settled_change() or asked:
                file.note_reading()
                self._read(apply)

    async def _wait(self) -> bool:
        """Whether somebody asked, within the time until the next look."""
        try:
            await asyncio.wait_for(self._hurry.wait(), LOOK_EVERY)
        except TimeoutError:
            return False
        self._hurry.clear()
        return True

    def _read(self, apply: Callable[[Settings], None]) -> None:
        try:
            fresh = load(self._kind, self._path, self._environ)
            _check_change(self._used, fresh)
        except SettingsError as error:
            self._log.error("policy.refused", faults=list(error.faults))
            self._audit.record(EventKind.POLICY_REFUSED, reason="; ".join(error.faults))
            return
        if (fresh.resolved_services, fresh.policy) == (self._used.resolved_services, self._used.policy):
            return
        apply(fresh)
        self._used = fresh
        self._log.info("policy.changed", roles=sorted(fresh.roles))
        self._audit.record(EventKind.POLICY_CHANGED, reason=f"read from {self._path}")


def _check_change(used: GatewaySettings, fresh: GatewaySettings) -> None:
    """Raise `SettingsError` for a change that a running program must not make."""
    if fresh.issuer != used.issuer:
        raise SettingsError(["issuer has changed: restart every program"])
    if used.roles and not fresh.roles:
        raise SettingsError(["the last role is gone, which would open everything: restart to mean it"])
