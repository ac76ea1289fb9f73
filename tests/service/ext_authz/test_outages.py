"""The check service while Redis is away, slow, empty or changed: every token is unknown, and passes again
afterwards.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from oauth_core.store import keyspace
from tests.support.authz_process import (
    HASTY,
    PATIENT,
    USERS,
    AuthzProcess,
    environ,
    publish,
    remember,
    running_authz,
)
from tests.support.check_messages import Answer, check_request, read_answer
from tests.support.redis_server import RedisServer, running_redis
from tests.support.tokens import mint, new_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.jose.signing_keys import SigningKey


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for one test, without keys."""
    with running_redis(password="admin-password-of-tests", users=USERS) as server:
        yield server


@pytest.fixture
def own_authz(own_redis: RedisServer, key: SigningKey) -> Iterator[AuthzProcess]:
    """A check service for one test, serving, with a short deadline for Redis."""
    publish(own_redis, key)
    remember(own_redis, "jti-1")
    with running_authz(environ(own_redis, **HASTY)) as service:
        service.wait_for_health("SERVING")
        yield service


def ask(authz: AuthzProcess, token: str | None) -> Answer:
    return read_answer(authz.check(check_request(token=token)))


def known(authz: AuthzProcess, token: str) -> int:
    """The status of the first answer that came from Redis: on a busy machine it may be late."""
    deadline = time.monotonic() + 60
    while (status := ask(authz, token).status) == 503:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return status


def assert_unknown(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.grpc_code == 14
    assert int(answer.headers["retry-after"]) > 0
    assert "www-authenticate" not in answer.headers


def wait_for_status(authz: AuthzProcess, token: str, status: int) -> Answer:
    """The first answer of that status. A cached status may be used for a moment, and no longer."""
    deadline = time.monotonic() + 60
    while (answer := ask(authz, token)).status != status:
        assert time.monotonic() < deadline, f"still {answer.status}"
        time.sleep(0.02)
    return answer


def test_a_token_is_unknown_while_redis_is_down_and_active_again_afterwards(
    own_authz: AuthzProcess, own_redis: RedisServer, key: SigningKey
) -> None:
    token = mint(key)
    assert known(own_authz, token) == 200
    own_redis.kill()
    assert_unknown(wait_for_status(own_authz, token, 503))
    own_authz.wait_for_health("NOT_SERVING")
    assert_unknown(ask(own_authz, token))
    assert ask(own_authz, None).status == 401, "a client without a token is still sent to sign in"
    own_redis.start()
    publish(own_redis, key)
    remember(own_redis, "jti-1")
    own_authz.wait_for_health("SERVING")
    assert known(own_authz, token) == 200


def test_a_silent_redis_makes_tokens_unknown_within_the_deadline_and_answers_are_not_mixed_up(
    own_authz: AuthzProcess, own_redis: RedisServer, key: SigningKey
) -> None:
    live, dead = mint(key, jti="jti-1"), mint(key, jti="jti-dead")
    assert known(own_authz, live) == 200
    own_redis.pause()
    try:
        wait_for_status(own_authz, live, 503)
        # Each of these leaves a command behind whose late answer must be dropped.
        waiting = [own_authz.start_check(check_request(token=live)) for _ in range(5)]
        for answer in waiting:
            assert_unknown(read_answer(answer.result()))
        own_authz.wait_for_health("NOT_SERVING")
    finally:
        own_redis.resume()
    own_authz.wait_for_health("SERVING")
    assert [known(own_authz, token) for token in (dead, live) * 10] == [401, 200] * 10


def test_an_emptied_redis_revokes_every_token(
    own_authz: AuthzProcess, own_redis: RedisServer, key: SigningKey
) -> None:
    with own_redis.client() as client:
        client.flushall()
    publish(own_redis, key)
    own_authz.wait_for_health("SERVING")
    assert known(own_authz, mint(key)) == 401


@pytest.mark.parametrize("document", [None, "", "{}", '{"keys":[{}]}', '{"keys":7}', "[]", b"\xff\xfe"])
def test_without_usable_keys_every_check_is_unknown(
    own_authz: AuthzProcess, own_redis: RedisServer, key: SigningKey, document: str | bytes | None
) -> None:
    with own_redis.client() as client:
        if document is None:
            client.delete(keyspace.JWKS)
        else:
            client.set(keyspace.JWKS, document)
    own_authz.wait_for_health("NOT_SERVING")
    assert_unknown(ask(own_authz, mint(key)))
    assert_unknown(ask(own_authz, None))
    publish(own_redis, key)
    own_authz.wait_for_health("SERVING")
    assert known(own_authz, mint(key)) == 200


@pytest.mark.parametrize("bound", [HASTY, PATIENT], ids=["the usual bound", "the longest bound"])
def test_it_starts_without_redis_and_serves_once_redis_and_keys_are_available(
    key: SigningKey, bound: dict[str, str]
) -> None:
    with running_redis(password="admin-password-of-tests", users=USERS) as redis:
        redis.kill()
        with running_authz(environ(redis, **bound)) as authz:
            authz.wait_for_health("NOT_SERVING")
            assert_unknown(ask(authz, mint(key)))
            redis.start()
            assert_unknown(ask(authz, mint(key)))
            remember(redis, "jti-1")
            publish(redis, key)
            authz.wait_for_health("SERVING")
            assert known(authz, mint(key)) == 200


def test_a_token_of_a_new_key_passes_at_once(
    own_authz: AuthzProcess, own_redis: RedisServer, key: SigningKey
) -> None:
    newer = new_key()
    publish(own_redis, key, newer)
    assert {known(own_authz, mint(each)) for each in (key, newer)} == {200}


def test_a_key_removed_from_the_ring_is_no_longer_trusted(
    own_authz: AuthzProcess, own_redis: RedisServer, key: SigningKey
) -> None:
    newer = new_key()
    publish(own_redis, newer)
    assert known(own_authz, mint(newer)) == 200, "the new ring has been read"
    assert known(own_authz, mint(key)) == 401


def test_a_token_of_an_unknown_key_is_unknown_while_the_ring_cannot_be_read(
    own_authz: AuthzProcess, own_redis: RedisServer
) -> None:
    own_redis.kill()
    assert_unknown(ask(own_authz, mint(new_key())))


def test_a_wrong_redis_password_is_an_outage_and_is_not_logged(own_redis: RedisServer) -> None:
    with running_authz(environ(own_redis, **HASTY) | {"REDIS_PASSWORD": "not-the-password"}) as authz:
        authz.wait_for_health("NOT_SERVING")
        assert_unknown(ask(authz, "abc"))
        assert "not-the-password" not in authz.log_text()
