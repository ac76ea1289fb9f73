"""Workers: their number, their replacement after a crash or a hang, and their end after that of the parent."""

from __future__ import annotations

import os
import resource
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.service.transports.load import calling
from tests.service.transports.workers import ready, two_workers
from tests.support.authz_process import check_call, environ, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.ports import free_port
from tests.support.processes import alive, children_of
from tests.support.programs import until

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

_HANG_SECONDS = 4


def ask(path: str) -> str | None:
    """Ask without a token on a new connection. Return `None` if the answer is the right one."""
    with grpc.insecure_channel(path, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer = check_call(channel)(check_request(), timeout=60)
    status = read_answer(answer).status
    return None if status == 401 else f"{status}"


def answers(address: str) -> bool:
    return ask(address) is None


def test_the_first_worker_has_the_path_itself_and_the_next_a_numbered_one(
    redis: RedisServer, transport: str
) -> None:
    with two_workers(redis, transport) as authz:
        assert ask(authz.address) is None
        assert ask(f"{authz.address}.1") is None
        assert Path(f"{authz.address}.1".removeprefix("unix:")).stat().st_mode & 0o077 == 0


def test_each_worker_can_have_its_own_address(redis: RedisServer, transport: str) -> None:
    addresses = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    with running_authz(
        environ(redis, AUTHZ_TRANSPORT=transport, AUTHZ_LISTEN=",".join(addresses), AUTHZ_WORKERS="2")
    ) as authz:
        until(lambda: len(ready(authz)) == 2)
        for address in addresses:
            until(partial(answers, address))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_crashed_worker_is_replaced_while_the_other_serves(
    redis: RedisServer, transport: str, number: signal.Signals
) -> None:
    with two_workers(redis, transport) as authz, calling(lambda: ask(f"{authz.address}.1")) as tally:
        tally.wait_for(20)
        _, pid = ready(authz)[0]
        os.kill(pid, number)
        until(lambda: len(ready(authz)) == 3)
        assert ready(authz)[2][0] == 0
        assert ask(authz.address) is None
        tally.wait_for(20)
    assert tally.bad == []


def test_a_hung_worker_is_replaced_while_the_other_serves(redis: RedisServer, transport: str) -> None:
    with (
        two_workers(redis, transport, AUTHZ_HANG_SECONDS=str(_HANG_SECONDS)) as authz,
        calling(lambda: ask(f"{authz.address}.1")) as tally,
    ):
        _, pid = ready(authz)[0]
        os.kill(pid, signal.SIGSTOP)
        until(lambda: len(ready(authz)) == 3)
        assert "worker.hung" in authz.log_text()
        assert not alive(pid)
        assert ask(authz.address) is None
        tally.wait_for(20)
    assert tally.bad == []


def test_a_busy_or_idle_worker_does_not_count_as_hung(redis: RedisServer, transport: str) -> None:
    # A worker sends a heartbeat several times a second. If the machine gives it no time for this long, it
    # counts as hung.
    with two_workers(redis, transport, AUTHZ_HANG_SECONDS=str(_HANG_SECONDS)) as authz:
        until = time.monotonic() + 1.5 * _HANG_SECONDS
        with calling(lambda: ask(authz.address)) as tally:
            while time.monotonic() < until:
                tally.wait_for(20)
        assert len(ready(authz)) == 2


def test_a_worker_that_could_not_be_started_is_started_later_while_the_other_serves(
    redis: RedisServer, transport: str
) -> None:
    with two_workers(redis, transport) as authz:
        _, pid = ready(authz)[0]
        limits = resource.prlimit(authz.process.pid, resource.RLIMIT_NOFILE)
        # No further descriptor fits, so that neither a socket pair nor a process can be made.
        resource.prlimit(authz.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        os.kill(pid, signal.SIGKILL)
        until(lambda: "a worker could not be started" in authz.log_text())
        assert ask(f"{authz.address}.1") is None
        resource.prlimit(authz.process.pid, resource.RLIMIT_NOFILE, limits)
        until(lambda: len(ready(authz)) == 3)
        assert ask(authz.address) is None
        assert authz.process.poll() is None


def test_workers_end_when_their_parent_has_ended(redis: RedisServer, transport: str) -> None:
    with two_workers(redis, transport) as authz:
        pids = [pid for _, pid in ready(authz)]
        os.kill(pids[1], signal.SIGSTOP)
        authz.process.kill()
        until(lambda: not any(map(alive, pids)))


def test_after_sigterm_neither_a_process_nor_a_file_is_left(redis: RedisServer, transport: str) -> None:
    with two_workers(redis, transport) as authz:
        pids = [pid for _, pid in ready(authz)] + children_of(authz.process.pid)
        folder = Path(authz.address.removeprefix("unix:")).parent
        assert authz.terminate() == 0
        assert not any(map(alive, pids))
        assert list(folder.glob("authz.sock*")) == []


def test_a_second_check_service_cannot_use_the_same_address(redis: RedisServer, transport: str) -> None:
    for address in (f"127.0.0.1:{free_port()}", None):
        more = {"AUTHZ_LISTEN": address} if address else {}
        with two_workers(redis, transport, **more) as first:
            taken = environ(redis, AUTHZ_LISTEN=first.address, AUTHZ_TRANSPORT=transport)
            with running_authz(taken) as second:
                assert second.process.wait(60) == 2
                assert f"cannot listen on {first.address}" in second.log_text()
            assert ask(first.address) is None


def test_invalid_new_settings_keep_the_workers(redis: RedisServer, transport: str) -> None:
    with two_workers(redis, transport) as authz:
        before = ready(authz)
        config = Path(authz.address.removeprefix("unix:")).parent / "portcullis.toml"
        config.write_text('issuer = "nonsense"\n', encoding="utf-8")
        authz.process.send_signal(signal.SIGHUP)
        until(lambda: "workers.not_replaced" in authz.log_text())
        assert ready(authz) == before
        assert ask(authz.address) is None
