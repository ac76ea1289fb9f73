"""Secrets are in no log, on no command line and in no environment of a child."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.audit_record import recorded
from tests.support.mcp_clients import probe
from tests.support.oauth_client import REDIRECT_URI, Pkce
from tests.support.processes import below
from tests.support.programs import until

if TYPE_CHECKING:
    import httpx2

    from tests.support.gateway import RunningGateway
    from tests.support.oauth_client import OAuthClient


@pytest.mark.requirement("mcp:secure-storage")
async def test_no_used_credential_is_in_any_log(
    gateway: RunningGateway, oauth: OAuthClient, http: httpx2.AsyncClient
) -> None:
    resource = gateway.resource("whoami")
    client = await oauth.register(token_endpoint_auth_method="client_secret_basic")
    pkce = Pkce.fresh()
    code = await oauth.code(client.client_id, pkce, resource=resource)
    pair = base64.b64encode(f"{client.client_id}:{client.secret}".encode()).decode()
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": pkce.verifier,
        "redirect_uri": REDIRECT_URI,
    }
    tokens = (await oauth.token(form, {"Authorization": f"Basic {pair}"})).json()
    assert (await probe(http, resource, tokens["access_token"])).status_code == 200
    assert (await probe(http, f"{resource}?access_token={tokens['access_token']}")).status_code == 400

    gateway.audited("ext_authz", event="access.allowed", client_id=client.client_id)
    until(lambda: client.client_id in str(recorded(gateway.audit_dir, "oauth_web")), "the record has it")
    logs = {**gateway.logs(), "the audit record": json.dumps(recorded(gateway.audit_dir))}
    assert client.client_id in logs["oauth_web"], "this request was logged"
    secrets = {
        "authorization code": code,
        "PKCE verifier": pkce.verifier,
        "client secret": client.secret,
        "Basic credentials": pair,
        "registration access token": str(client.document["registration_access_token"]),
        "access token": tokens["access_token"],
        "its signature": tokens["access_token"].rpartition(".")[2],
        "refresh token": tokens["refresh_token"],
    }
    leaks = [f"{what} in {child}" for what, secret in secrets.items() for child in logs if secret in logs[child]]
    assert not leaks


@pytest.mark.skipif(not Path("/proc").exists(), reason="the processes of others are read from /proc")
def test_no_secret_of_the_gateway_is_in_the_arguments_or_the_environment_of_a_child(
    gateway: RunningGateway,
) -> None:
    secrets = [path.read_bytes().strip() for path in (gateway.state_dir / "secrets").iterdir()]
    assert len(secrets) >= 4
    children = below(gateway.process.pid)
    assert len(children) >= 6
    for child in children:
        seen = b"".join(Path(f"/proc/{child.pid}/{file}").read_bytes() for file in ("cmdline", "environ"))
        assert not [secret for secret in secrets if secret in seen], child.name
