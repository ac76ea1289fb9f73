"""Every place at every endpoint where a credential can be sent, and the only kinds that are accepted there."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oauth_core.grant_types import DEVICE_CODE
from tests.support import assertions
from tests.support.mcp_clients import INITIALIZE, MCP_HEADERS
from tests.support.oauth_client import REDIRECT_URI
from tests.system.realms import credentials as kinds

if TYPE_CHECKING:
    import httpx2

    from tests.system.realms.credentials import Wallet

Opened = Callable[["httpx2.Response"], bool]
Request = Callable[["Wallet", str], dict[str, Any]]
"""The arguments of one HTTP request with this text as a credential."""

REFUSALS = frozenset({400, 401, 403})
ANSWERED = frozenset({"POST /introspect, token", "GET /account, session cookie"})
"""Endpoints where a refusal is an answer with status 200: not active, signed out."""


@dataclass(frozen=True)
class Door:
    """`endpoint` is a method and a path as in `oauth_web`, or a service's."""

    endpoint: str
    place: str
    request: Request
    opened: Opened
    opens: frozenset[str]
    spends: bool = False
    """Whether a request uses up the credential, or what it represents."""

    @property
    def name(self) -> str:
        """A unique name."""
        return f"{self.endpoint}, {self.place}"


def _status(*wanted: int) -> Opened:
    return lambda answer: answer.status_code in wanted


def _bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"} if text else {}


