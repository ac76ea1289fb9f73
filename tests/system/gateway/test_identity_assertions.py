"""The official SDK's client for identity assertions: through Envoy to a service, without a sign-in."""

from __future__ import annotations

import dataclasses
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.streamable_http import streamable_http_client

from oauth_core.flows import client_credentials
from oauth_core.model import Client as RegisteredClient
from oauth_core.store import keyspace
from oauth_core.store.codec import SignedCodec
from portcullis.doctor.client import SessionStorage
from tests.support.assertions import KEY_NAME, PROVIDER, SUBJECT, asserted, jwks, key
from tests.support.gateway import WHOAMI_ALONE, RunningGateway, running_gateway
from tests.support.mcp_clients import whoami

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

CLIENT_ID = "clientOfAnEnterprise00"
_TRUSTED = """
[[trusted_issuers]]
issuer = "{issuer}"
jwks_file = "{file}"
clients = ["{client_id}"]
users = {{ {subject} = {{ github_id = 583231, github_user = "octocat" }} }}
"""


@pytest.fixture(scope="module")
def enterprise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, str]]:
    """A gateway that trusts a provider, and the secret of the client that the provider may vouch to."""
    file: Path = tmp_path_factory.mktemp("provider") / "keys.json"
    file.write_text(json.dumps(jwks(key(name=KEY_NAME))), encoding="utf-8")
    trusted = _TRUSTED.format(issuer=PROVIDER, file=file, client_id=CLIENT_ID, subject=SUBJECT)
    made = client_credentials.create(
        "IDE", "client_secret_post", (), now=int(time.time()), identity_assertions=True
    )
    # Its id is in the settings, so it must be known before the gateway that makes the client runs.
    record = dataclasses.replace(made.client, client_id=CLIENT_ID)
    with running_gateway(config=WHOAMI_ALONE + trusted) as gateway:
        with gateway.operator_redis() as redis:
            place = keyspace.client(CLIENT_ID)
            redis.set(place, SignedCodec(RegisteredClient).dump(record, gateway.record_key, place))
        assert made.secret is not None
        yield gateway, made.secret


class Enterprise:
    """The client of an enterprise, and the number of assertions that its provider was asked for."""

    def __init__(self, gateway: RunningGateway, secret: str, **claims: Any) -> None:
        self.resource = gateway.resource("whoami")
        self.asked: list[tuple[str, str]] = []
        self.wallet = SessionStorage()
        self._claims = claims
        self.provider = IdentityAssertionOAuthProvider(
            self.resource, self.wallet, CLIENT_ID, secret, gateway.url, self._vouch
        )

    async def _vouch(self, audience: str, resource: str) -> str:
        self.asked.append((audience, resource))
        return asserted(CLIENT_ID, audience, **{"resource": resource, "scope": "mcp.whoami", **self._claims})

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        async with (
            httpx2.AsyncClient(auth=self.provider, timeout=60.0) as http,
            Client(streamable_http_client(self.resource, http_client=http), read_timeout_seconds=30.0) as client,
        ):
            yield client


async def test_the_sdks_client_uses_a_service_as_the_person_that_its_provider_vouches_for(
    enterprise: tuple[RunningGateway, str],
) -> None:
    gateway, secret = enterprise
    user = Enterprise(gateway, secret)
    async with user.connected() as client:
        told = await whoami(client)
    assert user.asked == [(gateway.url, gateway.resource("whoami"))]
    assert "octocat" in json.dumps(told)
    assert user.wallet.tokens is not None
    assert user.wallet.tokens.refresh_token is None


async def test_without_the_secret_an_assertion_is_refused(enterprise: tuple[RunningGateway, str]) -> None:
    gateway, secret = enterprise
    user = Enterprise(gateway, secret[::-1])
    with pytest.raises(Exception) as refused:  # noqa: PT011 - the SDK wraps it in groups of its own
        async with user.connected():
            pass
    assert "invalid_client" in "".join(map(str, _inside(refused.value)))
    assert user.wallet.tokens is None


def _inside(error: BaseException) -> list[BaseException]:
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [error, *(one for each in inner for one in _inside(each))]
