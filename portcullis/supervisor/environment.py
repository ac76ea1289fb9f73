"""The environment variables of each child: those that it reads, and no secret of another child."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from oauth_core.settings import CONFIG_VARIABLE, DEFINITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oauth_core.settings import GatewaySettings

_EVERYBODY = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "LOGNAME")
_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_OUTSIDE = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *_TRUST,
)


def search_path(environ: Mapping[str, str]) -> str:
    """`PATH` with the folder of this Python first: it has our commands, with an activated venv or without."""
    return os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)])


def plain(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that every program needs: paths, language and time zone."""
    kept = {name: environ[name] for name in _EVERYBODY if name in environ}
    return kept | {"PATH": search_path(environ), "PYTHONUNBUFFERED": "1"}


def outside(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for connections to the internet: proxies and certificate authorities."""
    return {name: environ[name] for name in _OUTSIDE if name in environ}


def trust(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that name certificate authorities, which may be the operator's own."""
    return {name: environ[name] for name in _TRUST if name in environ}


def settings_of(
    kind: type[GatewaySettings], environ: Mapping[str, str], config: Path, **ours: str | None
) -> dict[str, str]:
    """The variables of one program's settings, as the operator set them, overridden by `ours`.

    A variable in `ours` replaces the operator's; a secret given by `NAME_FILE` replaces `NAME` too.
    """
    definitions = [DEFINITIONS[name] for name in kind.model_fields]
    names = {name for definition in definitions for name in definition.variables}
    names |= {
        f"{name}_FILE" for definition in definitions if definition.is_mounted for name in definition.variables
    }
    values = {name: environ[name] for name in names if name in environ}
    for name, value in ours.items():
        if value is None:
            continue
        if name.endswith("_FILE"):
            values.pop(name.removesuffix("_FILE"), None)
        values[name] = value
    return values | {CONFIG_VARIABLE: str(config)}
