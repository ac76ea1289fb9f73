"""Deadlines, cancelled calls, health watches, reflection and addresses, with a real gRPC client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from oauth_core.store import keyspace
from tests.support.authz_process import USERS, check_call, environ, publish, remember, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.ports import free_port
from tests.support.redis_server import running_redis
from tests.support.tokens import mint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.authz_process import AuthzProcess, Issue
    from tests.support.redis_server import RedisServer

HEALTH = health_pb2.HealthCheckResponse


@pytest.fixture
def slow_redis(key: SigningKey) -> Iterator[RedisServer]:
    """A Redis for one test, which pauses it."""
    with running_redis(password="admin-password-of-tests", users=USERS) as redis:
        publish(redis, key)
        remember(redis, "jti-1")
        yield redis


def test_a_call_past_its_deadline_ends_and_is_never_allowed(
    slow_redis: RedisServer, key: SigningKey, transport: str
) -> None:
    with running_authz(environ(slow_redis, AUTHZ_TRANSPORT=transport)) as authz:
        authz.wait_for_health("SERVING")
        slow_redis.pause()
        call = check_call(authz.channel)
        with pytest.raises(grpc.RpcError) as failure:
            call(check_request(token=mint(key)), timeout=0.3)
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # Redis is still silent, so it was the deadline. Other calls are answered meanwhile, and all calls
        # afterwards.
        assert read_answer(authz.check(check_request())).status == 401
        slow_redis.resume()
        assert read_answer(authz.check(check_request(token=mint(key)))).status == 200


def test_cancelled_waiting_calls_leave_no_state(slow_redis: RedisServer, key: SigningKey, transport: str) -> None:
    with running_authz(environ(slow_redis, AUTHZ_TRANSPORT=transport)) as authz:
        authz.wait_for_health("SERVING")
        slow_redis.pause()
        waiting = [authz.start_check(check_request(token=mint(key))) for _ in range(50)]
        assert read_answer(authz.check(check_request())).status == 401
        for call in waiting:
            call.cancel()
        slow_redis.resume()
        assert read_answer(authz.check(check_request(token=mint(key)))).status == 200
        assert "Traceback" not in authz.log_text()


def test_a_health_watch_reports_every_change(key: SigningKey, transport: str) -> None:
    with running_redis(password="admin-password-of-tests", users=USERS) as redis:
        publish(redis, key)
        with running_authz(environ(redis, AUTHZ_TRANSPORT=transport)) as authz:
            authz.wait_for_health("SERVING")
            stub = health_pb2_grpc.HealthStub(authz.channel)  # type: ignore[no-untyped-call]
            watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)
            assert next(watch).status == HEALTH.SERVING
            with redis.client() as client:
                client.delete(keyspace.JWKS)
            assert next(watch).status == HEALTH.NOT_SERVING
            publish(redis, key)
            assert next(watch).status == HEALTH.SERVING
            watch.cancel()
            assert authz.health() == "SERVING"


def test_a_watch_for_an_unknown_service_stays_open(authz: AuthzProcess) -> None:
    stub = health_pb2_grpc.HealthStub(authz.channel)  # type: ignore[no-untyped-call]
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=60)
    assert next(watch).status == HEALTH.SERVICE_UNKNOWN
    assert watch.is_active()
    watch.cancel()


def test_reflection_describes_the_service_on_transports_that_have_it(authz: AuthzProcess, transport: str) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(authz.channel)  # type: ignore[no-untyped-call]
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="envoy.service.auth.v3.Authorization"),
    ]
    answers = stub.ServerReflectionInfo(iter(questions), timeout=60)
    if transport == "http2":
        with pytest.raises(grpc.RpcError) as failure:
            next(answers)
        assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED
        return
    services, file = answers
    names = {service.name for service in services.list_services_response.service}
    assert names >= {"envoy.service.auth.v3.Authorization", "grpc.health.v1.Health"}
    assert b"CheckRequest" in file.file_descriptor_response.file_descriptor_proto[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_listens_on_a_port(redis: RedisServer, issue: Issue, transport: str, host: str) -> None:
    more = {"AUTHZ_LISTEN": f"{host}:{free_port()}", "AUTHZ_TRANSPORT": transport, "AUTHZ_WORKERS": "2"}
    with running_authz(environ(redis, **more)) as authz:
        authz.wait_for_health("SERVING")
        assert read_answer(authz.check(check_request(token=issue()))).status == 200


def test_any_metadata_is_accepted(authz: AuthzProcess, issue: Issue) -> None:
    metadata = (("authorization", "Bearer other"), ("x-bin-bin", b"\0\xff"), ("grpc-trace-bin", b"\0" * 29))
    assert read_answer(authz.check(check_request(token=issue()), metadata=metadata)).status == 200
    assert read_answer(authz.check(check_request(), metadata=metadata)).status == 401


def test_the_service_under_test_uses_the_transport_of_this_run(authz: AuthzProcess, transport: str) -> None:
    listening = next(event for event in authz.log() if event["event"] == "server.listening")
    ready = next(event for event in authz.log() if event["event"] == "worker.ready")
    assert listening["transport"] == transport
    mapped = Path(f"/proc/{ready['pid']}/maps").read_text(encoding="utf-8")
    assert ("cygrpc" in mapped) == (transport == "grpcio")
