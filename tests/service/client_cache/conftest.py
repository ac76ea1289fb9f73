"""A real Redis with the rights of the check service, and caches of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.client_cache.caches import (
    ADMIN_PASSWORD,
    USERS,
    bring_to_life,
)
from tests.support.redis_server import RedisServer, running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis for one test, in which the token `live` is active."""
    with running_redis(password=ADMIN_PASSWORD, users=USERS) as server:
        bring_to_life(server, "live")
        yield server
