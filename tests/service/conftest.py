"""One Redis, and one check service at a time, for the tests of `ext_authz` and of its transports."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.authz_process import (
    USERS,
    AuthzProcess,
    Issue,
    environ,
    publish,
    remember,
    running_authz,
)
from tests.support.redis_server import RedisServer, running_redis
from tests.support.tokens import mint, new_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.jose.signing_keys import SigningKey


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """The key that the running service trusts."""
    return new_key()


@pytest.fixture(scope="session")
def redis(key: SigningKey) -> Iterator[RedisServer]:
    """A Redis with published keys. Tests must not stop it."""
    with running_redis(password="admin-password-of-tests", users=USERS) as server:
        publish(server, key)
        yield server


@pytest.fixture(scope="session")
def transport(request: pytest.FixtureRequest) -> str | None:
    """The transport of the check service, a parameter of the test; `None` leaves the setting out."""
    name: str | None = getattr(request, "param", None)
    return name


@pytest.fixture(scope="session")
def authz(redis: RedisServer, transport: str | None) -> Iterator[AuthzProcess]:
    """A check service that is serving. Tests must not stop it."""
    with running_authz(environ(redis, **({"AUTHZ_TRANSPORT": transport} if transport else {}))) as service:
        service.wait_for_health("SERVING")
        yield service


_numbers = count(1)


@pytest.fixture
def issue(redis: RedisServer, key: SigningKey) -> Issue:
    """Issue an active token for the service `time`, with these changes."""

    def issue(**changes: Any) -> str:
        jti = changes.setdefault("jti", f"issued-{next(_numbers)}")
        remember(redis, jti)
        return mint(key, **changes)

    return issue
