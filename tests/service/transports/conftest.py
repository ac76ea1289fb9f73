"""One Redis, and a check service on each transport, for the tests that leave them running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.ext_authz.conftest import USERS, environ, issue, key, publish
from tests.support.authz_process import AuthzProcess, running_authz
from tests.support.redis_server import RedisServer, running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.jose.signing_keys import SigningKey

__all__ = ["authz", "issue", "key", "redis", "transport"]


@pytest.fixture(scope="session", params=["http2", "grpcio"])
def transport(request: pytest.FixtureRequest) -> str:
    """The name of the transport that the test is about."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def redis(key: SigningKey) -> Iterator[RedisServer]:
    """A Redis with published keys. Tests must not stop it."""
    with running_redis(password="admin-password-of-tests", users=USERS) as server:
        publish(server, key)
        yield server


@pytest.fixture(scope="session")
def authz(redis: RedisServer, transport: str) -> Iterator[AuthzProcess]:
    """A check service that is serving. Tests must not stop it."""
    with running_authz(environ(redis, AUTHZ_TRANSPORT=transport)) as service:
        service.wait_for_health("SERVING")
        yield service
