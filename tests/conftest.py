"""How `make test` deals the tests out to several processes: what shares something slow to start stays together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# An HTTP client reads the certificates of all authorities of the world, which takes longer than most of the tests
# with one. Nothing here talks to the world: who needs an authority names it, others look in a folder without any.
os.environ["SSL_CERT_DIR"] = str(HERE)
os.environ.pop("SSL_CERT_FILE", None)

ONE_GATEWAY = frozenset({"system/availability", "system/clients", "system/doctor", "system/gateway"})
"""Folders whose tests share one whole gateway, which takes longer to start than most tests take to run, or which
would be in each other's way."""

LONGEST_FIRST = (
    "system/gateway",
    "system/availability",
    "system/up",
    "service/client_cache",
    "service/transports",
    "system/doctor",
    "system/realms",
    "envoy/edge",
    "envoy",
    "service/ext_authz",
    "service/oauth_web",
    "bench",
    "service/github_standin",
)
"""Folders, so that no process is left at the end with something long of which it has just begun."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with what it must stay together with: its file, or its folder."""
    for item in items:
        folder = _folder(item)
        together = folder if folder in ONE_GATEWAY else item.path.relative_to(HERE).as_posix()
        item.add_marker(pytest.mark.xdist_group(together))
    items.sort(key=_turn)  # stable, so that what pytest put in order stays so


def _folder(item: pytest.Item) -> str:
    return item.path.parent.relative_to(HERE).as_posix()


def _turn(item: pytest.Item) -> int:
    folder = _folder(item)
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)
