"""Machine clients that authenticate with a key (`private_key_jwt`): made by a command, or by a registration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import RSAAlgorithm
from mcp.client.auth.extensions.client_credentials import PrivateKeyJWTOAuthProvider, SignedJWTParameters

from tests.service.oauth_web.client_commands import clients
from tests.service.oauth_web.issued_tokens import assert_refused, claims_of
from tests.support.assertions import as_form, jwks, key, signed

if TYPE_CHECKING:
    from pathlib import Path

    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer

MACHINE = {"grant_types": ["client_credentials"], "token_endpoint_auth_method": "private_key_jwt"}


def made(web: WebServer, keys: object, folder: Path, *arguments: str) -> dict[str, Any]:
    file = folder / "jwks.json"
    file.write_text(json.dumps(keys), encoding="utf-8")
    given = ("create", "--name", "Job", "--scope", "mcp.time", "--method", "private_key_jwt")
    document: dict[str, Any] = clients(web, *given, "--jwks", str(file), "--json", *arguments)
    return document


async def asked(client: OAuthClient, assertion: str) -> httpx2.Response:
    return await client.token({"grant_type": "client_credentials", **as_form(assertion)})


@pytest.mark.requirement("sep-1046:assertion")
async def test_a_machine_client_with_a_key_gets_tokens_only_by_assertion(
    web: WebServer, client: OAuthClient, tmp_path: Path
) -> None:
    machine = made(web, jwks(key()), tmp_path)
    assert "client_secret" not in machine
    me = machine["client_id"]
    answer = await asked(client, signed(me, client.issuer))
    assert answer.status_code == 200, answer.text
    claims = await claims_of(client, answer.json()["access_token"])
    assert (claims["sub"], claims["client_id"], claims["scope"]) == (me, me, "mcp.time")
    assert_refused(await asked(client, signed(me, client.issuer, by=key(name="other"))), "invalid_client", 401)
    for proof in ({"client_id": me}, {"client_id": me, "client_secret": "x"}):
        assert_refused(await client.token({"grant_type": "client_credentials", **proof}), "invalid_client", 401)


class Memory:
    """The SDK's token storage."""

    tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        raise AssertionError(f"{client_info.client_id} is not registered by the SDK")


@pytest.mark.requirement("sep-1046:assertion")
async def test_the_python_sdk_signs_in_as_a_machine_client_with_its_key(
    web: WebServer, client: OAuthClient, tmp_path: Path
) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    me = made(web, {"keys": [public]}, tmp_path)["client_id"]
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    parameters = SignedJWTParameters(issuer=me, subject=me, signing_key=pem)
    memory = Memory()
    provider = PrivateKeyJWTOAuthProvider(
        web.resource, memory, me, parameters.create_assertion_provider(), scope="mcp.time", issuer=web.issuer
    )
    seen: list[str] = []

    async def gateway(request: httpx2.Request) -> httpx2.Response:
        """The resource, which requests a token as the gateway does; all other requests go to the server."""
        if str(request.url) != web.resource:
            return await client.http.send(request)
        seen.append(request.headers.get("Authorization", ""))
        if seen[-1]:
            return httpx2.Response(200, json={})
        metadata = f"{web.issuer}/.well-known/oauth-protected-resource/time/mcp"
        return httpx2.Response(401, headers={"WWW-Authenticate": f'Bearer resource_metadata="{metadata}"'})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(gateway), auth=provider) as http:
        assert (await http.post(web.resource, json={})).status_code == 200
    assert memory.tokens is not None
    claims = await claims_of(client, memory.tokens.access_token)
    assert (claims["sub"], claims["aud"]) == (me, web.resource)


async def test_keys_may_be_at_a_jwks_uri(web: WebServer) -> None:
    given = ("create", "--name", "Job", "--scope", "mcp.time", "--method", "private_key_jwt", "--json")
    machine = clients(web, *given, "--jwks", "https://jobs.example.com/keys.json")
    shown = clients(web, "show", machine["client_id"], "--json")
    assert (shown["method"], shown["keys"]) == ("private_key_jwt", "https://jobs.example.com/keys.json")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("{", "--jwks"),
        ('{"keys": []}', "no signing key"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "secret key"),
        ("[" * 5000, "--jwks"),
        ("", "--jwks"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_in_one_line(
    web: WebServer, tmp_path: Path, keys: str, said: str
) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(keys, encoding="utf-8")
    given = ("create", "--name", "Job", "--scope", "mcp.time", "--method", "private_key_jwt", "--jwks")
    output = clients(web, *given, str(file), expect=1)
    assert said in output
    assert "Traceback" not in output
    clients(web, *given, str(tmp_path / "missing"), expect=1)
    clients(web, *given, "http://jobs.example.com/keys.json", expect=1)


def test_keys_and_their_method_must_be_given_together(web: WebServer) -> None:
    given = ("create", "--name", "Job", "--scope", "mcp.time")
    assert "--jwks" in clients(web, *given, "--method", "private_key_jwt", expect=2)
    assert "--jwks" in clients(web, *given, "--jwks", "https://jobs.example.com/keys.json", expect=2)


async def registering(client: OAuthClient, token: str | None, **members: object) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    document = {"client_name": "Job", **MACHINE, "jwks": jwks(key()), **members}
    return await client.http.post(f"{client.issuer}/register", json=document, headers=headers)


async def test_a_registration_with_a_token_for_machine_scopes_makes_a_machine_client(
    web: WebServer, client: OAuthClient
) -> None:
    scopes = ("--machine-scope", "mcp.time", "--machine-scope", "mcp.notes")
    token = clients(web, "invite", "--uses", "9", *scopes, "--json")["initial_access_token"]
    registered = await registering(client, token, scope="mcp.time")
    assert registered.status_code == 201, registered.text
    document = registered.json()
    assert document["grant_types"] == ["client_credentials"]
    assert "client_secret" not in document
    me = document["client_id"]
    answer = await asked(client, signed(me, client.issuer))
    assert (answer.status_code, answer.json()["scope"]) == (200, "mcp.time")
    with web.redis.client() as redis:
        assert redis.ttl(f"client:{me}") == -1, "a machine client is kept until it is deleted"

    by_secret = await registering(client, token, token_endpoint_auth_method=None, jwks=None)
    assert by_secret.json()["token_endpoint_auth_method"] == "client_secret_basic"
    assert_refused(await registering(client, token, token_endpoint_auth_method="none"), "invalid_client_metadata")
    assert_refused(await registering(client, token, scope="mcp.unknown"), "invalid_client_metadata")


async def test_without_such_a_token_no_registration_makes_a_machine_client(
    web: WebServer, client: OAuthClient
) -> None:
    plain = clients(web, "invite", "--json")["initial_access_token"]
    for token in (None, plain, "made-up", f"{'A' * 22}.{'A' * 43}"):
        assert_refused(await registering(client, token), "invalid_client_metadata")
        both = ["authorization_code", "client_credentials"]
        other = await registering(client, token, grant_types=both, redirect_uris=["https://jobs.example.com/cb"])
        assert other.status_code == 201, other.text
        answer = await asked(client, signed(other.json()["client_id"], client.issuer))
        assert_refused(answer, "unauthorized_client")
