"""A whole gateway with TLS: tokens bound to a certificate (RFC 8705), and the session of a real
browser by https.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest

from tests.support.certificates import Authority, Identity
from tests.support.chromium import MISSING, PROGRAM, Person, person, running_chromium
from tests.support.gateway import RunningGateway, operate, running_gateway
from tests.support.http_servers import serving
from tests.support.oauth_client import SESSION, Pkce

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from playwright.sync_api import Cookie

_CONFIG = """
issuer = "https://localhost:8443"
tokens.certificate_bound = "required"
tls.cert = "{cert}"
tls.key = "{key}"
tls.client_ca = "{clients}"

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
    """Send a POST with the certificate of `who`. Return the status and the body."""
    context = ssl.create_default_context(cafile=str(authority.cert))
    if who is not None:
        context.load_cert_chain(who.cert, who.key)
    port = urlsplit(gateway.url).port
    with contextlib.closing(http.client.HTTPSConnection("localhost", port, context=context, timeout=60)) as https:
        https.request("POST", path, body=body, headers=dict(headers))
        answer = https.getresponse()
        return answer.status, answer.read().decode()


def test_a_certificate_bound_token_is_refused_without_its_key(
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
    # The right one twice on each side: a cached decision for ada must not be used for others.
    for who, expected in ((ada, 200), (None, 401), (bob, 401), (ada, 200), (bob, 401), (None, 401)):
        status, answer = ask(gateway, authority, who, "/whoami/mcp", body=_KNOCK, headers={**call, **forged})
        assert status == expected, answer
        if expected == 401:
            assert json.loads(answer)["error"]["data"]["error"] == "invalid_token"
    reasons = [event["reason"] for event in gateway.audit("ext_authz") if event["event"] == "access.denied"]
    assert reasons.count("wrong_certificate") == 4


APP = "https://app.example/cb"
"""The redirect URI of a web app."""


class _Done(BaseHTTPRequestHandler):
    """The page that the app shows."""

    def do_GET(self) -> None:
        body = b"<!doctype html><link rel=icon href='data:,'><p>Done"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def app_port(authority: Authority) -> Iterator[int]:
    """The port of the app on this machine."""
    identity = authority.identity("app.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Done) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        with serving(server):
            yield server.server_port


def authorize_url(gateway: RunningGateway, authority: Authority, name: str) -> str:
    """The address to which a newly registered web app called `name` sends its user."""
    document = {"client_name": name, "redirect_uris": [APP], "token_endpoint_auth_method": "none"}
    json_ = {"Content-Type": "application/json"}
    status, answer = ask(gateway, authority, None, "/register", body=json.dumps(document), headers=json_)
    assert status == 201, answer
    asked = {
        "response_type": "code",
        "client_id": json.loads(answer)["client_id"],
        "redirect_uri": APP,
        "code_challenge": Pkce.fresh().challenge,
        "code_challenge_method": "S256",
        "state": name,
    }
    return f"{gateway.url}/authorize?{urlencode(asked)}"


def came_back(somebody: Person, state: str) -> str:
    """The code that the app received."""
    assert somebody.page.url.startswith(f"{APP}?"), somebody.page.url
    told = {name: values[0] for name, values in parse_qs(urlsplit(somebody.page.url).query).items()}
    assert told["state"] == state
    return told["code"]


def trips(somebody: Person) -> int:
    """How many times the browser was redirected to GitHub."""
    return sum("/login/oauth/authorize" in url for url in somebody.visited)


def ours(somebody: Person, gateway: RunningGateway) -> dict[str, Cookie]:
    """The cookies of the gateway in this browser."""
    return {str(cookie.get("name")): cookie for cookie in somebody.context.cookies(gateway.url)}


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_a_browser_session_by_https_serves_two_apps_with_one_github_sign_in_until_sign_out(
    gateway: RunningGateway, authority: Authority, app_port: int
) -> None:
    there = f"--host-resolver-rules=MAP app.example 127.0.0.1:{app_port}"
    with running_chromium(there) as browser, person(browser, ignore_https_errors=True) as somebody:
        page = somebody.page
        first, second = (authorize_url(gateway, authority, name) for name in ("first", "second"))

        somebody.go(first)
        somebody.press("Do not ask me again")
        somebody.press("Allow and sign in")
        somebody.press("octavia")
        code = came_back(somebody, "first")
        cookies = ours(somebody, gateway)
        assert set(cookies) == {"__Host-portcullis", f"__Host-{SESSION}"}
        for cookie in cookies.values():
            assert (cookie.get("secure"), cookie.get("httpOnly"), cookie.get("sameSite")) == (True, True, "Lax")
            assert (cookie.get("domain"), cookie.get("path")) == ("localhost", "/")
        session = cookies[f"__Host-{SESSION}"]

        # The first app is remembered: no page, no GitHub. The second needs consent, but no GitHub.
        before, at_github = len(somebody.visited), trips(somebody)
        somebody.go(first)
        assert came_back(somebody, "first") != code
        assert [urlsplit(url).path for url in somebody.visited[before:]] == ["/authorize", "/cb"]
        somebody.go(second)
        somebody.press("Allow as octavia")
        came_back(somebody, "second")
        assert trips(somebody) == at_github > 0

        # Scripts of the same host can neither read the session nor replace it.
        somebody.go(f"{gateway.url}/account")
        page.evaluate("name => document.cookie = `${name}=planted; Secure; Path=/`", f"__Host-{SESSION}")
        assert SESSION not in page.evaluate("document.cookie")
        assert ours(somebody, gateway)[f"__Host-{SESSION}"].get("value") == session.get("value")

        somebody.press("Sign out")
        assert page.inner_text("h1") == "Signed out"
        assert ours(somebody, gateway) == {}
        name, value = f"__Host-{SESSION}", str(session.get("value"))
        for planted in (False, True):
            if planted:  # another copy of a cookie that the browser deleted
                somebody.context.add_cookies([{"name": name, "value": value, "url": gateway.url, "secure": True}])
            somebody.go(first)
            assert page.get_by_role("button", name="Allow and sign in").count() == 1, (
                "the consent of a signed-out user is used"
            )
            somebody.go(f"{gateway.url}/account")
            assert "octavia" not in page.inner_text("main")
        assert somebody.complaints == []
