"""The record of what callers saw, which a complete run may write to `docs/`; and one authorization server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.web_process import WebServer, running_web
from tests.system.availability.table import Record

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def record() -> Iterator[Record]:
    """The results of the callers so far."""
    record = Record()
    yield record
    if record.is_to_be_kept:
        record.write()


@pytest.fixture(scope="session")
def web() -> Iterator[WebServer]:
    """An authorization server on a machine whose clock is right. Tests leave it running."""
    with running_web() as server:
        yield server
