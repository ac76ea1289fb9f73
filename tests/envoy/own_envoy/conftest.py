"""Envoys that Istio and Envoy Gateway would run from our examples, with the real check service and
an echo server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.store.client_cache.token_status import CHECK_ACL
from tests.envoy.own_envoy.examples import AUTH, SETTINGS, TIME, TOOL_RULES, Issue
from tests.envoy.own_envoy.managers import MANAGERS, socket_of
from tests.support.authz_process import PASSWORD, AuthzProcess, environ, publish, remember, running_authz
from tests.support.envoy import AuthzEnvoy, running_envoy
from tests.support.redis_server import RedisServer, running_redis
from tests.support.tokens import mint, new_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.jose.signing_keys import SigningKey


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return new_key()


@pytest.fixture(scope="session")
def redis(key: SigningKey) -> Iterator[RedisServer]:
    users = {"check": ("on", f">{PASSWORD}", *CHECK_ACL)}
    with running_redis(password="admin-password-of-tests", users=users) as server:
        publish(server, key)
        remember(server, "own-envoy")
        yield server


@pytest.fixture(scope="session")
def bearer(redis: RedisServer, key: SigningKey) -> Issue:
    """A valid token for the services of the example, as a header; keyword arguments change its claims."""

    def make(**changes: Any) -> tuple[str, str]:
        good = {
            "iss": f"https://{AUTH}",
            "aud": (f"https://{TIME}/mcp", f"https://{AUTH}/memory/mcp"),
            "scope": "mcp.time mcp.memory",
            "jti": "own-envoy",
        }
        return ("Authorization", f"Bearer {mint(key, **good | changes)}")

    return make


@pytest.fixture(scope="session")
def authz(redis: RedisServer) -> Iterator[AuthzProcess]:
    """A check service with the settings of the Kubernetes manifests."""
    with running_authz(environ(redis), config=SETTINGS.read_text(encoding="utf-8")) as service:
        service.wait_for_health("SERVING")
        yield service


@pytest.fixture(scope="session")
def authz_with_rules(redis: RedisServer) -> Iterator[AuthzProcess]:
    """The same with tool rules for the last service in the file, `memory`."""
    with running_authz(environ(redis), config=SETTINGS.read_text(encoding="utf-8") + TOOL_RULES) as service:
        service.wait_for_health("SERVING")
        yield service


@pytest.fixture(scope="session", params=MANAGERS)
def envoy(
    authz: AuthzProcess, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[AuthzEnvoy]:
    """One Envoy of each kind."""
    folder = tmp_path_factory.mktemp("envoy")
    with running_envoy(folder, socket_of(authz), manager=MANAGERS[request.param]()) as running:
        yield running


@pytest.fixture(scope="session", params=MANAGERS)
def envoy_with_rules(
    authz_with_rules: AuthzProcess, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[AuthzEnvoy]:
    """One Envoy of each kind that sends bodies to the check service with tool rules."""
    folder = tmp_path_factory.mktemp("envoy")
    manager = MANAGERS[request.param](bodies=True)
    with running_envoy(folder, socket_of(authz_with_rules), manager=manager) as running:
        yield running
