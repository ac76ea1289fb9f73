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

ONE_GATEWAY = frozenset({"availability", "clients", "doctor", "e2e"})
"""Folders whose tests share one whole gateway, which takes longer to start than most tests take to run, or which
would be in each other's way."""

LONGEST_FIRST = (
    "e2e",
    "availability",
    "up",
    "view",
    "transports",
    "doctor",
    "realms",
    "edge",
    "envoy",
    "authz",
    "web",
    "bench",
    "standin",
)
"""Folders, so that no process is left at the end with something long of which it has just begun."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with what it must stay together with: its file, or its folder."""
    for item in items:
        place = item.path.relative_to(HERE)
        together = place.parts[0] if place.parts[0] in ONE_GATEWAY else place.as_posix()
        item.add_marker(pytest.mark.xdist_group(together))
    items.sort(key=_turn)  # stable, so that what pytest put in order stays so


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(HERE).parts[0]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)
