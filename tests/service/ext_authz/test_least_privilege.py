"""The check service's Redis user has only the rights that the service needs."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from oauth_core.store import keyspace
from tests.support.authz_process import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer


@pytest.fixture
def as_check(redis: RedisServer) -> Iterator[Redis]:
    """A connection with the rights of the check service."""
    with closing(Redis(unix_socket_path=str(redis.socket), username="check", password=PASSWORD)) as client:
        yield client


def test_it_can_look_up_tokens_and_read_the_public_keys(as_check: Redis) -> None:
    assert as_check.exists(keyspace.token("nobody")) == 0
    assert as_check.get(keyspace.JWKS)
    assert as_check.get(keyspace.DISABLED_SERVICES) is None
    assert as_check.ping()


def test_it_can_receive_invalidations_of_keys_that_it_read(as_check: Redis) -> None:
    assert as_check.execute_command("CLIENT", "TRACKING", "OFF") == b"OK"  # type: ignore[no-untyped-call]
    assert as_check.pttl(keyspace.token("nobody")) == -2


@pytest.mark.parametrize(
    "command",
    [
        ("SET", keyspace.token("mine"), "grant"),
        ("DEL", keyspace.token("mine")),
        ("EXPIRE", keyspace.token("mine"), "1"),
        ("SET", keyspace.JWKS, "{}"),
        ("DEL", keyspace.DISABLED_SERVICES),
        ("SET", keyspace.DISABLED_SERVICES, "{}"),
        ("GET", keyspace.KEYRING),
        ("EXISTS", keyspace.client("x")),
        ("HGETALL", keyspace.grant("x")),
        ("GET", keyspace.grant("x")),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "requirepass"),
        ("ACL", "LIST"),
        ("EVAL", "return 1", "0"),
        ("PUBLISH", "x", "y"),
        ("SUBSCRIBE", "x"),
        ("SUBSCRIBE", "__redis__:invalidate"),
        ("CLIENT", "LIST"),
        ("CLIENT", "KILL", "ID", "1"),
        ("CLIENT", "PAUSE", "1"),
        ("PTTL", keyspace.client("x")),
        ("MONITOR",),
        ("SHUTDOWN",),
    ],
    ids=" ".join,
)
def test_every_other_command_is_denied(as_check: Redis, command: tuple[Any, ...]) -> None:
    with pytest.raises(NoPermissionError):
        as_check.execute_command(*command)  # type: ignore[no-untyped-call]
