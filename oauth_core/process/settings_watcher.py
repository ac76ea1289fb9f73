"""Watches the settings file while a program runs: rights change without a restart, completely or not at all.

A file that cannot be used is refused and reported, and the present settings stay. A file without the last role is
refused too: without roles every person may use everything, and a half-written file looks like that. Only services
and roles are applied; other settings need a restart.
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
"""Seconds. A change is applied once the file has stayed the same from one check to the next."""

Settings = TypeVar("Settings", bound=GatewaySettings)


class SettingsWatcher(Generic[Settings]):
    """The settings file of one program, which started with the settings `used`."""

    def __init__(
        self, kind: type[Settings], environ: Mapping[str, str], used: Settings, audit: AuditRecorder
    ) -> None:
        self._kind = kind
        self._environ = environ
        self._used = used
        self._audit = audit
        audit.policy_version = used.policy_version
        self._log = structlog.get_logger("policy")
        self._reload_requested = asyncio.Event()
        named = environ.get(CONFIG_VARIABLE)
        self._path = Path(named) if named else None

    def reload_now(self) -> None:
        """Read the file again, changed or not, on request."""
        self._reload_requested.set()

    async def follow(self, apply: Callable[[Settings], None]) -> Never:
        """Call `apply` with the new settings after each valid change of services or roles, until cancelled.

        Without a settings file it only waits.
        """
        if self._path is None:
            never: asyncio.Future[Never] = asyncio.get_running_loop().create_future()
            await never
        # The file may have changed after the program read it at its start, so the first check always reads.
        file = FileFollower(self._path)
        while True:
            is_requested = await self._wait()
            if file.has_settled_change() or is_requested:
                file.record_reading()
                self._read(apply)

    async def _wait(self) -> bool:
        """Return whether a reading was requested before the next check."""
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await self._reload_requested.wait()
        except TimeoutError:
            return False
        self._reload_requested.clear()
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
        self._audit.policy_version = fresh.policy_version
        self._log.info("policy.changed", roles=sorted(fresh.roles))
        self._audit.record(EventKind.POLICY_CHANGED, reason=f"read from {self._path}")


def _check_change(used: GatewaySettings, fresh: GatewaySettings) -> None:
    """Raise `SettingsError` for a change that a running program must not make."""
    if fresh.issuer != used.issuer:
        raise SettingsError(["issuer has changed: restart every program"])
    if used.roles and not fresh.roles:
        raise SettingsError(["the last role is gone, which would open everything: restart to mean it"])
