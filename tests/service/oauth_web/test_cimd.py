"""Clients whose id is the URL of their metadata document, published by a real HTTPS server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.crypto.credentials import hash_secret
from oauth_core.settings import WebSettings, load
from oauth_core.store import keyspace
from oauth_web.grants.catalog import GRANT_TYPES
from oauth_web.runtime.deps import wire
from tests.support.assertions import as_form, jwks, key, signed
from tests.support.master_key import age_documents
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce
from tests.support.publisher import Page, Publisher, running_publisher
from tests.support.web_process import WebServer, another_web, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx2

CHALLENGE = Pkce.fresh().challenge
EVERYWHERE = "0.0.0.0"  # noqa: S104 - an address to refuse, not to listen on
_ADDRESSES = count(1)
VS_CODE, VS_CODE_REDIRECT = "https://vscode.dev/oauth/client-metadata.json", "http://127.0.0.1:33418/"
PINNED = "https://pinned.example/client.json"


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with running_publisher() as publisher:
        yield publisher


@pytest.fixture(scope="module")
def local_web(publisher: Publisher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    folder = tmp_path_factory.mktemp("pinned")
    document = {"client_id": PINNED, "client_name": "A pinned client", "redirect_uris": [REDIRECT_URI]}
    (folder / "one.json").write_text(json.dumps(document), encoding="utf-8")
    settings = {
        "CLIENT_DOCUMENTS_CA_FILE": str(publisher.ca_file),
        "ALLOW_LOOPBACK_CLIENT_DOCUMENTS": "true",
        "PINNED_CLIENT_DOCUMENTS": str(folder),
    }
    with running_web(settings) as server:
        yield server


@pytest.fixture
async def local(local_web: WebServer) -> AsyncIterator[OAuthClient]:
    """A client at its own address: the fetches of one test are not counted against the next."""
    async with OAuthClient(local_web.issuer) as client:
        client.http.headers["X-Portcullis-Address"] = f"203.0.113.{next(_ADDRESSES)}"
        yield client


async def asked(client: OAuthClient, client_id: str, **parameters: str) -> httpx2.Response:
    return await client.http.get(client.authorize_url(client_id, CHALLENGE, **parameters))


def local_web_settings(web: WebServer) -> WebSettings:
    return load(WebSettings, None, web.environment)


def age(web: WebServer, seconds: int = 3600) -> None:
    """Make every copy this old and stale, and end every pause after a failure."""
    then = int(time.time()) - seconds
    with web.redis.client() as redis:
        age_documents(redis, then)
        for name in redis.scan_iter("document-failed:*"):
            redis.delete(name)


# -- signing in --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("cimd:fetch", "mcp:cimd")
async def test_a_client_with_a_published_document_signs_in_refreshes_and_revokes_its_token(
    publisher: Publisher, local: OAuthClient
) -> None:
    client_id = publisher.client("/app/signs-in.json")
    tokens = await local.tokens(client_id)
    refreshed = await local.refresh(client_id, tokens["refresh_token"])
    assert refreshed.status_code == 200, refreshed.text
    form = {"client_id": client_id, "token": refreshed.json()["refresh_token"]}
    assert (await local.http.post(f"{local.issuer}/revoke", data=form)).status_code == 200
    answer = await local.refresh(client_id, refreshed.json()["refresh_token"])
    assert answer.json()["error"] == "invalid_grant"
    assert publisher.times_asked("/app/signs-in.json") == 1


@pytest.mark.requirement("cimd:hostname")
async def test_the_consent_page_shows_the_host_that_vouches_for_the_client(
    publisher: Publisher, local: OAuthClient
) -> None:
    client_id = publisher.client("/app/consent.json", client_name="Bank of <b>Everything</b>")
    page = (await asked(local, client_id)).text
    assert f"<dd>{publisher.host}</dd>" in page
    assert "<b>Everything" not in page


@pytest.mark.requirement("mcp:cimd-fetch")
async def test_the_fetch_has_no_cookie_and_names_the_host(publisher: Publisher, local: OAuthClient) -> None:
    client_id = publisher.client("/app/headers.json")
    await asked(local, client_id)
    headers = next(headers for path, headers in publisher.asked if path == "/app/headers.json")
    assert headers["host"] == publisher.host
    assert headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "referer"} & headers.keys()


@pytest.mark.requirement("cimd:registered-method")
@pytest.mark.parametrize("by_address", [True, False])
async def test_a_client_whose_document_has_keys_must_sign(
    publisher: Publisher, local: OAuthClient, by_address: bool
) -> None:
    keys = {"jwks_uri": publisher.put("/app/keys", jwks(key()))} if by_address else {"jwks": jwks(key())}
    path = f"/app/signed-{by_address}.json"
    client_id = publisher.client(path, token_endpoint_auth_method="private_key_jwt", **keys)
    pkce = Pkce.fresh()
    code = await local.code(client_id, pkce)
    assert (await local.redeem(client_id, code, pkce.verifier)).status_code == 401
    proof = as_form(signed(client_id, local.issuer))
    assert (await local.redeem(client_id, code, pkce.verifier, **proof)).status_code == 200


@pytest.mark.requirement("cimd:redirect", "mcp:cimd-redirect")
async def test_a_redirect_uri_that_is_not_in_the_document_is_refused_on_a_page(
    publisher: Publisher, local: OAuthClient
) -> None:
    client_id = publisher.client("/app/redirect.json")
    assert (await asked(local, client_id)).status_code == 200
    for wrong in ("https://evil.example/", f"{REDIRECT_URI}/", f"{REDIRECT_URI}?a"):
        answer = await asked(local, client_id, redirect_uri=wrong)
        assert (answer.status_code, answer.has_redirect_location) == (400, False), wrong


async def test_the_url_is_not_readable_in_any_key(local_web: WebServer, publisher: Publisher) -> None:
    async with OAuthClient(local_web.issuer) as client:
        await client.tokens(publisher.client("/app/in-redis.json"))
    with local_web.redis.client() as redis:
        names = list(redis.scan_iter("*"))
    assert any(name.startswith("document:") for name in names)
    assert any(name.startswith("client-grants:") for name in names)
    assert not any("localhost" in name or "/" in name for name in names)


@pytest.mark.requirement("cimd:advertised")
async def test_support_is_advertised(local: OAuthClient) -> None:
    document = (await local.http.get(f"{local.issuer}/.well-known/oauth-authorization-server")).json()
    assert document["client_id_metadata_document_supported"] is True
    assert "none" in document["token_endpoint_auth_methods_supported"]


async def test_a_url_cannot_be_managed_as_a_registration(publisher: Publisher, local: OAuthClient) -> None:
    client_id = publisher.client("/app/managed.json")
    await asked(local, client_id)
    headers = {"Authorization": "Bearer x"}
    assert (await local.http.get(f"{local.issuer}/register/{client_id}", headers=headers)).status_code in {
        401,
        404,
    }


# -- invalid documents --------------------------------------------------------------------------------------------


@pytest.mark.requirement("cimd:no-cached-errors", "mcp:cimd-match")
@pytest.mark.parametrize(
    "members",
    [
        {"client_id": "https://other.example/app.json"},
        {"client_id": None},
        {"client_name": None},
        {"redirect_uris": []},
        {"redirect_uris": ["http://evil.example/"]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"client_secret": "hush"},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"token_endpoint_auth_method": "private_key_jwt"},
    ],
)
async def test_an_invalid_document_is_refused_on_a_page(
    publisher: Publisher, local: OAuthClient, members: dict[str, Any]
) -> None:
    name = abs(hash(str(members)))
    client_id = publisher.client(f"/unfit/{name}.json", **members)
    answer = await asked(local, client_id)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "invalid_client_metadata" in answer.text


PLAIN = {"Content-Type": "application/json"}


@pytest.mark.requirement("cimd:only-200", "cimd:no-redirect", "cimd:fetch-fails", "cimd:size")
@pytest.mark.parametrize(
    "page",
    [
        Page(b"{}", 404),
        Page(b"{}", 500),
        Page(b"{}", 302, {**PLAIN, "Location": "/app/elsewhere.json"}),
        Page(b" " * 5000 + b"{" + b" " * 500 + b"}"),
        Page(b"{}", headers={"Content-Type": "text/html"}),
        Page(b"{}", headers={"Content-Type": "text/plain; application/json"}),
        Page(b"{}", headers={}),
        Page(b"{}", headers={**PLAIN, "Content-Encoding": "gzip"}),
        Page(b"{", drip=True),
    ],
    ids=["404", "500", "redirect", "large", "html", "plain", "untyped", "compressed", "drip"],
)
async def test_a_document_that_cannot_be_fetched_is_unavailable_and_not_unknown(
    publisher: Publisher, local: OAuthClient, page: Page, request: pytest.FixtureRequest
) -> None:
    path = f"/broken/{request.node.callspec.id}.json"
    publisher.client("/app/elsewhere.json")
    publisher.pages[path] = page
    before = publisher.times_asked("/app/elsewhere.json")
    answer = await asked(local, publisher.url(path))
    assert answer.status_code == 503
    assert "temporarily_unavailable" in answer.text
    assert answer.headers["Retry-After"]
    in_token = await local.refresh(publisher.url(path), "x")
    assert (in_token.status_code, in_token.json()["error"]) == (503, "temporarily_unavailable")
    assert publisher.times_asked(path) == 1, "after a failure the host is not asked for a while"
    assert publisher.times_asked("/app/elsewhere.json") == before


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost", "https://localhost/", "https://localhost/a#b", "https://user@localhost/a",
        "https://localhost/../a", "https://localhost/%2e%2e/a", "https://LOCALHOST/a", "http://example.com/a",
        "https://localhost/a b", "https://localhost\\@evil.example/a", "https://localhost:99999/a",
    ],
)  # fmt: skip
async def test_a_url_that_breaks_the_rules_is_refused_without_a_fetch(local: OAuthClient, url: str) -> None:
    answer = await asked(local, url)
    assert answer.status_code == 400
    assert "invalid_client_metadata" in answer.text


# -- copies -------------------------------------------------------------------------------------------------------


async def test_many_requests_for_one_document_share_one_fetch(publisher: Publisher, local: OAuthClient) -> None:
    client_id = publisher.client("/app/shared.json")
    gate = threading.Event()
    publisher.pages["/app/shared.json"].gate = gate
    requests = [asyncio.create_task(asked(local, client_id)) for _ in range(20)]
    assert await asyncio.to_thread(publisher.pages["/app/shared.json"].reached.wait, 20)
    gate.set()
    assert {answer.status_code for answer in await asyncio.gather(*requests)} == {200}
    assert publisher.times_asked("/app/shared.json") == 1


@pytest.mark.requirement("cimd:no-cached-errors")
async def test_the_last_valid_copy_is_used_while_the_publisher_is_away(
    publisher: Publisher, local_web: WebServer, local: OAuthClient
) -> None:
    client_id = publisher.client("/app/away.json")
    assert (await asked(local, client_id)).status_code == 200
    for broken in (Page(b"{}", 500), Page(b'{"client_id": "x"}')):
        publisher.pages["/app/away.json"] = broken
        age(local_web)
        assert (await asked(local, client_id)).status_code == 200
        assert (await asked(local, client_id)).status_code == 200
    assert publisher.times_asked("/app/away.json") == 3


async def test_the_last_valid_copy_is_not_used_for_ever(
    publisher: Publisher, local_web: WebServer, local: OAuthClient
) -> None:
    """Otherwise an attacker who blocks the way to the publisher keeps a withdrawn redirect URI or key valid."""
    client_id = publisher.client("/app/gone.json")
    assert (await asked(local, client_id)).status_code == 200
    publisher.pages["/app/gone.json"] = Page(b"{}", 500)
    longest = local_web_settings(local_web).client_documents_max_age
    for seconds, status in ((longest - 60, 200), (longest + 60, 503)):
        age(local_web, seconds)
        assert (await asked(local, client_id)).status_code == status


async def test_with_pinned_documents_only_nothing_is_fetched_and_cimd_is_still_advertised(
    publisher: Publisher, local_web: WebServer, local: OAuthClient
) -> None:
    client_id = publisher.client("/app/switched-off.json")
    tokens = await local.tokens(client_id)
    asked_before = len(publisher.asked)
    with another_web(local_web, {"CLIENT_DOCUMENTS": "pinned"}) as address:
        async with OAuthClient(address) as client:
            assert await _advertises(client)
            for url in (client_id, publisher.client("/app/never-asked.json")):
                page = await asked(client, url)
                assert page.status_code == 400
                assert "invalid_client" in page.text
            # The rights that it was given before cannot be refreshed.
            refused = await client.refresh(client_id, tokens["refresh_token"])
            assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
            assert (await asked(client, PINNED)).status_code == 200
            assert (await asked(client, VS_CODE, redirect_uri=VS_CODE_REDIRECT)).status_code == 400
    assert len(publisher.asked) == asked_before


async def _advertises(client: OAuthClient) -> bool:
    metadata = (await client.http.get(f"{client.issuer}/.well-known/oauth-authorization-server")).json()
    return bool(metadata["client_id_metadata_document_supported"])


async def test_known_documents_can_be_pinned_and_without_any_document_cimd_is_not_advertised(
    local_web: WebServer, tmp_path: Path
) -> None:
    settings = {"CLIENT_DOCUMENTS": "pinned", "PINNED_CLIENT_DOCUMENTS": str(tmp_path)}
    with another_web(local_web, settings) as address:
        async with OAuthClient(address) as client:
            assert not await _advertises(client)
            assert (await asked(client, VS_CODE, redirect_uri=VS_CODE_REDIRECT)).status_code == 400
    with another_web(local_web, {**settings, "KNOWN_CLIENT_DOCUMENTS": "pinned"}) as address:
        async with OAuthClient(address) as client:
            assert await _advertises(client)
            page = await asked(client, VS_CODE, redirect_uri=VS_CODE_REDIRECT)
            assert page.status_code == 200
            assert "Visual Studio Code" in page.text
            assert "vscode.dev" in page.text
            assert (await client.http.get(f"{address}/healthz")).json()["client_documents"] == "untried"


async def test_clients_of_hosts_that_are_not_listed_are_refused_even_with_earlier_grants(
    publisher: Publisher, local_web: WebServer, local: OAuthClient
) -> None:
    client_id = publisher.client("/app/of-a-host.json")
    tokens = await local.tokens(client_id)
    before = len(publisher.asked)
    with another_web(local_web, {"CLIENT_DOCUMENT_HOSTS": "app.example, *.localhost"}) as address:
        async with OAuthClient(address) as client:
            for url in (client_id, publisher.client("/app/never-fetched.json")):
                page = await asked(client, url)
                assert page.status_code == 400
                assert "apps of this host are not accepted here" in page.text
            refused = await client.refresh(client_id, tokens["refresh_token"])
            assert (refused.status_code, refused.json()["error"]) == (400, "unauthorized_client")
            assert (await asked(client, PINNED)).status_code == 200
    assert len(publisher.asked) == before
    with another_web(local_web, {"CLIENT_DOCUMENT_HOSTS": publisher.host}) as address:
        async with OAuthClient(address) as client:
            assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    "members",
    [
        {"token_endpoint_auth_methods_supported": ["private_key_jwt", "none", "tls_client_auth"]},
        {"token_endpoint_auth_method": ["client_secret_basic", "none"]},
    ],
    ids=["beside", "instead"],
)
async def test_a_document_with_more_methods_than_are_supported_signs_in(
    publisher: Publisher, local: OAuthClient, members: dict[str, Any]
) -> None:
    path = f"/app/several-{len(members)}-{abs(hash(str(members)))}.json"
    document = {"token_endpoint_auth_method": None, **members}
    client_id = publisher.client(path, **document)
    tokens = await local.tokens(client_id)
    assert (await local.refresh(client_id, tokens["refresh_token"])).status_code == 200


async def test_invalid_entries_of_a_document_are_ignored_beside_valid_ones(
    publisher: Publisher, local: OAuthClient
) -> None:
    weak = {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "weak"}
    client_id = publisher.client(
        "/app/partly-fit.json",
        redirect_uris=["javascript:alert(1)", "http://app.example/", REDIRECT_URI, 5],
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [weak, *jwks(key())["keys"]]},
        client_uri="javascript:alert(1)",
    )
    pkce = Pkce.fresh()
    assert "javascript:" not in (await asked(local, client_id)).text
    assert (await asked(local, client_id, redirect_uri="javascript:alert(1)")).status_code == 400
    code = await local.code(client_id, pkce)
    proof = as_form(signed(client_id, local.issuer))
    assert (await local.redeem(client_id, code, pkce.verifier, **proof)).status_code == 200


@pytest.mark.requirement("mcp:cimd-cache")
async def test_a_changed_document_is_used_once_the_copy_is_stale(
    publisher: Publisher, local_web: WebServer, local: OAuthClient
) -> None:
    client_id = publisher.client("/app/changed.json")
    assert (await asked(local, client_id)).status_code == 200
    publisher.client("/app/changed.json", redirect_uris=["https://new.example/callback"])
    assert (await asked(local, client_id)).status_code == 200
    age(local_web)
    assert (await asked(local, client_id)).status_code == 400


async def test_a_copy_is_kept_as_long_as_the_grants_of_its_client(
    publisher: Publisher, local_web: WebServer, local: OAuthClient
) -> None:
    client_id = publisher.client("/app/long.json")
    await local.tokens(client_id)
    with local_web.redis.client() as redis:
        life = redis.ttl(keyspace.document(hash_secret(f"client {client_id}")))
    assert life > local_web_settings(local_web).client_lifetime


async def test_deleting_a_published_client_ends_its_grants(
    publisher: Publisher, local_web: WebServer, local: OAuthClient
) -> None:
    client_id = publisher.client("/app/deleted.json")
    tokens = await local.tokens(client_id)
    deps = await wire(local_web_settings(local_web), GRANT_TYPES)
    try:
        assert await deps.clients.exists(client_id)
        ended = await deps.revocation.delete_client(deps.clients, client_id)
        assert not await deps.clients.exists(client_id)
    finally:
        await deps.aclose()
    assert len(ended) == 1
    answer = await local.refresh(client_id, tokens["refresh_token"])
    assert answer.json()["error"] == "invalid_grant"


# -- internal addresses -------------------------------------------------------------------------------------------


@pytest.mark.requirement("cimd:ssrf", "mcp:cimd-security")
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "192.168.1.1", EVERYWHERE, "[::1]", "[fd00::1]",
        "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "2130706433", "127.1", "0x7f.1",
    ],
)  # fmt: skip
async def test_documents_at_special_addresses_are_not_fetched(
    publisher: Publisher, client: OAuthClient, host: str
) -> None:
    before = len(publisher.asked)
    answer = await asked(client, f"https://{host}:{publisher.port}/app/special.json")
    assert answer.status_code == 503
    assert len(publisher.asked) == before


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "[fd00::1]", "[::ffff:127.0.0.1]", EVERYWHERE])
async def test_allowing_loopback_allows_no_other_special_address(
    publisher: Publisher, local_web: WebServer, local: OAuthClient, host: str
) -> None:
    before = len(publisher.asked)
    url = f"https://{host}:{publisher.port}/app/allowed.json"
    assert (await asked(local, url)).status_code == 503
    assert len(publisher.asked) == before
    told = [line for line in local_web.log.read_text().splitlines() if url in line and "no document" in line]
    assert "not public" in told[-1]


# -- pinned ------------------------------------------------------------------------------------------------------


async def test_a_pinned_document_is_used_and_nothing_is_fetched(local: OAuthClient) -> None:
    tokens = await local.tokens(PINNED)
    assert (await local.refresh(PINNED, tokens["refresh_token"])).status_code == 200
