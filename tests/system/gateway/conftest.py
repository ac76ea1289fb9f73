"""One gateway for all these tests, and ways to use it: as an operator, as a browser, or with any request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.oauth_client import OAuthClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from redis import Redis


@pytest.fixture(scope="session")
def gateway() -> Iterator[RunningGateway]:
    """The gateway that `make up` starts. Tests must not stop it or its parts."""
    with running_gateway() as gateway:
        yield gateway


@pytest.fixture
def redis(gateway: RunningGateway) -> Iterator[Redis]:
    """Redis, as an operator reaches it."""
    with gateway.operator_redis() as redis:
        yield redis


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """Plain HTTP, to send exactly what a test needs."""
    async with httpx2.AsyncClient(timeout=60.0) as http:
        yield http


@pytest.fixture
async def oauth(gateway: RunningGateway) -> AsyncIterator[OAuthClient]:
    """An OAuth client that performs each step by itself."""
    async with OAuthClient(gateway.url) as client:
        yield client
