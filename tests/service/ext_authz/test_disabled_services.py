"""Disabling a service and enabling it again, as callers of a running check service see it (rows R66 and R69)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from ext_authz.decision.disabled_services import DisabledServices
from oauth_core.errors import StoreUnavailableError
from oauth_core.policy.decision import Disabled, ServiceStatus
from oauth_core.store import keyspace
from oauth_core.store.records.disabled_services import DisabledServiceStore
from tests.support.authz_process import USERS, AuthzProcess, environ, publish, remember, running_authz
from tests.support.check_messages import Answer, check_request, read_answer
from tests.support.redis_server import RedisServer, running_redis
from tests.support.tokens import NOTES, TIME, mint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.jose.signing_keys import SigningKey

REPAIRS = Disabled("Repairs.", since=1)
BOTH = {"aud": (TIME, NOTES), "scope": "mcp.time mcp.notes"}


@pytest.fixture(scope="module")
def own_redis(key: SigningKey) -> Iterator[RedisServer]:
    """A Redis for this module."""
    with running_redis(password="admin-password-of-tests", users=USERS) as server:
        publish(server, key)
        remember(server, "jti-1")
        yield server


@pytest.fixture(scope="module")
def replicas(own_redis: RedisServer) -> Iterator[tuple[AuthzProcess, AuthzProcess]]:
    """Two check services of one gateway."""
    with running_authz(environ(own_redis)) as one, running_authz(environ(own_redis)) as other:
        for service in (one, other):
            service.wait_for_health("SERVING")
        yield one, other


def ask(authz: AuthzProcess, **request: Any) -> Answer:
    return read_answer(authz.check(check_request(**request)))


def change(redis: RedisServer, how: str, *arguments: Any) -> Any:
    """Call a method of the operator's store."""

    async def run() -> Any:
        client = Redis.from_url(redis.url(), password=redis.password, decode_responses=True)
        try:
            return await getattr(DisabledServiceStore(client), how)(*arguments)
        finally:
            await client.aclose()

    return asyncio.run(run())


def wait_for(authz: AuthzProcess, status: int, **request: Any) -> Answer:
    deadline = time.monotonic() + 60
    while (answer := ask(authz, **request)).status != status:
        assert time.monotonic() < deadline, f"still {answer.status}"
        time.sleep(0.01)
    return answer


def test_a_disabled_service_is_503_on_every_replica_and_the_same_token_works_once_it_is_enabled(
    replicas: tuple[AuthzProcess, AuthzProcess], own_redis: RedisServer, key: SigningKey
) -> None:
    token = mint(key, **BOTH)
    for replica in replicas:
        assert ask(replica, token=token).status == 200
    change(own_redis, "disable", "time", REPAIRS)
    for replica in replicas:
        answer = wait_for(replica, 503, token=token)
        assert answer.error == "service_disabled"
        assert answer.json["error"]["message"] == "The service is disabled: Repairs."
        assert int(answer.headers["retry-after"]) > 0
        assert "www-authenticate" not in answer.headers
        assert ask(replica).status == 503, "no client is sent to sign in without need"
        assert ask(replica, token=token, path="/notes/mcp").status == 200
    assert change(own_redis, "enable", "time") is True
    for replica in replicas:
        wait_for(replica, 200, token=token)
    assert change(own_redis, "enable", "time") is False


def test_a_new_check_service_reads_disabled_services_at_the_start_and_keeps_them_in_an_outage(
    own_redis: RedisServer, key: SigningKey
) -> None:
    token = mint(key, **BOTH)
    change(own_redis, "disable", "time", REPAIRS)
    try:
        with running_authz(environ(own_redis)) as late:
            late.wait_for_health("SERVING")
            assert ask(late, token=token).error == "service_disabled"
            with own_redis.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
            deadline = time.monotonic() + 0.5
            while time.monotonic() < deadline:
                assert ask(late, token=token).error == "service_disabled"
    finally:
        change(own_redis, "enable", "time")


@pytest.mark.parametrize("document", ["", "[]", '{"time": 1}', '{"time": {"reason": "x"}}', b"\xff"])
def test_an_unreadable_document_closes_every_service_and_a_readable_one_opens_them(
    replicas: tuple[AuthzProcess, AuthzProcess], own_redis: RedisServer, key: SigningKey, document: str | bytes
) -> None:
    token = mint(key, **BOTH)
    with own_redis.client() as client:
        client.set(keyspace.DISABLED_SERVICES, document)
        try:
            for path in ("/time/mcp", "/notes/mcp"):
                wait_for(replicas[0], 503, token=token, path=path)
        finally:
            client.delete(keyspace.DISABLED_SERVICES)
    for replica in replicas:
        wait_for(replica, 200, token=token)


async def test_concurrent_changes_by_operators_are_all_kept(own_redis: RedisServer) -> None:
    clients = [
        Redis.from_url(own_redis.url(), password=own_redis.password, decode_responses=True) for _ in range(4)
    ]
    try:
        stores = [DisabledServiceStore(client) for client in clients]
        await asyncio.gather(*(store.disable(f"s{n}", REPAIRS) for n, store in enumerate(stores)))
        assert set(await stores[0].read()) == {"s0", "s1", "s2", "s3"}
        await asyncio.gather(*(store.enable(f"s{n}") for n, store in enumerate(stores)))
        assert await stores[0].read() == {}
        assert await clients[0].exists(keyspace.DISABLED_SERVICES) == 0
    finally:
        for client in clients:
            await client.aclose()


class ControlledDocument:
    """A document under the test's control."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.is_current = True
        self.says: str | Exception | None = None

    async def read(self) -> str | None:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


async def test_while_redis_is_silent_a_disabled_service_stays_disabled_and_an_enabled_one_is_unknown() -> None:
    source = ControlledDocument()
    services = DisabledServices(source, bound=1)
    assert services.service_status("time") is ServiceStatus.UNKNOWN, "before the first read"
    source.says = '{"time": {"reason": "x", "since": 1}}'
    await services.read()
    source.says, source.is_current = StoreUnavailableError("silence"), False
    await services.read()
    assert services.service_status("time") == Disabled("x", 1)
    assert services.service_status("notes") is ServiceStatus.UNKNOWN
    source.says, source.is_current = None, True
    await services.read()
    assert services.service_status("time") is ServiceStatus.OPEN
