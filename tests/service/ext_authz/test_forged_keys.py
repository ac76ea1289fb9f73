"""An attacker with write access to Redis, but without a master key, cannot sign tokens that a check service
accepts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oauth_core.jose.jwk_set_signature import KeySetSigner
from oauth_core.jose.signing_keys import public_jwks
from oauth_core.store import keyspace
from tests.support.authz_process import USERS, environ, publish, remember, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.master_key import SIGNER, published
from tests.support.redis_server import running_redis
from tests.support.tokens import mint, new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.authz_process import AuthzProcess
    from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    with running_redis(password="admin-password-of-tests", users=USERS) as server:
        yield server


@pytest.fixture(scope="module")
def service(own_redis: RedisServer) -> Iterator[AuthzProcess]:
    publish(own_redis, new_key())
    with running_authz(environ(own_redis)) as process:
        process.wait_for_health("SERVING")
        yield process


FORGERIES: dict[str, Callable[[SigningKey], str]] = {
    "a plain key set": lambda key: public_jwks([key]),
    "a key set signed with another master key": lambda key: published(key, signer=KeySetSigner(bytes(32))),
    "an older key set of ours": lambda key: SIGNER.sign(public_jwks([key]), version=1),
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES)
def test_a_key_that_an_attacker_wrote_to_redis_signs_no_accepted_token(
    own_redis: RedisServer, service: AuthzProcess, forged: Callable[[SigningKey], str]
) -> None:
    key, attacker = new_key(), new_key()
    publish(own_redis, key)
    service.wait_for_health("SERVING")
    remember(own_redis, "good")
    remember(own_redis, "evil")
    good, evil = mint(key, jti="good"), mint(attacker, jti="evil")
    assert read_answer(service.check(check_request(token=good))).status == 200
    with own_redis.client() as client:
        client.set(keyspace.JWKS, forged(attacker))
        client.set(keyspace.PLAIN_JWKS, public_jwks([key, attacker]))
    service.wait_for_health("NOT_SERVING")
    assert read_answer(service.check(check_request(token=evil))).status == 503
    publish(own_redis, key)
    service.wait_for_health("SERVING")
    assert read_answer(service.check(check_request(token=good))).status == 200
    assert read_answer(service.check(check_request(token=evil))).status == 401


def test_the_unsigned_key_set_for_check_services_of_the_former_version_is_not_trusted(
    own_redis: RedisServer, service: AuthzProcess
) -> None:
    key, attacker = new_key(), new_key()
    publish(own_redis, key)
    service.wait_for_health("SERVING")
    for jti in ("good", "evil"):
        remember(own_redis, jti)
    with own_redis.client() as client:
        client.set(keyspace.PLAIN_JWKS, public_jwks([attacker]))
    assert read_answer(service.check(check_request(token=mint(attacker, jti="evil")))).status == 401
    assert read_answer(service.check(check_request(token=mint(key, jti="good")))).status == 200
    with own_redis.client() as client:
        client.delete(keyspace.JWKS)
    service.wait_for_health("NOT_SERVING")
    assert read_answer(service.check(check_request(token=mint(attacker, jti="evil")))).status == 503
