"""The matrix of row R3: every kind of credential at every door; what does not belong there opens nothing."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import pytest

from oauth_core.settings import WebSettings
from oauth_core.store import keyspace
from oauth_web.app import create_app
from tests.realms import credentials as kinds
from tests.realms.credentials import KINDS, Wallet, filled
from tests.realms.doors import ANSWERED, DOORS, PUBLIC, REFUSALS, Door
from tests.support.gateway import WHOAMI_ALONE, RunningGateway, running_gateway
from tests.support.oauth_client import OAuthClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx2

SETTINGS = (
    WHOAMI_ALONE
    + """assertion = true

[[services]]
name = "other"
url = "/other/mcp"
command = ["portcullis", "example-server", "--listen", "unix:{socket}"]
transport = "http"
"""
)

KEPT_FOR = {
    "client": {kinds.SECRET, kinds.REGISTRATION},
    "initial_access_token": {kinds.INITIAL},
    "assertion": {kinds.ASSERTION},
    "pending": {kinds.HANDLE, kinds.BROWSER},
    "sign_in": {kinds.STATE},
    "code": {kinds.CODE},
    "device": {kinds.DEVICE_CODE},
    "device_user_code": {kinds.USER_CODE},
    "grant": {kinds.REFRESH},
    "session": {kinds.SESSION, kinds.FORM_TOKEN},
    "token": {kinds.ACCESS_A, kinds.ACCESS_B},
}
"""Which credentials the keys in Redis are for."""

NO_CREDENTIAL = {
    *("client_grants", "user_grants", "grant_tokens", "user", "block", "cut_of_user", "cut_of_client", "lease"),
    *("lease_rest", "document", "document_failed", "document_fetches", "device_attempts", "rate", "registration"),
    *("user_sessions", "consents", "consent_field"),
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    """A gateway with two services, where registering needs a token, and nobody is told to wait."""
    environ = {"CLIENT_REGISTRATION": "token", "FAILURES_PER_ADDRESS": "1000000"}
    with running_gateway(config=SETTINGS, environ=environ) as gateway:
        yield gateway


@pytest.fixture
async def wallet(gateway: RunningGateway) -> AsyncIterator[Wallet]:
    """One of every kind."""
    async with OAuthClient(gateway.url) as oauth:
        yield await filled(gateway, oauth)


async def _shown(wallet: Wallet, door: Door, kind: str) -> httpx2.Response:
    method, _, path = door.endpoint.partition(" ")
    path = path.replace("<client_id>", wallet.client.client_id)
    return await wallet.oauth.http.request(
        method, f"{wallet.gateway.url}{path}", **door.request(wallet, await wallet.text(kind))
    )


async def _moved_by_a_credential(wallet: Wallet) -> AsyncIterator[tuple[str, str]]:
    """Public endpoints that answer somebody who shows a credential differently from everybody else."""
    http = wallet.oauth.http
    for endpoint in sorted(endpoint for endpoint in PUBLIC if endpoint.startswith("GET ")):
        url = wallet.gateway.url + endpoint.removeprefix("GET ").replace("<path:path>", "whoami/mcp")
        usual = await http.get(url)
        for kind in KINDS:
            shown = await http.get(url, headers={"Authorization": f"Bearer {await wallet.text(kind) or 'x'}"})
            if (shown.status_code, shown.content) != (usual.status_code, usual.content):
                yield endpoint, kind


@pytest.mark.timeout(300)  # some six hundred requests, on a gateway of their own
async def test_every_credential_opens_its_own_doors_and_no_other(wallet: Wallet) -> None:
    assert set(KINDS) <= wallet.kept.keys() | {kinds.ASSERTION, kinds.ASSERTION_OF_FOREIGN_KEY, kinds.CODE}
    wrong = [(door, kind) for door in DOORS for kind in KINDS if kind not in door.opens]
    opened, odd = [], []
    for door, kind in wrong:
        answer = await _shown(wallet, door, kind)
        if door.opened(answer):
            opened.append((door.name, kind))
        elif answer.status_code not in REFUSALS | ({200} if door.name in ANSWERED else set()):
            odd.append((door.name, kind, answer.status_code))
    assert opened == []
    assert odd == []
    assert [each async for each in _moved_by_a_credential(wallet)] == []
    # Only now the right ones: none of these doors was shut for everybody, and no wrong key spoiled a right one.
    for door in sorted(DOORS, key=lambda door: door.spends):  # stable: the client itself is deleted last
        if "/account/" in door.endpoint and door.spends:
            await wallet.sign_in()
        for kind in sorted(door.opens):
            answer = await _shown(wallet, door, kind)
            assert door.opened(answer), (door.name, kind, answer.status_code, answer.text)


def test_there_is_a_row_for_every_endpoint() -> None:
    settings = WebSettings.model_construct(issuer="http://localhost:8080", session_timeout=600)
    app = create_app(MagicMock(settings=settings))
    endpoints = {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert endpoints - {door.endpoint for door in DOORS} == PUBLIC


def test_there_is_a_row_for_every_credential() -> None:
    keys = {
        name
        for name, member in inspect.getmembers(keyspace, inspect.isfunction)
        if member.__module__ == keyspace.__name__ and not name.startswith("_")
    }
    assert keys == KEPT_FOR.keys() | NO_CREDENTIAL
    assert set().union(*KEPT_FOR.values()) <= set(KINDS)
