"""No call is lost while workers are replaced or stopped, neither of a gRPC client nor through Envoy."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from oauth_core.settings import EnvoySettings
from oauth_core.settings.services import ServiceSettings
from tests.envoy.process import Gate, running
from tests.service.transports.load import calling
from tests.service.transports.workers import ready, two_workers
from tests.support.authz_process import AuthzProcess, check_call
from tests.support.check_messages import check_request, read_answer
from tests.support.ports import free_port
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer


RETRYING = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ]
}


@contextmanager
def gate_before(authz: AuthzProcess, folder: Path) -> Iterator[Gate]:
    """A real Envoy with our configuration and one worker thread, before both workers."""
    port = free_port()
    run = Path(authz.address.removeprefix("unix:")).parent
    settings = EnvoySettings(
        issuer="http://localhost:8080",
        services=(ServiceSettings(name="time", url="/time/mcp", upstream="http://127.0.0.1:1/mcp"),),
        envoy_listen=(f"127.0.0.1:{port}",),
        envoy_admin=f"unix:{run / 'admin.sock'}",
        authz_upstream=(authz.address, f"{authz.address}.1"),
        web_upstream=(f"unix:{run / 'nobody.sock'}",),
    )
    with running(settings, folder) as gate:
        yield gate


def through(gate: Gate) -> str | None:
    """A call without a token: 401 only if the check service was asked and answered."""
    answer = gate.ask("/time/mcp", method="POST", host="localhost:8080")
    return None if answer.status == 401 and "www-authenticate" in answer.headers else f"{answer.status}"


def has_replaced(authz: AuthzProcess, times: int) -> bool:
    return authz.log_text().count("workers.replaced") == times


def has_started(authz: AuthzProcess, workers: int) -> bool:
    return len(ready(authz)) == workers


def shares(authz: AuthzProcess) -> list[int]:
    """How many checks Envoy sent to each worker."""
    run = Path(authz.address.removeprefix("unix:")).parent
    connection = http.client.HTTPConnection("admin")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(run / "admin.sock"))
    with closing(connection):
        connection.request("GET", "/clusters")
        lines = connection.getresponse().read().decode().splitlines()
    counts = [line.rpartition("::rq_total::") for line in lines if line.startswith("ext_authz::")]
    return [int(count) for _, separator, count in counts if separator]


def test_replacing_the_workers_loses_no_call_of_a_grpc_client(redis: RedisServer, transport: str) -> None:
    # When gRPC's own server stops, a call that it had not begun can end as cancelled; a retry is then safe.
    options = [("grpc.service_config", json.dumps(RETRYING))] if transport == "grpcio" else []
    with (
        two_workers(redis, transport) as authz,
        grpc.insecure_channel(authz.address, options=options) as channel,
    ):
        check = check_call(channel)

        def ask() -> str | None:
            status = read_answer(check(check_request(), timeout=60)).status
            return None if status == 401 else f"{status}"

        before = ready(authz)
        with calling(ask) as tally:
            for turn in (1, 2):
                tally.wait_for(50)
                authz.process.send_signal(signal.SIGHUP)
                until(partial(has_replaced, authz, turn))
            tally.wait_for(50)
        assert tally.bad == []
        after = ready(authz)
        assert len(after) == len(before) + 4
        assert len({pid for _, pid in after}) == len(after)


def test_replacing_the_workers_loses_no_call_through_envoy(
    redis: RedisServer, transport: str, tmp_path: Path
) -> None:
    with two_workers(redis, transport) as authz, gate_before(authz, tmp_path) as gate:
        with calling(lambda: through(gate)) as tally:
            tally.wait_for(50)
            authz.process.send_signal(signal.SIGHUP)
            until(lambda: "workers.replaced" in authz.log_text())
            tally.wait_for(50)
        assert tally.bad == []


def test_a_worker_killed_under_load_costs_callers_at_most_a_half_sent_answer_per_kill(
    redis: RedisServer, transport: str, tmp_path: Path
) -> None:
    with two_workers(redis, transport) as authz, gate_before(authz, tmp_path) as gate:
        with calling(lambda: through(gate)) as tally:
            for turn in range(2):
                tally.wait_for(50)
                os.kill(ready(authz)[-1][1], signal.SIGKILL)
                until(partial(has_started, authz, 3 + turn))
            tally.wait_for(50)
        # A call without an answer is retried at the other worker; half an answer cannot be.
        assert len(tally.bad) <= 2


def test_one_worker_of_envoy_gives_both_check_workers_even_shares(
    redis: RedisServer, transport: str, tmp_path: Path
) -> None:
    with two_workers(redis, transport) as authz, gate_before(authz, tmp_path) as gate:
        # Calls are sequential: neither worker is ever busy, so its speed does not influence Envoy's choice.
        assert {through(gate) for _ in range(400)} == {None}
        first, second = shares(authz)
        assert first + second == 400
        assert min(first, second) > 100  # each of 400 draws is even: a smaller share has a probability of 10^-24


def test_waiting_calls_are_answered_after_sigterm(redis: RedisServer, transport: str) -> None:
    with two_workers(redis, transport) as authz:
        check = check_call(authz.channel)
        futures = [check.future(check_request(), timeout=60) for _ in range(200)]
        assert read_answer(futures[0].result()).status == 401
        authz.process.terminate()
        answered = [future for future in futures if future.exception() is None]
        assert {read_answer(future.result()).status for future in answered} == {401}
        errors = [error for future in futures if (error := future.exception()) is not None]
        refused = {error.code() for error in errors if isinstance(error, grpc.RpcError)}
        assert len(answered) + len(errors) == len(futures)
        assert refused <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert authz.process.wait(60) == 0


def test_invalid_settings_replace_no_worker_and_are_reported(redis: RedisServer, transport: str) -> None:
    with two_workers(redis, transport) as authz:
        before = ready(authz)
        config = Path(authz.address.removeprefix("unix:")).parent / "portcullis.toml"
        config.write_text(config.read_text(encoding="utf-8") + "\n[roles.r]\npermissions = ['mcp.nothing']\n")
        authz.process.send_signal(signal.SIGHUP)
        until(lambda: "workers.not_replaced" in authz.log_text())
        # And each worker reports that it continues with its present settings.
        until(lambda: authz.log_text().count('"event": "policy.refused"') >= 3)  # two of them audit events
        assert read_answer(authz.check(check_request())).status == 401
        assert ready(authz) == before
