"""Two gateways for the tests, each with its servers: one as in production, one for a single machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.envoy.world import World, world_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def _production() -> Iterator[World]:
    with world_of(issuer="https://gate.example.com", local=False) as world:
        yield world


@pytest.fixture(scope="session")
def _local() -> Iterator[World]:
    with world_of(issuer="http://localhost:{port}", local=True) as world:
        yield world


@pytest.fixture
def world(_production: World) -> World:
    """A gateway as in production: an https issuer, a second host, no GitHub stand-in."""
    _production.forget()
    return _production


@pytest.fixture
def local(_local: World) -> World:
    """A gateway of a single machine: the issuer is a loopback address, and the GitHub stand-in runs."""
    _local.forget()
    return _local
