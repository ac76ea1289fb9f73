"""The matrix of row R3: every kind of credential at every endpoint; each is accepted only where it belongs."""

from __future__ import annotations

import inspect
import json
import ssl
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import pytest

from oauth_core.settings import WebSettings
from oauth_core.store import keyspace
from oauth_web.app import create_app
from tests.support.assertions import KEY_NAME, PROVIDER, SUBJECT, jwks, key
from tests.support.certificates import Authority
from tests.support.gateway import WHOAMI_ALONE, RunningGateway, running_gateway
from tests.support.oauth_client import OAuthClient
from tests.system.realms import credentials as kinds
from tests.system.realms.credentials import KINDS, MADE_ANEW, Wallet, filled
from tests.system.realms.doors import ANSWERED, DOORS, PUBLIC, REFUSALS, Door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx2

SETTINGS = (
    """
tokens.certificate_bound = "asked"
tls.cert = "%(cert)s"
tls.key = "%(key)s"
tls.client_ca = "%(callers)s"
"""
    + WHOAMI_ALONE.replace("http://localhost", "https://localhost")
    + """assertion = true

[[services]]
name = "other"
url = "/other/mcp"
command = ["portcullis", "example-server", "--listen", "unix:{socket}"]
transport = "http"

[[trusted_issuers]]
issuer = "%(provider)s"
jwks_file = "%(jwks)s"
clients = ["%(client)s"]
users = { %(subject)s = { github_id = 583231, github_user = "octocat" } }
"""
)

KEPT_FOR = {
    "client": {kinds.SECRET, kinds.REGISTRATION},
    "initial_access_token": {kinds.INITIAL},
    "assertion": {kinds.ASSERTION, kinds.ID_JAG, kinds.PROOF},
    "pending": {kinds.HANDLE, kinds.BROWSER},
    "sign_in": {kinds.STATE},
    "answer": {kinds.HANDLE, kinds.STATE},
    "code": {kinds.CODE},
    "device": {kinds.DEVICE_CODE},
    "device_user_code": {kinds.USER_CODE},
    "grant": {kinds.REFRESH},
    "session": {kinds.SESSION, kinds.FORM_TOKEN},
    "token": {kinds.ACCESS_A, kinds.ACCESS_B, kinds.ACCESS_BOUND, kinds.ACCESS_KEYED},
}
"""The credentials that each key in Redis belongs to."""

NO_CREDENTIAL = {
    *(
        "client_grants",
        "user_grants",
        "grant_tokens",
        "user",
        "block",
        "disabled_client",
        "disabled_trait",
        "cutoff_of_user",
        "cutoff_of_client",
        "lease",
    ),
    *(
        "lease_back_off",
        "document",
        "document_failed",
        "document_fetches",
        "device_attempts",
        "rate",
        "stored",
        "call_permits",
    ),
    *(
        "user_sessions",
        "consents",
        "consent_field",
        "notices",
        "contact",
        "pending_contact",
        "mail",
        "stored_by",
        "login",
        "cutoff_of_clients_of",
        "cutoff_of_unredeemed",
    ),
    *(
        "ended_key",
        "ended_invite",
        "ended_grant",
        "ended_client",
        "ended_consents",
        "ended_person",
        "sibling_grants",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("realms")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    """The authority that callers trust."""
    return Authority(folder, "authority")


@pytest.fixture(scope="module")
def callers(folder: Path) -> Authority:
    """The authority that the gateway trusts for client certificates."""
    return Authority(folder, "callers")


@pytest.fixture(scope="module")
def gateway(folder: Path, authority: Authority, callers: Authority) -> Iterator[RunningGateway]:
    """A gateway with TLS and two services, where registration needs a token, and no rate limit applies.

    It requests client certificates, and trusts an identity provider.
    """
    server, jwks_file = authority.identity("localhost"), folder / "provider.json"
    jwks_file.write_text(json.dumps(jwks(key(name=KEY_NAME))), encoding="utf-8")
    config = SETTINGS % {
        "cert": server.cert, "key": server.key, "callers": callers.cert, "jwks": jwks_file,
        "provider": PROVIDER, "subject": SUBJECT, "client": kinds.ENTERPRISE,
    }  # fmt: skip
    environ = {"CLIENT_REGISTRATION": "token", "SSL_CERT_FILE": str(authority.cert)}
    with running_gateway(config=config, environ=environ) as gateway:
        yield gateway


@pytest.fixture
async def wallet(gateway: RunningGateway, authority: Authority, callers: Authority) -> AsyncIterator[Wallet]:
    """One of every kind."""
    ada = callers.identity("ada")
    plain, certified = (ssl.create_default_context(cafile=str(authority.cert)) for _ in range(2))
    certified.load_cert_chain(ada.cert, ada.key)
    async with OAuthClient(gateway.url, tls=plain) as oauth, OAuthClient(gateway.url, tls=certified) as with_cert:
        yield await filled(gateway, oauth, with_cert, ada)


async def _shown(wallet: Wallet, door: Door, kind: str) -> httpx2.Response:
    method, _, path = door.endpoint.partition(" ")
    path = path.replace("<client_id>", wallet.client.client_id)
    return await wallet.connection(kind).request(
        method, f"{wallet.gateway.url}{path}", **door.request(wallet, await wallet.text(kind))
    )


async def _moved_by_a_credential(wallet: Wallet) -> AsyncIterator[tuple[str, str]]:
    """Public endpoints that answer differently to a request with a credential."""
    for endpoint in sorted(endpoint for endpoint in PUBLIC if endpoint.startswith("GET ")):
        url = wallet.gateway.url + endpoint.removeprefix("GET ").replace("<path:path>", "whoami/mcp")
        usual = await wallet.oauth.http.get(url)
        for kind in KINDS:
            headers = {"Authorization": f"Bearer {await wallet.text(kind) or 'x'}"}
            shown = await wallet.connection(kind).get(url, headers=headers)
            if (shown.status_code, shown.content) != (usual.status_code, usual.content):
                yield endpoint, kind


@pytest.mark.timeout(300)  # some six hundred requests, on a gateway of their own
async def test_every_credential_is_accepted_only_at_its_own_endpoints(wallet: Wallet) -> None:
    assert set(KINDS) <= wallet.kept.keys() | MADE_ANEW
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
    # Only now the right ones: each endpoint accepts its own kind, and no wrong credential consumed a right one.
    for door in sorted(DOORS, key=lambda door: door.spends):  # stable: the client itself is deleted last
        if "/account/" in door.endpoint and door.spends:
            await wallet.sign_in()
        for kind in sorted(door.opens):
            answer = await _shown(wallet, door, kind)
            assert door.opened(answer), (door.name, kind, answer.status_code, answer.text)


def test_there_is_a_row_for_every_endpoint() -> None:
    settings = WebSettings.model_construct(issuer="http://localhost:8080", session_timeout=600)
    app = create_app(MagicMock(settings=settings, documents=MagicMock(are_offered=True)))
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
