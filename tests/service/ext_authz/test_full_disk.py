"""The audit log on a full disk: no call is allowed without a line, and old log files are deleted to make room."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from portcullis.supervisor.log_files import LogFiles
from tests.support.authz_process import environ, remember, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.programs import until
from tests.support.small_disk import fill, small_disk
from tests.support.tokens import mint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.redis_server import RedisServer


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(2) as folder:
        yield folder


def test_calls_are_refused_while_nothing_can_be_recorded_and_allowed_once_old_files_are_deleted(
    redis: RedisServer, key: SigningKey, disk: Path
) -> None:
    remember(redis, "jti-full")
    message = check_request(token=mint(key, jti="jti-full"))
    logs = LogFiles(disk, 1024 * 1024 * 1024)
    log = logs.path_of("ext_authz", follows=True)
    for number in range(1, 6):
        log.with_name(f"ext_authz.log.{number}").write_bytes(b"o" * 100_000)
    with running_authz(environ(redis, LOG_FILE=str(log))) as authz:
        authz.wait_for_health("SERVING")
        statuses = [read_answer(authz.check(message)).status]
        assert statuses == [200]
        filler = fill(disk)

        def is_refused() -> bool:
            statuses.append(read_answer(authz.check(message)).status)
            return statuses[-1] == 503

        until(is_refused, "a refusal, since there is no room")
        statuses += [read_answer(authz.check(message)).status for _ in range(20)]
        (sentence,) = logs.rotate()
        assert "deleted ext_authz.log.5, ext_authz.log.4, ext_authz.log.3, ext_authz.log.2" in sentence
        assert log.with_name("ext_authz.log.1").exists()

        def is_allowed() -> bool:
            statuses.append(read_answer(authz.check(message)).status)
            return statuses[-1] == 200

        until(is_allowed, "calls to be allowed again")
        filler.unlink()
        assert authz.terminate() == 0
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    recorded = [line for line in lines if line["event"] == "access.allowed"]
    assert len(recorded) == statuses.count(200)
