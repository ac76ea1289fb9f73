"""Tokens bound to a certificate, through a whole gateway with TLS: a stolen one is worth nothing (RFC 8705)."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import jwt
import pytest

from tests.support.certificates import Authority, Identity
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.operator import operate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CONFIG = """
issuer = "https://localhost:8443"
certificate_bound_tokens = "required"
tls_cert = "{cert}"
tls_key = "{key}"
tls_client_ca = "{clients}"

[[services]]
name = "whoami"
command = ["portcullis", "example-server", "--listen", "unix:{{socket}}"]
transport = "http"
"""
_KNOCK = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
)
_MCP = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("callers"), "callers")


@pytest.fixture(scope="module")
def gateway(
    authority: Authority, callers: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    server = authority.identity("localhost")
    config = _CONFIG.format(cert=server.cert, key=server.key, clients=callers.cert)
    with running_gateway(config=config, environ={"SSL_CERT_FILE": str(authority.cert)}) as gateway:
        yield gateway


def ask(
    gateway: RunningGateway,
    authority: Authority,
    who: Identity | None,
    path: str,
    *,
    body: str,
    headers: Mapping[str, str],
) -> tuple[int, Any]:
    """POST as `who`; the status and what was answered."""
    context = ssl.create_default_context(cafile=str(authority.cert))
    if who is not None:
        context.load_cert_chain(who.cert, who.key)
    port = urlsplit(gateway.url).port
    with contextlib.closing(http.client.HTTPSConnection("localhost", port, context=context, timeout=30)) as https:
        https.request("POST", path, body=body, headers=dict(headers))
        answer = https.getresponse()
        return answer.status, answer.read().decode()


def test_a_stolen_token_is_worth_nothing_without_the_key(
    gateway: RunningGateway, authority: Authority, callers: Authority
) -> None:
    ada, bob = callers.identity("ada"), callers.identity("bob")
    machine = operate(
        gateway, "clients", "create", "--name", "Job", "--method", "client_secret_post", "--scope", "mcp.whoami"
    )
    form = urlencode(
        {
            "grant_type": "client_credentials",
            "client_id": machine["client_id"],
            "client_secret": machine["client_secret"],
        }
    )
    forged = {"X-Forwarded-Client-Cert": f"Hash={'a' * 64}"}
    status, answer = ask(gateway, authority, None, "/token", body=form, headers={**_FORM, **forged})
    assert (status, json.loads(answer)["error"]) == (400, "invalid_request")
    status, answer = ask(gateway, authority, ada, "/token", body=form, headers=_FORM)
    assert status == 200, answer
    token = json.loads(answer)["access_token"]
    cnf = jwt.decode(token, options={"verify_signature": False})["cnf"]
    status, answer = ask(
        gateway,
        authority,
        ada,
        "/introspect",
        body=urlencode(
            {"token": token, "client_id": machine["client_id"], "client_secret": machine["client_secret"]}
        ),
        headers=_FORM,
    )
    assert (status, json.loads(answer)["cnf"]) == (200, cnf)
    call = {**_MCP, "Authorization": f"Bearer {token}"}
    # The right one twice on each side: what is remembered of her must not serve the others.
    for who, expected in ((ada, 200), (None, 401), (bob, 401), (ada, 200), (bob, 401), (None, 401)):
        status, answer = ask(gateway, authority, who, "/whoami/mcp", body=_KNOCK, headers={**call, **forged})
        assert status == expected, answer
        if expected == 401:
            assert json.loads(answer)["error"] == "invalid_token"
    reasons = [event["reason"] for event in gateway.audit("ext_authz") if event["event"] == "access.denied"]
    assert reasons.count("wrong_certificate") == 4
