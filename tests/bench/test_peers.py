"""Peers do the same work as the check service: a forged token fails at them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from portcullis.bench import fixture, peers, pool, process_group
from portcullis.bench.answer_check import ALLOWED
from portcullis.bench.children import BenchFixtureError
from portcullis.bench.peers import go_noop, opa
from portcullis.bench.plan import Load, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portcullis.bench.fixture import BenchFixture
    from portcullis.bench.plan import Tally
    from portcullis.bench.target import MeasuredService

URL = fixture.RESOURCE


@pytest.fixture(scope="module")
def place() -> Iterator[BenchFixture]:
    """A fixture with a few tokens."""
    with fixture.make_fixture(tokens=10, algorithm="ES256", progress=lambda _: None) as made:
        yield made


def ask(subject: MeasuredService, file: str = "tokens") -> Tally:
    """Send one check with each token of a pool."""
    count = len(pool.Pool(subject.pool.with_name(file)))
    load = Load(subject.target, subject.pool.with_name(file), 0, count, 1, 2, "once", seconds=20.0)
    return process_group.run(load)


def spoil(place: BenchFixture, name: str) -> str:
    """A pool with the same tokens, each with its signature changed."""
    good = pool.Pool(place.pool)

    def forged() -> Iterator[pool.Entry]:
        for number in range(len(good)):
            entry = good[number]
            head, body, signature = entry.token.split(b".")
            claims = json.loads(base64.urlsafe_b64decode(body + b"=="))
            claims["sub"] = "1"
            changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
            yield entry._replace(token=b".".join((head, changed, signature)), subject=b"1")

    pool.write(place.pool.with_name(name), forged())
    return name


def test_envoys_jwt_authn_allows_our_tokens_and_no_forged_one(place: BenchFixture) -> None:
    with peers.running_in_envoy(place, URL, 1) as subject:
        assert ask(subject).verdicts == {ALLOWED: 10}
        assert ask(subject, spoil(place, "forged-jwt")).verdicts == {"HTTP status 401": 10}


def test_envoys_jwt_authn_ignores_a_revocation(place: BenchFixture) -> None:
    with place.redis() as redis, peers.running_in_envoy(place, URL, 1) as subject:
        keys = redis.keys("token:*")
        values = redis.mget(keys)
        redis.delete(*keys)
        assert ask(subject).verdicts == {ALLOWED: 10}
        redis.mset(dict(zip(keys, values, strict=True)))


@pytest.mark.skipif(not opa.is_installed(), reason="OPA's Envoy plugin is not on PATH")
def test_opa_allows_our_tokens_and_no_forged_one(place: BenchFixture) -> None:
    with peers.running("opa", place, URL) as subject:
        assert ask(subject).verdicts == {ALLOWED: 10}
        assert ask(subject, spoil(place, "forged-opa")).verdicts == {"refused with 401": 10}


@pytest.mark.skipif(not go_noop.is_installed(), reason="portcullis-go-noop is not on PATH")
def test_the_go_server_allows_every_request(place: BenchFixture) -> None:
    with peers.running("go-noop", place, URL) as subject:
        assert ask(subject).verdicts == {ALLOWED: 10}
        assert ask(subject, spoil(place, "forged-noop")).verdicts == {ALLOWED: 10}


def test_a_peer_that_is_not_installed_is_reported_with_the_page_that_describes_it(
    place: BenchFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BenchFixtureError, match=r"docs/peers\.md"), peers.running("opa", place, URL):
        pass
    assert peers.resolve(("all",), through_envoy=True) == ["jwt_authn"]
    assert peers.resolve(("all", "127.0.0.1:1"), through_envoy=False) == ["127.0.0.1:1"]


def test_opas_policy_contains_what_our_own_service_checks(place: BenchFixture) -> None:
    policy = opa.policy(place)
    for part in (place.jwks, fixture.ISSUER, URL, fixture.SCOPE, "ES256"):
        assert json.dumps(part) in policy


def test_the_target_of_an_address_is_that_address(place: BenchFixture) -> None:
    with peers.running("127.0.0.1:1", place, URL) as subject:
        assert subject.target == Target("127.0.0.1:1", "check", URL, identity=False)
