"""The measurement of revocations, also with faulty servers."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ext_authz.generated import envoy_ext_authz_pb2 as pb
from portcullis.bench import pool, revocation
from portcullis.bench.generator import GeneratorError
from portcullis.bench.plan import Load, Target
from portcullis.bench.pool import Entry
from tests.bench.check_server import by_token, refused, serving, token_of
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import grpc
    from redis import Redis

BUSY, SPARE = 5, 3


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """A real Redis that has every token of the tests."""
    with running_redis() as server, server.client() as client:
        yield client


@contextmanager
def watching(redis: Redis, tmp_path: Path, answer: Any) -> Iterator[Load]:
    """Run a server with this answer function, and a pool for it."""
    entries = [Entry(b"t%d.user" % n, b"user", b"j%d" % n) for n in range(BUSY + SPARE)]
    pool.write(tmp_path / "tokens", entries)
    for entry in entries:
        redis.set(f"token:{entry.jti.decode()}", "grant")
    with serving(answer) as server:
        target = Target(server.address, "check", "http://localhost:8080/bench/mcp")
        yield Load(target, tmp_path / "tokens", 0, BUSY, 1, 2, "open", seconds=1.0, rate=20.0)


def jti(request: pb.CheckRequest) -> str:
    """The id of the token in a request of these tests."""
    return "j" + token_of(request).partition(".")[0].removeprefix("t")


def test_each_revocation_is_seen_once_and_the_background_load_continues(redis: Redis, tmp_path: Path) -> None:
    def answer(request: pb.CheckRequest, context: grpc.ServicerContext) -> pb.CheckResponse:
        alive = redis.exists(f"token:{jti(request)}")
        return by_token(request, context) if alive else refused(pb.Unauthorized)

    with watching(redis, tmp_path, answer) as load:
        seen = revocation.measure(load, (BUSY, BUSY + SPARE), redis, lambda _: None)
    assert seen.is_sound
    assert len(seen.first_refused) == SPARE
    assert seen.background is not None
    assert seen.background.allowed == 20


def test_a_server_that_never_refuses_is_unsound(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "LONGEST", 0.2)
    with watching(redis, tmp_path, by_token) as load:
        seen = revocation.measure(load, (BUSY, BUSY + SPARE), redis, lambda _: None)
    assert seen.never_refused == SPARE
    assert not seen.is_sound


def test_a_server_that_allows_again_after_a_refusal_is_unsound(redis: Redis, tmp_path: Path) -> None:
    refusals: set[str] = set()
    lock = threading.Lock()

    def answer(request: pb.CheckRequest, context: grpc.ServicerContext) -> pb.CheckResponse:
        with lock:
            if not redis.exists(f"token:{jti(request)}") and jti(request) not in refusals:
                refusals.add(jti(request))
                return refused(pb.Unauthorized)
        return by_token(request, context)

    with watching(redis, tmp_path, answer) as load:
        seen = revocation.measure(load, (BUSY, BUSY + SPARE), redis, lambda _: None)
    assert seen.allowed_after_refused > 0
    assert not seen.is_sound


def test_an_outage_is_not_counted_as_a_revocation(redis: Redis, tmp_path: Path) -> None:
    def answer(request: pb.CheckRequest, context: grpc.ServicerContext) -> pb.CheckResponse:
        alive = redis.exists(f"token:{jti(request)}")
        return by_token(request, context) if alive else refused(pb.ServiceUnavailable)

    with watching(redis, tmp_path, answer) as load, pytest.raises(GeneratorError, match="refused with 503"):
        revocation.measure(load, (BUSY, BUSY + SPARE), redis, lambda _: None)
