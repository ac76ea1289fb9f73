"""Other products for the same purpose, set up to do the same work with the same token; see `docs/peers.md`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from oauth_core.net.listen_addresses import parse
from portcullis.bench.children import BenchFixtureError
from portcullis.bench.peers import go_noop, jwt_authn, opa
from portcullis.bench.plan import Target
from portcullis.bench.target import MeasuredService

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from portcullis.bench.fixture import BenchFixture

NAMES = ("opa", "go-noop", "jwt_authn")
"""Peers that are started here. Anything else is the address of a check service that runs already."""

ALL = "all"
"""All peers whose program is on PATH."""

_STARTED = {"opa": opa, "go-noop": go_noop}


def is_peer(text: str) -> bool:
    """Whether `text` names a peer, or an address."""
    return text in {*NAMES, ALL} or is_address(text)


def is_address(text: str) -> bool:
    """Whether `text` is `host:port` or `unix:/path`."""
    try:
        parse(text)
    except ValueError:
        return False
    return True


def resolve(names: Sequence[str], *, through_envoy: bool) -> list[str]:
    """The names given, with `all` replaced by what is installed and can be measured this way; each once."""
    known = []
    for name in names:
        if name != ALL:
            known.append(name)
            continue
        known += [peer for peer, module in _STARTED.items() if module.is_installed()]
        known += ["jwt_authn"] if through_envoy else []
    return list(dict.fromkeys(known))


@contextmanager
def running(name: str, fixture: BenchFixture, url: str) -> Iterator[MeasuredService]:
    """A check service to compare with. Raises `BenchFixtureError`; `jwt_authn` is none, but a part of Envoy."""
    if name == "jwt_authn":
        raise BenchFixtureError("jwt_authn is a part of Envoy, so it can only be measured with --through-envoy")
    if name in _STARTED:
        with _STARTED[name].running(fixture, url) as service:
            yield service
    else:
        yield MeasuredService(name, Target(name, "check", url, identity=False), fixture.pool)


@contextmanager
def running_in_envoy(fixture: BenchFixture, url: str, workers: int) -> Iterator[MeasuredService]:
    """Envoy checking tokens by itself with `jwt_authn`. Raises `BenchFixtureError`."""
    with jwt_authn.running(fixture, url, workers) as service:
        yield service
