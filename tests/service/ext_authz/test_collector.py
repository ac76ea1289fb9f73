"""The service turns full garbage collections off, so no repeated work may need one."""

from __future__ import annotations

import gc
import secrets
from typing import TYPE_CHECKING

import pytest

from ext_authz.service.server import check_server
from oauth_core.process.audit_output import AuditOutput
from oauth_core.process.logs import LogAuditSink
from oauth_core.settings import AuthzSettings, load
from tests.support.authz_process import CONFIG, Issue, environ
from tests.support.check_messages import check_request
from tests.support.tokens import mint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.redis_server import RedisServer

_TIMES = 50


@pytest.mark.parametrize("kind", ["new", "known", "dead", "forged", "huge", "malformed"])
async def test_checks_leave_no_reference_cycles(
    kind: str, redis: RedisServer, key: SigningKey, issue: Issue, tmp_path: Path
) -> None:
    known = issue()
    head, payload, _ = known.split(".")
    make: dict[str, Callable[[], bytes]] = {
        "new": lambda: check_request(token=issue()),
        "known": lambda: check_request(token=known),
        "dead": lambda: check_request(token=mint(key, jti=_noise())),
        "forged": lambda: check_request(token=f"{head}.{payload}.{_noise()}"),
        "huge": lambda: check_request(token="x" * 12_000),
        "malformed": lambda: b"\xff" * 100,
    }
    config = tmp_path / "portcullis.toml"
    config.write_text(CONFIG)
    variables = environ(redis, PORTCULLIS_CONFIG=str(config))
    before = gc.get_threshold()
    async with check_server(
        load(AuthzSettings, None, variables), AuditOutput(None, LogAuditSink()), variables
    ) as server:
        for _ in range(_TIMES):
            await server.authorizer.check(make[kind]())
        messages = [make[kind]() for _ in range(_TIMES)]
        gc.collect()
        for message in messages:
            if server.authorizer.check_now(message) is None:
                await server.authorizer.check(message)
        assert gc.collect() == 0
        assert gc.get_threshold()[1:] > (10**6, 10**6)
    assert gc.get_threshold() == before


async def test_with_grpcio_the_collector_runs_as_usual(redis: RedisServer, tmp_path: Path) -> None:
    """Each of its calls leaves a reference cycle."""
    config = tmp_path / "portcullis.toml"
    config.write_text(CONFIG)
    variables = environ(redis, PORTCULLIS_CONFIG=str(config), AUTHZ_TRANSPORT="grpcio")
    before = gc.get_threshold()
    async with check_server(load(AuthzSettings, None, variables), AuditOutput(None, LogAuditSink()), variables):
        assert gc.get_threshold() == before


def _noise() -> str:
    return secrets.token_urlsafe(64)
