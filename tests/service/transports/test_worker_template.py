"""Workers are forks of a template: they do not depend on it, and share only the output of their parent."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.service.transports.load import calling
from tests.service.transports.workers import ready, two_workers
from tests.support.check_messages import check_request, read_answer
from tests.support.processes import alive, children_of
from tests.support.programs import until

if TYPE_CHECKING:
    from tests.support.authz_process import AuthzProcess
    from tests.support.redis_server import RedisServer


def template_of(authz: AuthzProcess) -> int:
    """The child of the check service that is no worker."""
    (template,) = set(children_of(authz.process.pid)) - {pid for _, pid in ready(authz)}
    return template


def own_files(pid: int) -> set[str]:
    """The open files of a process besides the standard ones: files by their paths, sockets by their numbers."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if int(entry.name) > 2:
            target = str(entry.readlink())
            found |= {target} if target.startswith(("/", "socket:", "pipe:")) else set()
    return found - {"/dev/null", "/dev/urandom"}


def is_answered(authz: AuthzProcess) -> str | None:
    """`None` if a call without a token is refused, as it must be."""
    status = read_answer(authz.check(check_request())).status
    return None if status == 401 else f"{status}"


def died(authz: AuthzProcess) -> list[int]:
    return [event["exit_code"] for event in authz.log() if event["event"] == "worker.died"]


def test_a_worker_is_a_child_of_the_check_service_and_has_a_session_of_its_own(
    redis: RedisServer, transport: str
) -> None:
    with two_workers(redis, transport) as authz:
        pids = [pid for _, pid in ready(authz)]
        assert set(pids) < set(children_of(authz.process.pid))
        assert [os.getsid(pid) for pid in pids] == pids
        assert os.getsid(template_of(authz)) == template_of(authz)


def test_a_worker_and_the_template_have_no_file_of_the_check_service_itself(
    redis: RedisServer, transport: str, tmp_path: Path
) -> None:
    with two_workers(redis, transport, AUDIT_DIR=str(tmp_path / "audit")) as authz:
        parent = own_files(authz.process.pid)
        assert any(str(tmp_path) in name for name in parent)
        for pid in (template_of(authz), *(pid for _, pid in ready(authz))):
            assert own_files(pid).isdisjoint(parent)
        (first, second) = (own_files(pid) for _, pid in ready(authz))
        assert first.isdisjoint(second)


def test_a_worker_that_is_killed_is_reported_with_its_signal(redis: RedisServer, transport: str) -> None:
    with two_workers(redis, transport) as authz:
        os.kill(ready(authz)[1][1], signal.SIGKILL)
        until(lambda: len(ready(authz)) == 3)
        assert died(authz) == [-signal.SIGKILL]


def test_workers_outlive_the_template_and_are_replaced_without_it(redis: RedisServer, transport: str) -> None:
    with two_workers(redis, transport) as authz:
        template, workers = template_of(authz), [pid for _, pid in ready(authz)]
        with calling(lambda: is_answered(authz)) as tally:
            os.kill(template, signal.SIGKILL)
            until(lambda: not alive(template))
            tally.wait_for(20)
        assert tally.bad == []
        assert all(map(alive, workers))
        os.kill(workers[1], signal.SIGKILL)
        until(lambda: len(ready(authz)) == 3)
        assert "workers.template_gone" in authz.log_text()
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: len(ready(authz)) == 4)
        assert is_answered(authz) is None
        assert authz.terminate() == 0


def test_a_frozen_template_does_not_keep_a_worker_from_being_replaced(redis: RedisServer) -> None:
    with two_workers(redis, "http2") as authz:
        template = template_of(authz)
        os.kill(template, signal.SIGSTOP)
        os.kill(ready(authz)[1][1], signal.SIGKILL)
        until(lambda: len(ready(authz)) == 3)
        assert is_answered(authz) is None
        assert not alive(template)
        assert authz.terminate() == 0
