"""Which transport serves, and the command that runs one worker of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ext_authz.transports import pyvoy_host
from ext_authz.transports.pyvoy_host import Host
from oauth_core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ext_authz.addresses import Address
    from oauth_core.settings import AuthzSettings

Name = Literal["pyvoy", "grpcio"]


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one worker: its arguments, and what is added to the environment that it inherits."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Transport:
    """The transport in use. `fallback` is what to try when it turns out not to run on this machine."""

    settings: AuthzSettings
    host: Host | None = None
    fallback: bool = False

    @property
    def name(self) -> Name:
        """What it is called in settings and logs."""
        return "pyvoy" if self.host else "grpcio"

    @property
    def portable(self) -> Transport:
        """The same settings on the transport that runs everywhere."""
        return Transport(self.settings)

    def launch(self, address: Address, folder: Path, label: str) -> Launch:
        """The command for a worker that listens on `address`, and may use files called `label` in `folder`."""
        if self.host is None:
            return Launch((sys.executable, "-P", "-m", "ext_authz.worker", str(address)), {})
        config, admin = folder / f"{label}.json", folder / f"{label}.sock"
        pyvoy_host.write_config(config, self.host, address, admin, self.settings)
        return Launch(pyvoy_host.command(self.host, config), pyvoy_host.environment(self.host, admin))


def choose(settings: AuthzSettings) -> Transport:
    """The transport that the settings ask for. Raises `SettingsError` when it cannot run here."""
    if settings.authz_transport == "grpcio":
        return Transport(settings)
    host = pyvoy_host.find_host()
    if isinstance(host, Host):
        return Transport(settings, host, fallback=settings.authz_transport == "auto")
    if settings.authz_transport == "pyvoy":
        raise SettingsError([f"authz_transport: pyvoy cannot run: {host}"])
    return Transport(settings)
