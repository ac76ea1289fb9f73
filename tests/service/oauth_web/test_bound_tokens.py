"""Tokens bound to a certificate (RFC 8705): a client that registers for them gets only bound tokens, and a refresh
keeps the binding.

The tests write the header that Envoy writes; `tests/envoy/tls/test_whole_gateway.py` has a real Envoy in
between.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ADA, BOB = (hashlib.sha256(name).digest() for name in (b"ada", b"bob"))
NOBODY: dict[str, str] = {}


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with running_web({"CERTIFICATE_BOUND_TOKENS": "asked"}) as server:
        yield server


@pytest.fixture
async def client(web: WebServer) -> AsyncIterator[OAuthClient]:
    async with OAuthClient(web.issuer) as client:
        yield client


def showing(certificate: bytes) -> dict[str, str]:
    return {"X-Forwarded-Client-Cert": f"Hash={certificate.hex()}"}


def binding(token: str) -> Any:
    return jwt.decode(token, options={"verify_signature": False}).get("cnf")


def bound_to(certificate: bytes) -> dict[str, str]:
    return {"x5t#S256": base64.urlsafe_b64encode(certificate).rstrip(b"=").decode()}


async def test_a_client_that_registers_for_binding_gets_only_bound_tokens(client: OAuthClient) -> None:
    registration = await client.register(tls_client_certificate_bound_access_tokens=True)
    assert registration.document["tls_client_certificate_bound_access_tokens"] is True
    pkce, name = Pkce.fresh(), registration.client_id
    code = await client.code(name, pkce)
    form = {
        "grant_type": "authorization_code",
        "client_id": name,
        "code": code,
        "code_verifier": pkce.verifier,
        "redirect_uri": REDIRECT_URI,
    }
    two = f"Hash={ADA.hex()},Hash={BOB.hex()}"
    for headers in (NOBODY, {"X-Forwarded-Client-Cert": two}, {"X-Forwarded-Client-Cert": "Hash=x"}):
        refused = await client.token(form, headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request"), (
            "and the code is still valid"
        )
    tokens = (await client.token(form, showing(ADA))).json()
    assert binding(tokens["access_token"]) == bound_to(ADA)
    refresh = {"grant_type": "refresh_token", "client_id": name, "refresh_token": tokens["refresh_token"]}
    for headers, error in ((NOBODY, "invalid_request"), (showing(BOB), "invalid_grant")):
        refused = await client.token(refresh, headers)
        assert (refused.status_code, refused.json()["error"]) == (400, error), "and the family is still valid"
    renewed = (await client.token(refresh, showing(ADA))).json()
    assert binding(renewed["access_token"]) == bound_to(ADA)


async def test_a_client_that_does_not_register_for_binding_gets_no_bound_token(client: OAuthClient) -> None:
    registration, pkce = await client.register(), Pkce.fresh()
    assert "tls_client_certificate_bound_access_tokens" not in registration.document
    code = await client.code(registration.client_id, pkce)
    form = {
        "grant_type": "authorization_code",
        "client_id": registration.client_id,
        "code": code,
        "code_verifier": pkce.verifier,
        "redirect_uri": REDIRECT_URI,
    }
    assert binding((await client.token(form, showing(ADA))).json()["access_token"]) is None


async def test_the_metadata_advertises_certificate_bound_tokens(client: OAuthClient) -> None:
    metadata = (await client.http.get(f"{client.issuer}/.well-known/oauth-authorization-server")).json()
    assert metadata["tls_client_certificate_bound_access_tokens"] is True


async def test_only_true_and_false_are_accepted(client: OAuthClient) -> None:
    document = {"redirect_uris": [REDIRECT_URI], "tls_client_certificate_bound_access_tokens": "yes"}
    answer = await client.http.post(f"{client.issuer}/register", json=document)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
