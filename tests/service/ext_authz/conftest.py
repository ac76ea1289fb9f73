"""One Redis and one check service for the tests that leave them running."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.store import keyspace
from oauth_core.store.client_cache.token_status import CHECK_ACL
from tests.support.authz_process import AuthzProcess, running_authz
from tests.support.published_keys import SIGNER, published
from tests.support.redis_server import RedisServer, running_redis
from tests.support.tokens import mint, new_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.jose.signing_keys import SigningKey

PASSWORD = "check-password-of-tests"
USERS = {"check": ("on", f">{PASSWORD}", *CHECK_ACL)}

Issue = Callable[..., str]


def environ(redis: RedisServer, **more: str) -> dict[str, str]:
    """Settings of a check service that uses `redis` with the rights it has in earnest."""
    return {
        "JWKS_VERIFICATION_KEY": SIGNER.verification_key,
        "REDIS_URL": redis.url(user="check"),
        "REDIS_PASSWORD": PASSWORD,
        **more,
    }


def publish(redis: RedisServer, *keys: SigningKey) -> None:
    """Publish these keys and no others."""
    with redis.client() as client:
        client.set(keyspace.JWKS, published(*keys))


def remember(redis: RedisServer, jti: str) -> None:
    """Make the token `jti` alive."""
    with redis.client() as client:
        client.set(keyspace.token(jti), "grant-1", ex=600)


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
def authz(redis: RedisServer) -> Iterator[AuthzProcess]:
    """A check service that is serving. Tests must not stop it."""
    with running_authz(environ(redis)) as service:
        service.wait_for_health("SERVING")
        yield service


_numbers = count(1)


@pytest.fixture
def issue(redis: RedisServer, key: SigningKey) -> Issue:
    """Issue a live token for the service `time`, but for what is changed."""

    def issue(**changes: Any) -> str:
        jti = changes.setdefault("jti", f"issued-{next(_numbers)}")
        remember(redis, jti)
        return mint(key, **changes)

    return issue
