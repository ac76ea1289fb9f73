"""The metrics for Prometheus: every answer is counted, by worker and summed; no count decreases when a worker is
replaced.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ext_authz.metrics.families import FAMILIES
from tests.support.authz_process import check_call, environ, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.metrics import Samples, families, read_samples, value
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.authz_process import AuthzProcess, Issue
    from tests.support.redis_server import RedisServer

_PATIENCE = 60.0


def fetch(place: Path, target: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_PATIENCE)
        client.connect(str(place))
        client.sendall(f"{method} {target} HTTP/1.1\r\nHost: metrics\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split(" ")[1]), body


def samples(place: Path, target: str = "/metrics") -> Samples:
    status, text = fetch(place, target)
    assert status == 200
    return read_samples(text)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="metrics-") as folder:
        yield Path(folder) / "metrics.sock"


@pytest.fixture(scope="module")
def measured(redis: RedisServer, transport: str, place: Path) -> Iterator[AuthzProcess]:
    """Two workers with metrics."""
    more = {"METRICS_LISTEN": f"unix:{place}", "AUDIT_DIR": str(place.with_name("audit"))}
    settings = environ(redis, AUTHZ_TRANSPORT=transport, AUTHZ_WORKERS="2", **more)
    with running_authz(settings) as authz:
        authz.wait_for_health("SERVING")
        until(lambda: sum(event["event"] == "worker.ready" for event in authz.log()) == 2)
        yield authz


def ask(address: str, message: bytes) -> int:
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        return read_answer(check_call(channel)(message, timeout=60)).status


def test_answers_are_counted_by_outcome_and_worker(measured: AuthzProcess, place: Path, issue: Issue) -> None:
    before, summed = samples(place), samples(place, "/metrics/sum")
    token = issue()
    for _ in range(3):
        assert ask(measured.address, check_request(token=token)) == 200
    assert ask(f"{measured.address}.1", check_request(token="not-a-token")) == 401

    def grown(name: str, **labels: str) -> float:
        return value(samples(place), name, **labels) - value(before, name, **labels)

    until(lambda: grown("portcullis_check_seconds_count", worker="0", outcome="allowed") == 3)
    until(lambda: grown("portcullis_checks_refused_total", worker="1", reason="malformed_token") == 1)
    assert grown("portcullis_check_seconds_bucket", worker="0", outcome="allowed", le="+Inf") == 3
    assert grown("portcullis_check_seconds_sum", worker="0", outcome="allowed") > 0
    assert grown("portcullis_cache_hits_total", worker="0") == 2
    assert grown("portcullis_cache_misses_total", worker="0") == 1
    assert grown("portcullis_signatures_total", worker="0", result="good") == 1
    assert grown("portcullis_check_seconds_count", worker="1", outcome="denied") == 1

    def together(name: str, **labels: str) -> float:
        return value(samples(place, "/metrics/sum"), name, **labels) - value(summed, name, **labels)

    assert together("portcullis_check_seconds_count", outcome="allowed") == 3
    assert together("portcullis_check_seconds_count", outcome="denied") == 1


def test_the_state_of_the_tracking_connection_is_reported(measured: AuthzProcess, place: Path) -> None:
    assert measured.health() == "SERVING"
    until(lambda: value(samples(place, "/metrics/sum"), "portcullis_worker_up") == 2)
    until(lambda: value(samples(place), "portcullis_tracking_connection_up", worker="1") == 1)
    # On a slow machine one reading may come late; a recent confirmation is the usual case.
    until(lambda: 0 <= value(samples(place), "portcullis_staleness_seconds", worker="0") < 1)
    found = samples(place)
    assert value(found, "portcullis_keys_fresh", worker="0") == 1
    assert value(found, "portcullis_redis_lookups_waiting", worker="0") == 0
    assert value(found, "portcullis_tracking_connections_total", worker="0") >= 1


def is_recording(place: Path, worker: str) -> bool:
    return value(samples(place), "portcullis_audit_available", worker=worker) == 1


def is_unsealed_with_room(place: Path, target: str) -> bool:
    found = samples(place, target)
    free, size = (value(found, f"portcullis_audit_{kind}_bytes") for kind in ("free", "disk"))
    return value(found, "portcullis_audit_checkpoint_age_seconds") == float("inf") and 0 < free <= size


def test_the_state_of_the_audit_record_is_reported(measured: AuthzProcess, place: Path) -> None:
    assert measured.health() == "SERVING"
    for worker in ("0", "1"):
        until(partial(is_recording, place, worker))
    for target in ("/metrics", "/metrics/sum"):
        until(partial(is_unsealed_with_room, place, target))
    until(lambda: value(samples(place, "/metrics/sum"), "portcullis_audit_available") == 1)


def test_every_metric_is_described(measured: AuthzProcess, place: Path) -> None:
    assert ask(measured.address, check_request()) == 401
    until(lambda: value(samples(place), "portcullis_worker_up", worker="0") == 1)
    assert families(fetch(place)[1]).items() <= {family.name: family.kind for family in FAMILIES}.items()
    for family in text_string_to_metric_families(fetch(place)[1]):
        assert family.documentation
        assert family.type != "unknown"


def test_no_count_decreases_when_a_worker_is_replaced(measured: AuthzProcess, place: Path) -> None:
    for _ in range(5):
        ask(measured.address, check_request())

    def denied() -> float:
        return value(samples(place), "portcullis_check_seconds_count", worker="0", outcome="denied")

    until(lambda: denied() >= 5)
    counted = denied()
    starts = value(samples(place), "portcullis_worker_starts_total", worker="0")
    os.kill(next(event["pid"] for event in measured.log() if event["event"] == "worker.ready"), signal.SIGKILL)
    until(lambda: value(samples(place), "portcullis_worker_starts_total", worker="0") == starts + 1)
    assert denied() >= counted
    measured.wait_for_health("SERVING")
    ask(measured.address, check_request())
    until(lambda: denied() >= counted + 1)


@pytest.mark.parametrize(
    ("target", "method"), [("/", "GET"), ("/metrics/../etc", "GET"), ("/metrics", "POST"), ("", "GET")]
)
def test_other_paths_and_methods_are_404(measured: AuthzProcess, place: Path, target: str, method: str) -> None:
    assert measured.process.poll() is None
    assert fetch(place, target, method) == (404, "")


def test_only_its_user_can_open_the_metrics_socket(measured: AuthzProcess, place: Path) -> None:
    assert measured.process.poll() is None
    assert place.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("address", ["0.0.0.0:9102", "192.0.2.1:9102", "metrics.example:9102", "nonsense"])
def test_an_address_that_other_machines_could_reach_is_refused(tmp_path: Path, address: str) -> None:
    settings = tmp_path / "portcullis.toml"
    settings.write_text(
        'issuer = "http://localhost:8080"\n[[services]]\nname = "time"\nupstream = "http://127.0.0.1:1/mcp"\n'
    )
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ext_authz"],
        env={"PORTCULLIS_CONFIG": str(settings), "METRICS_LISTEN": address},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "check.metrics_listen" in done.stderr
