"""What others use for the same purpose, set up to do the same work with the same token; see `docs/peers.md`."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from portcullis.bench.children import WorldError
from portcullis.bench.peers import go_noop, jwt_authn, opa
from portcullis.bench.plan import Target
from portcullis.bench.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portcullis.bench.world import World

NAMES = ("opa", "go-noop", "jwt_authn")
"""Peers that are started here. Anything else is the address of a check service that runs already."""

_ADDRESS = re.compile(r"unix:/.+|(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):\d{1,5}")


def is_peer(text: str) -> bool:
    """Whether `text` names a peer, or an address."""
    return text in NAMES or is_address(text)


def is_address(text: str) -> bool:
    """Whether `text` is `host:port` or `unix:/path`."""
    return _ADDRESS.fullmatch(text) is not None


@contextmanager
def running(name: str, world: World, url: str) -> Iterator[Subject]:
    """A check service to compare with. Raises `WorldError`; `jwt_authn` is none, but a part of Envoy."""
    match name:
        case "opa":
            with opa.running(world, url) as subject:
                yield subject
        case "go-noop":
            with go_noop.running(world, url) as subject:
                yield subject
        case "jwt_authn":
            raise WorldError("jwt_authn is a part of Envoy, so it can only be measured with --through-envoy")
        case address:
            yield Subject(address, Target(address, "check", url, identity=False), world.pool)


@contextmanager
def running_in_envoy(world: World, url: str, workers: int) -> Iterator[Subject]:
    """Envoy checking tokens by itself with `jwt_authn`. Raises `WorldError`."""
    with jwt_authn.running(world, url, workers) as subject:
        yield subject
