"""Rotating keys while the server runs, by the operator's own command."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from oauth_core.jose.key_ring import JWKS_MAX_AGE
from oauth_core.store import keyspace
from tests.support import forks
from tests.support.oauth_client import Pkce
from tests.support.programs import until
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.oauth_client import OAuthClient


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A server for this module: a rotation is visible to all others."""
    with running_web() as server:
        yield server


def keys(web: WebServer, *arguments: str, expect: int = 0) -> Any:
    done = forks.run("portcullis", "keys", *arguments, environment=web.environment)
    assert done.returncode == expect, done.stderr
    assert web.environment["MASTER_KEY"] not in done.stdout + done.stderr
    return json.loads(done.stdout) if "--json" in arguments and expect == 0 else done.stderr


_PAUSE = 0.5
_MOST_SIGN_INS = 10
"""A person may sign in thirty times a minute, and other tests sign in too."""


async def published_keys(client: OAuthClient) -> dict[str, jwt.PyJWK]:
    answer = await client.http.get(f"{client.issuer}/.well-known/jwks.json")
    return {str(key.key_id): key for key in jwt.PyJWKSet.from_dict(answer.json()).keys}


async def test_the_published_keys_may_be_cached_no_longer_than_a_new_key_waits(
    web: WebServer, client: OAuthClient
) -> None:
    answer = await client.http.get(f"{web.issuer}/.well-known/jwks.json")
    assert answer.headers["Cache-Control"] == f"public, max-age={JWKS_MAX_AGE}"


async def test_a_rotation_reaches_the_running_server_and_old_tokens_stay_valid(
    web: WebServer, client: OAuthClient
) -> None:
    (first,) = keys(web, "list", "--json")
    assert first["signs"] is True
    registration = await client.register()
    before = (await client.tokens(registration.client_id))["access_token"]
    rotated = keys(web, "rotate", "--algorithm", "EdDSA", "--json")
    assert [key["algorithm"] for key in rotated] == ["EdDSA", "ES256"]
    new = rotated[0]["kid"]
    published, signed_by = {}, ""
    # Sign-ins are limited, so first see that the key is published and signs; the time until then depends on the
    # machine.
    async with asyncio.timeout(60):
        while new not in (await published_keys(client)):  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(_PAUSE)
        while not next(key for key in keys(web, "list", "--json") if key["kid"] == new)["signs"]:  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE)
        # Each token that is issued meanwhile can be verified with the published keys.
        for _ in range(_MOST_SIGN_INS):
            token = (await client.tokens(registration.client_id))["access_token"]
            published = await published_keys(client)
            signed_by = jwt.get_unverified_header(token)["kid"]
            assert signed_by in published
            if signed_by == new:
                break
            await asyncio.sleep(_PAUSE)
    assert signed_by == new
    jwt.decode(before, published[first["kid"]], algorithms=["ES256"], audience=web.resource)
    assert "stays" in keys(web, "retire", first["kid"], expect=1)
    assert "stays" in keys(web, "retire", new, expect=1)
    assert [key["kid"] for key in keys(web, "retire", first["kid"], "--force", "--json")] == [new]
    with web.redis.client() as redis:
        assert first["kid"] not in str(redis.get("jwks"))


async def test_check_services_of_the_former_version_find_every_key_in_a_plain_set_at_the_old_key(
    web: WebServer, client: OAuthClient
) -> None:
    def plain() -> dict[str, Any]:
        with web.redis.client() as redis:
            return dict(json.loads(str(redis.get("jwks") or "{}")))

    async with asyncio.timeout(60):
        # Until an earlier test's change is read; another process decides.
        while plain() != (await client.http.get(f"{web.issuer}/.well-known/jwks.json")).json():  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE)
    new = keys(web, "rotate", "--json")[0]["kid"]
    assert new in [key["kid"] for key in plain()["keys"]], "before it signs"
    with web.redis.client() as redis:
        redis.delete("jwks")
    async with asyncio.timeout(60):
        while new not in str(plain()):  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(_PAUSE)
    token = (await client.tokens((await client.register()).client_id))["access_token"]
    jwt.decode(
        token,
        jwt.PyJWKSet.from_dict(plain())[jwt.get_unverified_header(token)["kid"]],
        algorithms=["ES256", "EdDSA"],
        audience=web.resource,
    )


async def test_a_key_may_have_the_newer_name_of_its_algorithm(web: WebServer, client: OAuthClient) -> None:
    new = keys(web, "rotate", "--algorithm", "Ed25519", "--json")[0]
    assert new["algorithm"] == "Ed25519"
    for other in keys(web, "list", "--json")[1:]:
        keys(web, "retire", other["kid"], "--force")
    registration = await client.register(token_endpoint_auth_method="client_secret_post")
    pkce, secret = Pkce.fresh(), registration.secret
    code = await client.code(registration.client_id, pkce)
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": pkce.verifier}
    proof = {"client_id": registration.client_id, "client_secret": secret}
    async with asyncio.timeout(60):
        while True:  # until this process has read the ring again
            published = (await client.http.get(f"{web.issuer}/.well-known/jwks.json")).json()["keys"]
            if [key["kid"] for key in published] == [new["kid"]]:
                break
    token = (await client.token({**form, **proof})).json()["access_token"]
    assert jwt.get_unverified_header(token)["alg"] == published[0]["alg"] == "Ed25519"
    signed, _, signature = token.rpartition(".")
    public = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(published[0]["x"] + "="))
    public.verify(urlsafe_b64decode(signature + "=="), signed.encode())
    introspected = await client.http.post(f"{web.issuer}/introspect", data={**proof, "token": token})
    assert introspected.json()["active"] is True


def without_times(ring: str) -> str:
    return json.dumps([{**entry, "created_at": "yesterday"} for entry in json.loads(ring)])


BROKEN: dict[str, Callable[[str], str]] = {
    "not JSON": lambda _: "{",
    "nested too deeply": lambda _: "[" * 100_000,
    "with keys of no time": without_times,
}


@pytest.mark.parametrize("break_ring", BROKEN.values(), ids=BROKEN)
def test_a_server_continues_to_read_the_key_ring_after_a_broken_one(
    web: WebServer, break_ring: Callable[[str], str]
) -> None:
    """Otherwise an attacker with write access to Redis could prevent the retirement of a leaked key."""

    def logged(text: str) -> int:
        return web.log.read_text().count(text)

    unreadable, kept_again = logged("key ring unreadable"), logged("it is kept again")
    with web.redis.client() as redis:
        redis.set(keyspace.KEYRING, break_ring(str(redis.get(keyspace.KEYRING))))
        until(lambda: logged("key ring unreadable") > unreadable, "the broken ring was read")
        assert "the key ring in Redis is damaged" in keys(web, "list", expect=1)
        redis.delete(keyspace.KEYRING)
        until(lambda: logged("it is kept again") > kept_again, "the ring was written again")
    assert keys(web, "list", "--json")


def test_a_wrong_master_key_is_one_readable_line(web: WebServer) -> None:
    wrong = {**web.environment, "MASTER_KEY": "A" * 43 + "="}
    done = forks.run("portcullis", "keys", "list", environment=wrong)
    assert done.returncode == 1
    assert "another MASTER_KEY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kid", ["-nlxvONGBbKf2p", "-h", "-force"])
def test_a_key_id_that_begins_with_a_hyphen_is_no_option(web: WebServer, kid: str) -> None:
    assert f"there is no key {kid}" in keys(web, "retire", kid, expect=1)
