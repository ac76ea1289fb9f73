"""A client with keys authenticates with an assertion that it signed, once for each assertion (RFC 7523)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.assertions import as_form, jwks, key, signed
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce
from tests.support.publisher import Publisher, running_publisher
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from oauth_core.jose.signing_keys import Algorithm
    from tests.support.oauth_client import Registration


async def registered(client: OAuthClient) -> Registration:
    return await client.register(token_endpoint_auth_method="private_key_jwt", jwks=jwks(key()))


async def redeemed(client: OAuthClient, client_id: str, assertion: str | None, /, **form: str) -> httpx2.Response:
    pkce = Pkce.fresh()
    code = await client.code(client_id, pkce)
    given = {"grant_type": "authorization_code", "code": code, "code_verifier": pkce.verifier}
    proof = as_form(assertion) if assertion else {}
    return await client.token({**given, "redirect_uri": REDIRECT_URI, **proof, **form})


async def test_a_registration_with_keys_gets_no_secret_and_its_keys_are_returned(client: OAuthClient) -> None:
    document = (await registered(client)).document
    assert document["token_endpoint_auth_method"] == "private_key_jwt"
    assert document["jwks"] == jwks(key())
    assert "client_secret" not in document


@pytest.mark.parametrize("stated", ["EdDSA", "Ed25519", None])
@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
async def test_an_ed25519_key_is_accepted_under_both_names_of_its_algorithm(
    client: OAuthClient, algorithm: Algorithm, stated: str | None
) -> None:
    signer = key(algorithm)
    public = {**signer.public_jwk(), "alg": stated}
    keys = {"keys": [{name: value for name, value in public.items() if value is not None}]}
    me = (await client.register(token_endpoint_auth_method="private_key_jwt", jwks=keys)).client_id
    answer = await redeemed(client, me, signed(me, client.issuer, by=signer))
    assert answer.status_code == 200, answer.text


@pytest.mark.requirement("rfc7523:client-id")
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("audience", ["{}", "{}/token"])
async def test_an_assertion_gets_tokens_with_or_without_the_client_id_beside_it(
    client: OAuthClient, audience: str, named: bool
) -> None:
    client_id = (await registered(client)).client_id
    beside = {"client_id": client_id} if named else {}
    answer = await redeemed(client, client_id, signed(client_id, audience.format(client.issuer)), **beside)
    assert answer.status_code == 200, answer.text


async def test_a_large_assertion_is_accepted_and_an_oversized_one_is_refused(client: OAuthClient) -> None:
    client_id = (await registered(client)).client_id
    large = signed(client_id, client.issuer, groups=["a" * 40] * 200)
    assert 8192 < len(large) < 16_384
    assert (await redeemed(client, client_id, large)).status_code == 200
    endless = await redeemed(client, client_id, signed(client_id, client.issuer, groups=["a" * 40] * 400))
    assert (endless.status_code, endless.json()["error"]) == (400, "invalid_request")


@pytest.mark.requirement("rfc7523:invalid-client")
async def test_a_client_with_keys_is_not_accepted_without_an_assertion(client: OAuthClient) -> None:
    client_id = (await registered(client)).client_id
    for form in ({"client_id": client_id}, {"client_id": client_id, "client_secret": "made up"}):
        answer = await redeemed(client, client_id, None, **form)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.requirement("rfc7523:jti")
async def test_a_replayed_assertion_is_refused(client: OAuthClient) -> None:
    client_id = (await registered(client)).client_id
    assertion = signed(client_id, client.issuer)
    assert (await redeemed(client, client_id, assertion)).status_code == 200
    answer = await redeemed(client, client_id, assertion)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert "used before" in answer.json()["error_description"]


@pytest.mark.requirement("rfc7523:jti")
async def test_of_fifty_concurrent_uses_of_one_assertion_only_one_succeeds(client: OAuthClient) -> None:
    client_id = (await registered(client)).client_id
    form = {"token": "x", **as_form(signed(client_id, client.issuer))}
    answers = await asyncio.gather(
        *(client.http.post(f"{client.issuer}/introspect", data=form) for _ in range(50))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 49


async def test_a_jti_counts_for_one_client(client: OAuthClient) -> None:
    for client_id in ((await registered(client)).client_id, (await registered(client)).client_id):
        answer = await redeemed(client, client_id, signed(client_id, client.issuer, jti="the same"))
        assert answer.status_code == 200


async def test_a_forged_assertion_does_not_consume_the_jti(client: OAuthClient) -> None:
    client_id = (await registered(client)).client_id
    forger = key("ES256", "forger")
    forged = signed(client_id, client.issuer, by=forger, headers={"kid": key().kid}, jti="wanted")
    assert (await redeemed(client, client_id, forged)).status_code == 401
    assert (await redeemed(client, client_id, signed(client_id, client.issuer, jti="wanted"))).status_code == 200


@pytest.mark.parametrize("endpoint", ["revoke", "introspect"])
async def test_the_other_endpoints_authenticate_the_client_by_its_assertion_too(
    client: OAuthClient, endpoint: str
) -> None:
    client_id = (await registered(client)).client_id
    tokens = (await redeemed(client, client_id, signed(client_id, client.issuer))).json()
    url = f"{client.issuer}/{endpoint}"
    form = {"token": tokens["access_token"]}
    assert (await client.http.post(url, data={**form, "client_id": client_id})).status_code == 401
    answer = await client.http.post(url, data={**form, **as_form(signed(client_id, client.issuer))})
    assert answer.status_code == 200
    if endpoint == "introspect":
        assert answer.json()["active"] is True


async def test_an_assertion_does_not_authenticate_a_client_without_keys(client: OAuthClient) -> None:
    for method in ("client_secret_basic", "client_secret_post"):
        client_id = (await client.register(token_endpoint_auth_method=method)).client_id
        answer = await redeemed(client, client_id, signed(client_id, client.issuer))
        assert answer.status_code == 401
    unknown = "A" * 22
    answer = await client.token({"grant_type": "refresh_token", **as_form(signed(unknown, client.issuer))})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.requirement("oauth21:one-auth", "rfc7523:invalid-client")
async def test_a_second_way_of_authentication_beside_the_assertion_is_refused(client: OAuthClient) -> None:
    client_id = (await registered(client)).client_id
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    for extra, headers in (
        ({"client_secret": "x"}, {}),
        ({"client_id": "another"}, {}),
        ({}, {"Authorization": "Basic eDp5"}),
    ):
        proof = as_form(signed(client_id, client.issuer))
        answer = await client.token({**form, **proof, **extra}, headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.requirement("rfc8414:signing-algs")
async def test_methods_and_algorithms_are_advertised(client: OAuthClient) -> None:
    document = (await client.http.get(f"{client.issuer}/.well-known/oauth-authorization-server")).json()
    for endpoint in ("token", "revocation", "introspection"):
        assert "private_key_jwt" in document[f"{endpoint}_endpoint_auth_methods_supported"]
        offered = document[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]
        assert offered == ["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"]


async def test_the_assertion_is_not_readable_in_the_log(web: WebServer, client: OAuthClient) -> None:
    client_id = (await registered(client)).client_id
    assertion = signed(client_id, client.issuer)
    for _ in range(2):
        await redeemed(client, client_id, assertion)
    assert client_id in web.log.read_text()
    assert assertion.split(".")[2] not in web.log.read_text()


# -- keys at a jwks_uri -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with running_publisher() as publisher:
        yield publisher


@pytest.fixture(scope="module")
def local_web(publisher: Publisher) -> Iterator[WebServer]:
    settings = {
        "CLIENT_DOCUMENTS_CA_FILE": str(publisher.ca_file),
        "ALLOW_LOOPBACK_CLIENT_DOCUMENTS": "true",
    }
    with running_web(settings) as server:
        yield server


async def test_keys_are_fetched_from_the_jwks_uri_and_kept(publisher: Publisher, local_web: WebServer) -> None:
    uri = publisher.put("/keys/kept", jwks(key()))
    async with OAuthClient(local_web.issuer) as client:
        registration = await client.register(token_endpoint_auth_method="private_key_jwt", jwks_uri=uri)
        assert registration.document["jwks_uri"] == uri
        client_id = registration.client_id
        for _ in range(2):
            assert (await redeemed(client, client_id, signed(client_id, client.issuer))).status_code == 200
    assert publisher.times_asked("/keys/kept") == 1


async def test_unknown_keys_cause_one_fetch_only(publisher: Publisher, local_web: WebServer) -> None:
    uri = publisher.put("/keys/hammer", jwks(key()))
    async with OAuthClient(local_web.issuer) as client:
        client_id = (await client.register(token_endpoint_auth_method="private_key_jwt", jwks_uri=uri)).client_id
        for _ in range(5):
            stranger = signed(client_id, client.issuer, by=key("ES256", "stranger"))
            assert (await redeemed(client, client_id, stranger)).status_code == 401
    assert publisher.times_asked("/keys/hammer") == 1


async def test_a_new_key_is_fetched_once_the_copy_is_old_enough(
    publisher: Publisher, local_web: WebServer
) -> None:
    uri = publisher.put("/keys/rotated", jwks(key()), Cache_Control="max-age=86400")
    async with OAuthClient(local_web.issuer) as client:
        client_id = (await client.register(token_endpoint_auth_method="private_key_jwt", jwks_uri=uri)).client_id
        assert (await redeemed(client, client_id, signed(client_id, client.issuer))).status_code == 200
        new = key("ES384", "new")
        publisher.put("/keys/rotated", jwks(new))
        with local_web.redis.client() as redis:
            for name in redis.scan_iter("document:*"):
                redis.hincrby(name, "fetched_at", -61)
        renewed = signed(client_id, client.issuer, by=new)
        assert (await redeemed(client, client_id, renewed)).status_code == 200


async def test_a_jwks_uri_that_cannot_be_fetched_is_unavailable_and_an_empty_key_set_is_refused(
    publisher: Publisher, local_web: WebServer
) -> None:
    publisher.put("/keys/none", {"keys": []})
    async with OAuthClient(local_web.issuer) as client:
        for path, status, error in (
            ("/keys/missing", 503, "temporarily_unavailable"),
            ("/keys/none", 401, "invalid_client"),
        ):
            uri = publisher.url(path)
            client_id = (
                await client.register(token_endpoint_auth_method="private_key_jwt", jwks_uri=uri)
            ).client_id
            answer = await redeemed(client, client_id, signed(client_id, client.issuer))
            assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.requirement("cimd:ssrf-inner")
async def test_a_loopback_jwks_uri_is_not_fetched_unless_allowed(
    publisher: Publisher, web: WebServer, client: OAuthClient
) -> None:
    uri = publisher.put("/keys/local", jwks(key()))
    client_id = (await client.register(token_endpoint_auth_method="private_key_jwt", jwks_uri=uri)).client_id
    answer = await redeemed(client, client_id, signed(client_id, client.issuer))
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert publisher.times_asked("/keys/local") == 0
