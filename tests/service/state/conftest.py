"""A Redis, an authorization server, and the commands that back them up, for the tests of one module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.state.commands import operate
from tests.support.master_key import MASTER_KEY
from tests.support.oauth_client import OAuthClient
from tests.support.redis_server import RedisServer, running_redis
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis. Tests may empty it, and must not stop it."""
    with running_redis() as server:
        yield server


@pytest.fixture
def environment(server: RedisServer, tmp_path: Path) -> dict[str, str]:
    """Variables of a gateway on `server`."""
    config = tmp_path / "portcullis.toml"
    config.write_text(
        'issuer = "http://localhost:8080"\n[[services]]\nname = "time"\nupstream = "http://127.0.0.1:1/mcp"\n'
    )
    return {
        "PORTCULLIS_CONFIG": str(config),
        "REDIS_URL": server.url(),
        "REDIS_TIMEOUT": "20",
        "MASTER_KEY": MASTER_KEY,
    }


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """An authorization server on a Redis of its own. Tests must not stop them."""
    with running_web() as server:
        yield server


@pytest.fixture
async def client(web: WebServer) -> AsyncIterator[OAuthClient]:
    """A client with its own browser, on a server where nothing was revoked yet."""
    with web.redis.client() as redis:
        patterns = ("cut:*", "block:*", "ended:consents:*", "ended:person:*")
        if noted := [key for pattern in patterns for key in redis.keys(pattern)]:
            redis.delete(*noted)
    async with OAuthClient(web.issuer) as client:
        yield client


@pytest.fixture
def backup(web: WebServer, tmp_path: Path) -> Callable[[], Path]:
    """Make a backup of `web`. Return the file."""

    def backup() -> Path:
        operate(web, "backup", str(tmp_path / "backup"))
        return tmp_path / "backup"

    return backup
