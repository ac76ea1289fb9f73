"""Workers: as many as asked for, replaced when they die or hang, and gone when their parent is."""

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
from tests.support.processes import alive
from tests.support.programs import until

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

_HANG_SECONDS = 4


def ask(path: str) -> str | None:
    """Ask without a token on a connection of its own; `None` when the answer is the right one."""
    with grpc.insecure_channel(path, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer = check_call(channel)(check_request(), timeout=60)
    status = read_answer(answer).status
    return None if status == 401 else f"{status}"


def answers(address: str) -> bool:
    return ask(address) is None


def test_the_first_worker_has_the_path_itself_and_the_next_its_own(redis: RedisServer, transport: str) -> None:
    with two_workers(redis, transport) as authz:
        assert ask(authz.address) is None
        assert ask(f"{authz.address}.1") is None
        assert Path(f"{authz.address}.1".removeprefix("unix:")).stat().st_mode & 0o077 == 0


def test_each_worker_can_have_an_address_of_its_own(redis: RedisServer, transport: str) -> None:
    addresses = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    with running_authz(
        environ(redis, AUTHZ_TRANSPORT=transport, AUTHZ_LISTEN=",".join(addresses), AUTHZ_WORKERS="2")
    ) as authz:
        until(lambda: len(ready(authz)) == 2)
        for address in addresses:
            until(partial(answers, address))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_is_replaced_while_the_other_serves(
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


def test_a_worker_that_hangs_is_replaced_while_the_other_serves(redis: RedisServer, transport: str) -> None:
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


def test_a_worker_that_is_busy_or_idle_does_not_hang(redis: RedisServer, transport: str) -> None:
    # A worker beats several times a second. Where the machine leaves one without a turn for so long, it has hung.
    with two_workers(redis, transport, AUTHZ_HANG_SECONDS=str(_HANG_SECONDS)) as authz:
        until = time.monotonic() + 1.5 * _HANG_SECONDS
        with calling(lambda: ask(authz.address)) as tally:
            while time.monotonic() < until:
                tally.wait_for(20)
        assert len(ready(authz)) == 2


def test_a_worker_that_cannot_be_made_for_a_while_is_made_later_and_the_other_serves(
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


def test_without_their_parent_workers_do_not_stay(redis: RedisServer, transport: str) -> None:
    with two_workers(redis, transport) as authz:
        pids = [pid for _, pid in ready(authz)]
        os.kill(pids[1], signal.SIGSTOP)
        authz.process.kill()
        until(lambda: not any(map(alive, pids)))


def test_told_to_stop_it_leaves_neither_process_nor_file(redis: RedisServer, transport: str) -> None:
    with two_workers(redis, transport) as authz:
        pids = [pid for _, pid in ready(authz)]
        folder = Path(authz.address.removeprefix("unix:")).parent
        assert authz.terminate() == 0
        assert not any(map(alive, pids))
        assert list(folder.glob("authz.sock*")) == []


def test_a_second_check_service_does_not_share_the_address(redis: RedisServer, transport: str) -> None:
    for address in (f"127.0.0.1:{free_port()}", None):
        more = {"AUTHZ_LISTEN": address} if address else {}
        with two_workers(redis, transport, **more) as first:
            taken = environ(redis, AUTHZ_LISTEN=first.address, AUTHZ_TRANSPORT=transport)
            with running_authz(taken) as second:
                assert second.process.wait(60) == 2
                assert f"cannot listen on {first.address}" in second.log_text()
            assert ask(first.address) is None


def test_settings_that_no_longer_work_leave_the_workers_in_place(redis: RedisServer, transport: str) -> None:
    with two_workers(redis, transport) as authz:
        before = ready(authz)
        config = Path(authz.address.removeprefix("unix:")).parent / "portcullis.toml"
        config.write_text('issuer = "nonsense"\n', encoding="utf-8")
        authz.process.send_signal(signal.SIGHUP)
        until(lambda: "workers.not_replaced" in authz.log_text())
        assert ready(authz) == before
        assert ask(authz.address) is None
