"""Which child is given which variables. Each gets what it reads, and nobody else's secrets."""

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
    """`PATH` with the folder of this Python first: our own commands stand there, activated or not."""
    return os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)])


def plain(environ: Mapping[str, str]) -> dict[str, str]:
    """What any program needs: where things are, which language and time zone."""
    kept = {name: environ[name] for name in _EVERYBODY if name in environ}
    return kept | {"PATH": search_path(environ), "PYTHONUNBUFFERED": "1"}


def outside(environ: Mapping[str, str]) -> dict[str, str]:
    """How to reach the outside world: proxies and certificates."""
    return {name: environ[name] for name in _OUTSIDE if name in environ}


def trust(environ: Mapping[str, str]) -> dict[str, str]:
    """Whose certificates to believe, which may be the operator's own authority's."""
    return {name: environ[name] for name in _TRUST if name in environ}


def settings_of(
    kind: type[GatewaySettings], environ: Mapping[str, str], config: Path, **ours: str | None
) -> dict[str, str]:
    """The variables of one program's settings, as the operator gave them, with `ours` on top.

    A variable of ours replaces the operator's; a secret given by `NAME_FILE` replaces `NAME` too.
    """
    definitions = [DEFINITIONS[name] for name in kind.model_fields]
    names = {definition.variable for definition in definitions}
    names |= {f"{definition.variable}_FILE" for definition in definitions if definition.is_mounted}
    values = {name: environ[name] for name in names if name in environ}
    for name, value in ours.items():
        if value is None:
            continue
        if name.endswith("_FILE"):
            values.pop(name.removesuffix("_FILE"), None)
        values[name] = value
    return values | {CONFIG_VARIABLE: str(config)}
