"""The load generator with a real gRPC server that counts independently."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ext_authz.generated import envoy_ext_authz_pb2 as pb
from portcullis.bench import pool, process_group
from portcullis.bench.answer_check import ALLOWED
from portcullis.bench.generator import Generator, GeneratorError
from portcullis.bench.plan import Load, Target
from portcullis.bench.pool import Entry
from tests.bench.check_server import by_token, refused, serving, token_of

if TYPE_CHECKING:
    from pathlib import Path

    import grpc

    from portcullis.bench.plan import Mode

TOKENS = 30


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A pool whose tokens contain their users."""
    file = tmp_path / "tokens"
    pool.write(file, (Entry(b"t%d.user-%d" % (n, n), b"user-%d" % n, b"j%d" % n) for n in range(TOKENS)))
    return file


def load(address: str, tokens: Path, mode: Mode, **changes: object) -> Load:
    """A small load."""
    target = Target(address, "check", "http://localhost:8080/bench/mcp")
    whole = Load(target, tokens, 0, TOKENS, connections=2, streams=3, mode=mode, seconds=0.5)
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_a_run_with_each_token_once_counts_as_the_server_does(tokens: Path) -> None:
    with serving() as server:
        tally = process_group.run(load(server.address, tokens, "once", processes=2, seconds=30.0))
    assert server.tokens == {f"t{n}.user-{n}": 1 for n in range(TOKENS)}
    assert tally.verdicts == {ALLOWED: TOKENS}
    assert len(tally.latency) == TOKENS


def test_a_closed_loop_counts_at_most_what_the_server_counts(tokens: Path) -> None:
    with serving() as server:
        tally = process_group.run(load(server.address, tokens, "closed"))
    assert not tally.wrong
    assert tally.allowed <= server.asked <= tally.allowed + 2 * 3
    assert len(server.tokens) == TOKENS or tally.allowed < TOKENS


def test_an_open_loop_sends_exactly_the_due_requests_and_all_are_answered(tokens: Path) -> None:
    with serving() as server:
        tally = process_group.run(load(server.address, tokens, "open", rate=80.0, processes=2, seconds=1.0))
    assert tally.allowed + tally.missed == 80
    assert len(tally.latency) == 80
    assert server.asked >= tally.allowed


def test_an_open_loop_counts_a_stall_for_every_waiting_request(tokens: Path) -> None:
    stall = threading.Event()

    def answer(request: pb.CheckRequest, context: grpc.ServicerContext) -> pb.CheckResponse:
        if not stall.is_set():
            stall.set()
            time.sleep(0.4)  # the server stops for a while, which is measured
        return by_token(request, context)

    with serving(answer) as server:
        # One request at a time, so that all requests that are due during the stall wait for its end.
        tally = process_group.run(
            load(server.address, tokens, "open", rate=100.0, connections=1, streams=1, seconds=0.6)
        )
    assert tally.allowed == 60
    median = tally.latency.percentile(0.5)
    # 40 requests were due during the stall; a closed loop would have one slow sample among many.
    assert median is not None
    assert median > 100


def test_a_server_slower_than_the_rate_has_missed_requests(tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portcullis.bench.generator.GRACE_SECONDS", 3.0)
    held = threading.Event()

    def answer(request: pb.CheckRequest, context: grpc.ServicerContext) -> pb.CheckResponse:
        if token_of(request) != "t0.user-0":
            held.wait(60)
        return by_token(request, context)

    with serving(answer) as server:
        share = load(server.address, tokens, "open", rate=50.0, connections=1, streams=1, seconds=0.4)
        generator = Generator(share)
        try:
            tally = generator.run(time.monotonic())
        finally:
            generator.close()
            held.set()
    assert (tally.allowed, tally.missed) == (1, 19)
    longest = tally.latency.percentile(1.0)
    assert longest is not None
    assert longest >= 400


def test_refusals_count_as_wrong_and_never_as_throughput(tokens: Path) -> None:
    def answer(request: pb.CheckRequest, context: grpc.ServicerContext) -> pb.CheckResponse:
        return refused(pb.Forbidden) if token_of(request) == "t3.user-3" else by_token(request, context)

    with serving(answer) as server:
        tally = process_group.run(load(server.address, tokens, "once", seconds=30.0))
    assert tally.wrong == {"refused with 403": 1}
    assert tally.allowed == TOKENS - 1


def test_an_identity_given_to_the_wrong_caller_is_detected(tokens: Path) -> None:
    def answer(request: pb.CheckRequest, context: grpc.ServicerContext) -> pb.CheckResponse:
        if token_of(request) == "t7.user-7":
            request.attributes.request.http.headers["authorization"] = "Bearer t8.user-8"
        return by_token(request, context)

    with serving(answer) as server:
        tally = process_group.run(load(server.address, tokens, "once", seconds=30.0))
    assert tally.wrong == {"allowed as another person": 1}


def test_an_address_without_a_server_or_without_http2_is_one_readable_line(tokens: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(100)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(GeneratorError, match="does not speak HTTP/2"):
            process_group.run(load(address, tokens, "closed", connections=1))
        thread.join()
    with pytest.raises(GeneratorError, match="cannot connect"):
        process_group.run(load(address, tokens, "closed"))


def test_an_empty_or_truncated_pool_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="no tokens"):
        pool.Pool(file)
    file.write_bytes(b"token user jti\ntok")
    with pytest.raises(ValueError, match="cut short"):
        pool.Pool(file)


def test_only_the_user_can_read_a_pool(tokens: Path) -> None:
    assert tokens.stat().st_mode & 0o077 == 0
