"""Limits on calls that several processes of several replicas share in a real Redis, under load."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from oauth_core.store import keyspace
from oauth_core.store.client_cache.token_status import CHECK_ACL
from oauth_core.store.records.call_permits import LIMITS_ACL
from tests.support.authz_process import (
    CHECK,
    CONFIG,
    HASTY,
    PASSWORD,
    USERS,
    environ,
    publish,
    remember,
    running_authz,
)
from tests.support.check_messages import check_request, read_answer
from tests.support.envoy import running_envoy
from tests.support.programs import until
from tests.support.redis_server import running_redis
from tests.support.tokens import mint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.authz_process import AuthzProcess
    from tests.support.redis_server import RedisServer

_PATIENCE = 60.0
_CONNECTIONS = 4
"""To each replica: a connection stays at one worker."""


def limited(text: str) -> str:
    """The settings, with these limits of the service `time`."""
    return CONFIG.replace('name = "time"', f'name = "time"\n{text}', 1)


class Callers:
    """Sends calls of people to check services, over several connections to each."""

    def __init__(self, services: list[AuthzProcess], key: SigningKey, redis: RedisServer) -> None:
        self._key = key
        self._redis = redis
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [
            grpc.insecure_channel(service.address, options=options)
            for _ in range(_CONNECTIONS)
            for service in services
        ]
        self._calls: list[grpc.UnaryUnaryMultiCallable[bytes, bytes]] = [
            channel.unary_unary(CHECK) for channel in self._channels
        ]
        self._sent = 0

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def message(self, person: int) -> bytes:
        """A call of a person."""
        jti = f"shared-{person}"
        remember(self._redis, jti)
        return check_request(
            token=mint(self._key, sub=str(person), github_id=person, github_user=f"user-{person}", jti=jti)
        )

    def call(self, message: bytes, times: int) -> list[int]:
        """Send a message so many times, many at once, and return the statuses."""
        pending = []
        for _ in range(times):
            self._sent += 1
            call = self._calls[self._sent % len(self._calls)]
            pending.append(call.future(message, timeout=_PATIENCE, wait_for_ready=True))
        return [read_answer(one.result()).status for one in pending]

    def call_until_used_up(self, message: bytes, most: int) -> int:
        """Call until `most` calls have passed and all of a last round are refused. Return how many passed."""
        passed, deadline = 0, time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            statuses = self.call(message, 50)
            assert set(statuses) <= {200, 429}
            passed += statuses.count(200)
            if passed >= most and statuses.count(429) == len(statuses):
                break
        return passed


@contextmanager
def replicas(
    redis: RedisServer, key: SigningKey, text: str, *, number: int = 2, workers: int = 2, **more: str
) -> Iterator[tuple[Callers, list[AuthzProcess]]]:
    with ExitStack() as stack:
        services = [
            stack.enter_context(
                running_authz(environ(redis, AUTHZ_WORKERS=str(workers), **more), config=limited(text))
            )
            for _ in range(number)
        ]
        for service in services:
            service.wait_for_health("SERVING")
        callers = Callers(services, key, redis)
        stack.callback(callers.close)
        yield callers, services


@pytest.fixture
def own_redis(key: SigningKey) -> Iterator[RedisServer]:
    """A Redis that a test may stop."""
    with running_redis(password="admin-password-of-tests", users=USERS) as server:
        publish(server, key)
        yield server


@pytest.mark.parametrize("text", ['rate = "200/day"', 'quota = "200/day"'])
def test_all_workers_of_all_replicas_together_let_exactly_the_limit_pass(
    own_redis: RedisServer, key: SigningKey, text: str
) -> None:
    with replicas(own_redis, key, text) as (callers, _), ThreadPoolExecutor() as pool:
        people = [callers.message(person) for person in (1, 2, 3)]
        # A permit of such a rate comes back after seven minutes, which is longer than this may take.
        passed = list(pool.map(lambda message: callers.call_until_used_up(message, 200), people))
        assert passed == [200, 200, 200]
        assert callers.call(people[0], 40) == [429] * 40


def test_calls_that_pass_and_calls_that_are_refused_seldom_ask_redis(
    own_redis: RedisServer, key: SigningKey
) -> None:
    with replicas(own_redis, key, 'rate = "2000/day"', number=1, workers=1) as (callers, _):
        message = callers.message(1)
        assert callers.call(message, 1) == [200], "the token is known from now on"
        with own_redis.client() as client:
            before = asked(client)
            for _ in range(20):
                # Few at once: a slow machine refuses some of a thousand calls that all wait.
                assert callers.call(message, 50) == [200] * 50
            assert asked(client) - before <= 30, "a known token asks Redis for a batch of permits"
            assert callers.call_until_used_up(message, 999) == 999
            before = asked(client)
            for _ in range(10):
                assert callers.call(message, 50) == [429] * 50
            assert asked(client) - before <= 5, "and a refused caller does not ask each time"


def asked(client: Any) -> int:
    """How many times Redis has run a script."""
    about = client.info("commandstats")
    return int(about.get("cmdstat_evalsha", {}).get("calls", 0))


def test_permits_of_a_stopped_replica_go_back(own_redis: RedisServer, key: SigningKey) -> None:
    text = 'quota = "100/day"'
    with replicas(own_redis, key, text, number=1, workers=1) as (callers, services):
        message = callers.message(1)
        for _ in range(30):
            assert callers.call(message, 1) == [200]
        services[0].terminate()
    with replicas(own_redis, key, text, number=1, workers=1) as (callers, _):
        assert callers.call_until_used_up(message, 70) == 70


def test_a_faster_rate_helps_a_person_who_has_used_up_the_slower_one(
    own_redis: RedisServer, key: SigningKey
) -> None:
    with replicas(own_redis, key, 'rate = "5/day"', number=1, workers=1) as (callers, _):
        message = callers.message(1)
        assert callers.call_until_used_up(message, 5) == 5
    with replicas(own_redis, key, 'rate = "6000/minute"', number=1, workers=1) as (callers, _):
        deadline = time.monotonic() + _PATIENCE
        while callers.call(message, 1) != [200]:
            assert time.monotonic() < deadline, "the new rate gives a permit each hundredth of a second"


def test_each_worker_counts_alone_by_setting(own_redis: RedisServer, key: SigningKey) -> None:
    with replicas(own_redis, key, 'rate = "20/day"', number=2, workers=1, LIMIT_SCOPE="worker") as (callers, _):
        assert callers.call_until_used_up(callers.message(1), 40) == 40
        with own_redis.client() as client:
            assert client.keys(keyspace.CALL_PERMITS) == []


def test_a_worker_counts_alone_while_its_redis_user_may_not_count(key: SigningKey) -> None:
    rules = tuple(rule for rule in CHECK_ACL if rule != LIMITS_ACL)
    with running_redis(
        password="admin-password-of-tests", users={"check": ("on", f">{PASSWORD}", *rules)}
    ) as redis:
        publish(redis, key)
        with replicas(redis, key, 'rate = "20/day"', number=1, workers=1) as (callers, services):
            message = callers.message(1)
            assert callers.call_until_used_up(message, 20) == 20
            assert "call_limits.alone" in services[0].log_text()
            with redis.client() as client:
                client.execute_command("ACL", "SETUSER", "check", LIMITS_ACL)
            until(lambda: "call_limits.shared" in services[0].log_text(), "Redis counts")


def test_a_worker_counts_alone_until_a_full_redis_has_room_again(own_redis: RedisServer, key: SigningKey) -> None:
    with (
        replicas(own_redis, key, 'rate = "20/day"', number=1, workers=1) as (callers, services),
        own_redis.client() as client,
    ):
        message = callers.message(1)
        client.config_set("maxmemory", 1)
        assert callers.call(message, 10) == [200] * 10
        assert "call_limits.alone" in services[0].log_text()
        before, deadline = asked(client), time.monotonic() + _PATIENCE
        while asked(client) < before + 2:
            assert time.monotonic() < deadline, "it tries again whether Redis counts"
            callers.call(message, 1)
        assert "call_limits.shared" not in services[0].log_text()
        client.config_set("maxmemory", 0)
        until(lambda: "call_limits.shared" in services[0].log_text(), "Redis counts again")
        assert services[0].log_text().count("call_limits.alone") == 1


def test_a_flood_while_redis_is_away_gets_no_new_bucket(own_redis: RedisServer, key: SigningKey) -> None:
    with replicas(own_redis, key, 'rate = "60/day"', number=1, workers=1, **HASTY) as (callers, _):
        message = callers.message(1)
        first = callers.call(message, 40)
        assert first == [200] * 40
        own_redis.pause()
        statuses: set[int] = set()
        passed, deadline = 0, time.monotonic() + _PATIENCE
        # Until the status of the token is unknown, the worker counts on alone; afterwards no call passes.
        while 503 not in statuses:
            assert time.monotonic() < deadline
            found = callers.call(message, 20)
            passed += found.count(200)
            statuses |= set(found)
        own_redis.resume()
        assert passed <= 20
        later = [callers.call(message, 50).count(200) for _ in range(4)]
        assert 40 + passed + sum(later) <= 60, "what passed meanwhile is counted in Redis afterwards"


RUNAWAY, LIMIT = 1, 100
POLITE = range(2, 8)


def test_a_runaway_agent_cannot_use_up_a_service_that_others_need(
    own_redis: RedisServer, key: SigningKey, tmp_path: Path
) -> None:
    with running_authz(environ(own_redis, AUTHZ_WORKERS="2"), config=limited(f'rate = "{LIMIT}/day"')) as authz:
        authz.wait_for_health("SERVING")
        socket = authz.address.removeprefix("unix:")
        with running_envoy(tmp_path, socket, raw_headers=False) as envoy, ThreadPoolExecutor(16) as pool:
            others_are_done = Event()

            def token(person: int, agent: int) -> list[tuple[str, str]]:
                jti = f"{person}-{agent}"
                remember(own_redis, jti)
                minted = mint(
                    key,
                    sub=str(person),
                    github_id=person,
                    github_user=f"user-{person}",
                    jti=jti,
                    client_id=f"c-{agent}",
                )
                return [("Authorization", f"Bearer {minted}")]

            def run_away(agent: int) -> list[int]:
                headers = token(RUNAWAY, agent)
                statuses: list[int] = []
                while not (others_are_done.is_set() and 429 in statuses[-1:]):
                    statuses.append(envoy.post("/time/mcp", headers).status)
                return statuses

            def call_politely(person: int) -> list[int]:
                headers = token(person, 1)
                return [envoy.post("/time/mcp", headers).status for _ in range(LIMIT // 2)]

            # Eight agents of one person, each with a token and a client of its own.
            running = [pool.submit(run_away, agent) for agent in range(8)]
            polite = list(pool.map(call_politely, POLITE))
            others_are_done.set()
            statuses = [status for agent in running for status in agent.result()]
            assert polite == [[200] * (LIMIT // 2)] * len(POLITE), "no call of another person is refused"
            assert set(statuses) == {200, 429}
            assert statuses.count(200) <= LIMIT, "all agents of a person count together"
            refused = envoy.post("/time/mcp", token(RUNAWAY, 1))
            assert refused.status == 429
            assert int(refused.headers["retry-after"]) > 0
            assert refused.headers["content-type"] == "application/json"
