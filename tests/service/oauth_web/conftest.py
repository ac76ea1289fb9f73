"""One authorization server for all these tests, and a fresh client for each."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.support.oauth_client import OAuthClient
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def web() -> Iterator[WebServer]:
    """The server. Tests must not stop it or its Redis."""
    with running_web() as server:
        yield server


@pytest.fixture
async def redis(web: WebServer) -> AsyncIterator[Redis]:
    """A client of the server's Redis, with every right."""
    async with Redis(
        unix_socket_path=str(web.redis.socket), password=web.redis.password, decode_responses=True
    ) as client:
        yield client


@pytest.fixture
async def client(web: WebServer) -> AsyncIterator[OAuthClient]:
    """A client with a browser of its own."""
    async with OAuthClient(web.issuer) as client:
        yield client


@pytest.fixture(autouse=True)
def no_cut_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove revocation cutoffs: they revoke what is allowed within the same second, and the next test may begin
    within it.
    """
    yield
    if "web" in request.fixturenames:
        server: WebServer = request.getfixturevalue("web")
        with contextlib.suppress(RedisError), server.redis.client() as redis:
            if cutoffs := redis.keys("cut:*"):
                redis.delete(*cutoffs)
