"""The record of what callers saw, which a run of everything may write to `docs/`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.availability.table import Record

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def record() -> Iterator[Record]:
    """What callers saw so far."""
    record = Record()
    yield record
    if record.is_to_be_kept:
        record.write()
