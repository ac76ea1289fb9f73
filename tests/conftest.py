"""How the tests run: which tests stay in one process, and which examples the property tests use."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

HERE = Path(__file__).parent

# An HTTP client reads the certificates of all public authorities, which takes longer than most of the tests
# with one. No test connects to the internet: a test that needs an authority names it, and all others use an
# empty folder.
os.environ["SSL_CERT_DIR"] = str(HERE)
os.environ.pop("SSL_CERT_FILE", None)

# A shell starts programs in the background with SIGINT ignored, and every program of a test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Property tests use the same examples in every run, so that a change fails only because of its content; none
# has a deadline. `make explore` searches for examples that fail: other ones each time, and ten times as many.
# Fixtures of a function are allowed: no test here keeps something in them that must be new for each example.
settings.register_profile(
    "repeat",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile(
    "explore", parent=settings.get_profile("repeat"), derandomize=False, max_examples=10 * settings().max_examples
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

ONE_GATEWAY = frozenset({"system/availability", "system/clients", "system/doctor", "system/gateway"})
"""Folders whose tests share one whole gateway, which takes longer to start than most tests take to run, or whose
tests would disturb each other.
"""

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
"""Folders that start first, so that no process is busy with a long test at the end when the others are finished.
"""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while tests are imported: nearly all objects of an import stay until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the file or the folder with which it must stay together."""
    for item in items:
        folder = _folder(item)
        together = folder if folder in ONE_GATEWAY else item.path.relative_to(HERE).as_posix()
        item.add_marker(pytest.mark.xdist_group(together))
    items.sort(key=_turn)  # stable, so that the order of pytest is kept


def _folder(item: pytest.Item) -> str:
    return item.path.parent.relative_to(HERE).as_posix()


def _turn(item: pytest.Item) -> int:
    folder = _folder(item)
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)
