"""How the check service starts, refuses to start, and stops."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.support.authz_process import USERS, environ, publish, remember, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.redis_server import running_redis
from tests.support.tokens import mint

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.authz_process import AuthzProcess
    from tests.support.redis_server import RedisServer


def assert_refuses_to_start(authz: AuthzProcess, *words: str) -> None:
    assert authz.process.wait(60) == 2
    errors = [line for line in authz.log_text().splitlines() if not line.startswith("{")]
    assert all(line.startswith("ext_authz: ") for line in errors)
    assert len(errors) == len(words)
    for line, word in zip(errors, words, strict=True):
        assert word in line


def test_every_fault_in_the_settings_is_a_line_and_exit_2() -> None:
    with running_authz({"REDIS_TIMEOUT": "soon", "LOG_LEVEL": "loud"}) as authz:
        assert_refuses_to_start(authz, "log.level", "redis.timeout")


@pytest.mark.parametrize("url", ["nonsense", "http://user:secret@localhost", "redis://:secret@localhost:port"])
def test_an_invalid_redis_url_is_a_line_and_exit_2_and_is_not_repeated(url: str) -> None:
    with running_authz({"REDIS_URL": url}) as authz:
        assert_refuses_to_start(authz, "redis.url")
        assert "secret" not in authz.log_text()


@pytest.mark.parametrize(
    "address", ["nonsense", "unix:relative", "127.0.0.1", "127.0.0.1:port", "127.0.0.1:70000", ":9001", "a b:1"]
)
def test_an_invalid_listen_address_is_a_line_and_exit_2(address: str) -> None:
    with running_authz({"AUTHZ_LISTEN": address}) as authz:
        assert_refuses_to_start(authz, "check.listen")


def test_a_port_in_use_is_a_line_and_exit_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with running_authz({"AUTHZ_LISTEN": address}) as authz:
            assert_refuses_to_start(authz, f"cannot listen on {address}")


@pytest.mark.parametrize("address", ["unix:/no/such/folder/x.sock", "203.0.113.1:9001"])
def test_an_address_of_another_machine_is_a_line_and_exit_2(address: str) -> None:
    with running_authz({"AUTHZ_LISTEN": address}) as authz:
        assert_refuses_to_start(authz, f"cannot listen on {address}")


def test_it_listens_on_a_port_too(redis: RedisServer, key: SigningKey) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with running_authz(environ(redis, AUTHZ_LISTEN=address)) as authz:
        authz.wait_for_health("SERVING")
        assert read_answer(authz.check(check_request())).status == 401


def test_only_its_user_can_open_its_unix_socket(authz: AuthzProcess) -> None:
    path = Path(authz.address.removeprefix("unix:"))
    assert path.stat().st_mode & 0o077 == 0


def test_on_sigterm_it_finishes_calls_in_progress_and_exits_0(key: SigningKey) -> None:
    with running_redis(password="admin-password-of-tests", users=USERS) as redis:
        publish(redis, key)
        remember(redis, "jti-1")
        with running_authz(environ(redis)) as authz:
            authz.wait_for_health("SERVING")
            redis.pause()
            waiting = authz.start_check(check_request(token=mint(key)))
            # An answered call after it on the same connection shows that the first one is in progress.
            assert read_answer(authz.check(check_request())).status == 401
            authz.process.terminate()
            while "server.draining" not in authz.log_text():
                assert authz.process.poll() is None
            redis.resume()
            assert read_answer(waiting.result()).status == 200
            assert authz.process.wait(60) == 0


def test_on_sigterm_it_does_not_wait_for_ever(key: SigningKey) -> None:
    with running_redis(password="admin-password-of-tests", users=USERS) as redis:
        publish(redis, key)
        with running_authz(environ(redis)) as authz:
            authz.wait_for_health("SERVING")
            redis.pause()
            waiting = authz.start_check(check_request(token=mint(key)))
            assert read_answer(authz.check(check_request())).status == 401
            assert authz.terminate() == 0
            with pytest.raises(grpc.RpcError):
                waiting.result()