def _basic(client_id: str, text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{text}".encode()).decode()}


def _service(name: str, opens: str) -> Door:
    def request(_: Wallet, text: str) -> dict[str, Any]:
        return {"json": INITIALIZE, "headers": {**MCP_HEADERS, **_bearer(text)}}

    return Door(f"POST /{name}/mcp", "bearer", request, _status(200), frozenset({opens}))


def _certified(wallet: Wallet, text: str) -> dict[str, Any]:
    """A token that needs a certificate, and instead of the certificate the header that Envoy would send."""
    token = _bearer(wallet.kept[kinds.ACCESS_BOUND])
    return {"json": INITIALIZE, "headers": {**MCP_HEADERS, **token, "X-Forwarded-Client-Cert": text}}


def _proven(wallet: Wallet, text: str) -> dict[str, Any]:
    """A token that needs a proof of its key."""
    token = {"Authorization": f"DPoP {wallet.kept[kinds.ACCESS_KEYED]}"}
    return {"json": INITIALIZE, "headers": {**MCP_HEADERS, **token, "DPoP": text}}


def _document() -> dict[str, object]:
    return {"client_name": "Another", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none"}


def _registering(_: Wallet, text: str) -> dict[str, Any]:
    return {"json": _document(), "headers": _bearer(text)}


def _managing(method: str, *wanted: int) -> Door:
    def request(wallet: Wallet, text: str) -> dict[str, Any]:
        shown: dict[str, Any] = {"headers": _bearer(text)}
        if method == "PUT":
            given = {"client_name", "redirect_uris", "grant_types", "token_endpoint_auth_method"}
            said = {name: value for name, value in wallet.client.document.items() if name in given}
            shown["json"] = {**said, "client_id": wallet.client.client_id}
        return shown

    opens = frozenset({kinds.REGISTRATION})
    endpoint = f"{method} /register/<client_id>"
    return Door(endpoint, "bearer", request, _status(*wanted), opens, spends=method == "DELETE")


_PROVEN: dict[str, Opened] = {
    # The client was authenticated, and then the refresh token was not found.
    "/token": lambda answer: answer.json().get("error") == "invalid_grant",
    "/revoke": _status(200),
    "/introspect": _status(200),
    "/device_authorization": _status(200),
}


def _proofs(path: str) -> list[Door]:
    """The ways in which a client can authenticate."""
    rest = {"token": "x", "grant_type": "refresh_token", "refresh_token": "x"}

    def with_secret(wallet: Wallet, text: str) -> dict[str, Any]:
        return {"data": {**rest, "client_id": wallet.client.client_id, "client_secret": text}}

    def with_basic(wallet: Wallet, text: str) -> dict[str, Any]:
        return {"data": rest, "headers": _basic(wallet.client.client_id, text)}

    def with_assertion(wallet: Wallet, text: str) -> dict[str, Any]:
        return {"data": {**rest, "client_id": wallet.signer.client_id, **assertions.as_form(text)}}

    def with_bearer(wallet: Wallet, text: str) -> dict[str, Any]:
        return {"data": {**rest, "client_id": wallet.client.client_id}, "headers": _bearer(text)}

    proven, secret, assertion = _PROVEN[path], frozenset({kinds.SECRET}), frozenset({kinds.ASSERTION})
    doors = [
        Door(f"POST {path}", "client_secret", with_secret, proven, secret),
        Door(f"POST {path}", "basic", with_basic, proven, secret),
        Door(f"POST {path}", "bearer", with_bearer, proven, frozenset()),
    ]
    if path != "/device_authorization":  # that client did not register for this grant type
        doors.append(Door(f"POST {path}", "client_assertion", with_assertion, proven, assertion))
    return doors


def _mine(wallet: Wallet) -> dict[str, str]:
    return {"client_id": wallet.client.client_id, "client_secret": wallet.client.secret}


def _redeeming(grant_type: str, place: str, opens: str) -> Door:
    def request(wallet: Wallet, text: str) -> dict[str, Any]:
        code = {"redirect_uri": REDIRECT_URI, "code_verifier": wallet.verifier}
        form = {"grant_type": grant_type, place: text, **_mine(wallet)}
        return {"data": form | (code if place == "code" else {})}

    return Door("POST /token", place, request, _status(200), frozenset({opens}), spends=True)


def _vouching(wallet: Wallet, text: str) -> dict[str, Any]:
    mine = {"client_id": kinds.ENTERPRISE, "client_secret": wallet.enterprise_secret}
    return {"data": {**assertions.as_grant(text), **mine}}


def _asking(wallet: Wallet, text: str) -> dict[str, Any]:
    return {"data": {"token": text, **_mine(wallet)}}


def _active(answer: httpx2.Response) -> bool:
    return answer.status_code == 200 and answer.json()["active"] is not False


def _typing(_: Wallet, text: str) -> dict[str, Any]:
    return {"data": {"user_code": text}}


def _deciding(_: Wallet, text: str) -> dict[str, Any]:
    return {"data": {"handle": text, "decision": "allow"}}


def _returning(_: Wallet, text: str) -> dict[str, Any]:
    return {"params": {"state": text, "error": "access_denied"}}


def _account(action: str, *, spends: bool = False) -> list[Door]:
    """A form of the account page: the session that sends it, and the form token.

    It counted if it was carried out, or refused because of the person's rights and not because of its origin.
    """

    def form(wallet: Wallet, session: str, form_token: str) -> dict[str, Any]:
        # The named record does not exist, so that nothing happens if the form is accepted.
        data = {"form_token": form_token, "grant": "nothing", "client": wallet.another.client_id}
        return {"data": data, "headers": _session(session)}

    def with_cookie(wallet: Wallet, text: str) -> dict[str, Any]:
        return form(wallet, text, wallet.kept[kinds.FORM_TOKEN])

    def with_form_token(wallet: Wallet, text: str) -> dict[str, Any]:
        return form(wallet, wallet.kept[kinds.SESSION], text)

    def done(answer: httpx2.Response) -> bool:
        refused = "signed out" in answer.text or "present account page" in answer.text
        return answer.status_code in {200, 303, 403} and not refused

    endpoint = f"POST /account/{action}"
    return [
        Door(endpoint, "session cookie", with_cookie, done, frozenset({kinds.SESSION}), spends),
        Door(endpoint, "form_token", with_form_token, done, frozenset({kinds.FORM_TOKEN}), spends),
    ]


def _session(text: str) -> dict[str, str]:
    return {"Cookie": f"{kinds.SESSION_COOKIE}={text}"}


def _looking(_: Wallet, text: str) -> dict[str, Any]:
    return {"headers": _session(text)}


DOORS = (
    _service("whoami", kinds.ACCESS_A),
    _service("other", kinds.ACCESS_B),
    Door("POST /whoami/mcp", "certificate", _certified, _status(200), frozenset({kinds.CERTIFICATE})),
    Door("POST /whoami/mcp", "DPoP proof", _proven, _status(200), frozenset({kinds.PROOF})),
    Door("POST /register", "bearer", _registering, _status(201), frozenset({kinds.INITIAL})),
    _managing("GET", 200),
    _managing("PUT", 200),
    *(door for path in _PROVEN for door in _proofs(path)),
    Door(
        "POST /introspect",
        "token",
        _asking,
        _active,
        frozenset({kinds.ACCESS_A, kinds.ACCESS_B, kinds.REFRESH}),
    ),
    _redeeming("authorization_code", "code", kinds.CODE),
    _redeeming(DEVICE_CODE, "device_code", kinds.DEVICE_CODE),
    _redeeming("refresh_token", "refresh_token", kinds.REFRESH),
    Door("POST /token", "assertion", _vouching, _status(200), frozenset({kinds.ID_JAG})),
    Door("POST /device", "user_code", _typing, _status(200), frozenset({kinds.USER_CODE})),
    Door("POST /authorize/consent", "handle", _deciding, _status(303), frozenset({kinds.HANDLE}), spends=True),
    Door("GET /callback", "state", _returning, _status(302, 303), frozenset({kinds.STATE}), spends=True),
    Door(
        "GET /account",
        "session cookie",
        _looking,
        lambda answer: "<strong>octocat</strong>" in answer.text,
        frozenset({kinds.SESSION}),
    ),
    *_account("disconnect"),
    *_account("forget"),
    *_account("forget-all"),
    *_account("registration-token"),
    *_account("mail"),
    *_account("mail/confirm"),
    *_account("mail/kinds"),
    *_account("mail/remove"),
    Door(
        "GET /account/mail/confirm",
        "session cookie",
        _looking,
        lambda answer: "Confirm your mail address" in answer.text,
        frozenset({kinds.SESSION}),
    ),
    *_account("disconnect-all", spends=True),
    *_account("sign-out", spends=True),
    *_account("sign-out-everywhere", spends=True),
    _managing("DELETE", 204),
)

PUBLIC = frozenset(
    {
        "GET /",
        "GET /healthz",
        # The code in its address belongs to a mail and is no credential for anything else.
        "GET /account/mail/unsubscribe",
        "POST /account/mail/unsubscribe",
        "GET /authorize",
        "GET /device",
        "GET /.well-known/oauth-authorization-server",
        "GET /.well-known/openid-configuration",
        "GET /.well-known/oauth-protected-resource",
        "GET /.well-known/oauth-protected-resource/<path:path>",
        "GET /.well-known/jwks.json",
        "GET /.well-known/service-assertion-jwks.json",
        "POST /account/sign-in",
    }
)
"""Endpoints that ignore credentials: every caller gets the same answer. The last starts a sign-in."""
