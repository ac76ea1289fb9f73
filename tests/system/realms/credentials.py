"""One credential of every kind, each valid at its own endpoints, and some that are valid nowhere."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from oauth_core import grant_types
from oauth_core.flows import client_credentials
from oauth_core.model import Client
from oauth_core.store import keyspace
from oauth_core.store.codec import SignedCodec
from oauth_core.store.connection import connect
from oauth_core.store.records.key_ring import KeyRingStore
from oauth_core.tokens import access_tokens
from portcullis.cli.operator_settings import operator_settings
from tests.support import assertions, device_flow
from tests.support.assertions import proof
from tests.support.gateway import operate
from tests.support.mcp_clients import whoami_as
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce, Registration, answered, form_value
from tests.support.oauth_client import SESSION as SESSION_NAME
from tests.support.tokens import claims, new_key

if TYPE_CHECKING:
    import httpx2

    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.certificates import Identity
    from tests.support.gateway import RunningGateway

ACCESS_A, ACCESS_B = "access token for whoami", "access token for other"
EXPIRED, REVOKED, FOREIGN, UNKNOWN = (
    "expired access token",
    "revoked access token",
    "access token of a foreign key",
    "access token of our key that was never given out",
)
REGISTRATION, REGISTRATION_OF_ANOTHER = "registration token", "registration token of another client"
INITIAL, INITIAL_USED = "initial access token", "initial access token that is used up"
SECRET, SECRET_OF_ANOTHER = "client secret", "client secret of another client"
ASSERTION, ASSERTION_OF_FOREIGN_KEY = "client assertion", "client assertion of a foreign key"
REFRESH, REFRESH_REVOKED = "refresh token", "revoked refresh token"
CODE, CODE_USED = "authorization code", "authorization code that was redeemed"
ID_JAG, ID_JAG_OF_FOREIGN_KEY = "identity assertion", "identity assertion of a foreign key"
ACCESS_BOUND, ACCESS_KEYED = "access token bound to a certificate", "access token bound to a key"
PROOF, PROOF_OF_FOREIGN_KEY = "DPoP proof", "DPoP proof of a foreign key"
CERTIFICATE, CERTIFICATE_HASH = "TLS client certificate", "hash of a TLS client certificate, as Envoy tells it"
DEVICE_CODE, USER_CODE = "device code", "user code"
BROWSER, HANDLE, STATE = "browser cookie", "consent handle", "state of a sign-in"
SESSION, FORM_TOKEN = "session cookie", "form token of a session"
GITHUB = "GitHub token"
TOLD = "assertion that a service was told"
NONE, GARBAGE = "none", "garbage"

KINDS = (
    *(NONE, GARBAGE, ACCESS_A, ACCESS_B, EXPIRED, REVOKED, FOREIGN, UNKNOWN),
    *(REGISTRATION, REGISTRATION_OF_ANOTHER, INITIAL, INITIAL_USED, SECRET, SECRET_OF_ANOTHER),
    *(ASSERTION, ASSERTION_OF_FOREIGN_KEY, REFRESH, REFRESH_REVOKED, CODE, CODE_USED, DEVICE_CODE, USER_CODE),
    *(BROWSER, HANDLE, STATE, SESSION, FORM_TOKEN, GITHUB, TOLD),
    *(ID_JAG, ID_JAG_OF_FOREIGN_KEY, ACCESS_BOUND, CERTIFICATE, CERTIFICATE_HASH),
    *(ACCESS_KEYED, PROOF, PROOF_OF_FOREIGN_KEY),
)
MADE_ANEW = frozenset(
    {ASSERTION, ASSERTION_OF_FOREIGN_KEY, ID_JAG, ID_JAG_OF_FOREIGN_KEY, CODE, PROOF, PROOF_OF_FOREIGN_KEY}
)
"""Credentials that can be used once only, or for seconds."""

ENTERPRISE = "clientOfAnEnterprise00"
"""The client for which an identity provider issues assertions. It is in the settings, so its id is fixed in
advance.
"""
SESSION_COOKIE = f"__Host-{SESSION_NAME}"
_BROWSER_COOKIE = "__Host-portcullis"

_HOLDER = assertions.key(name="holder")
_STANDIN = "portcullis-local"
_MOST_TRIES = 10
_FRESH_SECONDS = 25
"""A code is valid for a minute; one that is older than this is replaced before its use."""


@dataclass
class Wallet:
    """All credentials for one gateway. `client` is the client that they were issued to, if any."""

    gateway: RunningGateway
    oauth: OAuthClient
    certified: OAuthClient
    """The same issuer, over connections with a client certificate."""
    client: Registration
    another: Registration
    signer: Registration
    """A client that authenticates with assertions."""
    enterprise_secret: str
    kept: dict[str, str] = field(default_factory=dict)
    verifier: str = ""
    code_made: float = 0.0

    async def text(self, kind: str) -> str:
        """A credential of this kind. One that can be used only once, or only for seconds, is made anew."""
        if kind == ASSERTION:
            return self._assertion(assertions.key())
        if kind == ASSERTION_OF_FOREIGN_KEY:
            return self._assertion(assertions.key(name="foreign"))
        if kind in {ID_JAG, ID_JAG_OF_FOREIGN_KEY}:
            by = assertions.key(name=assertions.KEY_NAME if kind == ID_JAG else "foreign")
            about: dict[str, Any] = {"resource": self.gateway.resource("whoami"), "scope": "mcp.whoami"}
            return assertions.asserted(ENTERPRISE, self.gateway.url, by=by, **about)
        if kind in {PROOF, PROOF_OF_FOREIGN_KEY}:
            by, token = (_HOLDER if kind == PROOF else assertions.key(name="foreign")), self.kept[ACCESS_KEYED]
            return proof("POST", self.gateway.resource("whoami"), by=by, token=token)
        if kind == CODE and time.monotonic() > self.code_made + _FRESH_SECONDS:
            self.kept[CODE] = await self._code(self.gateway.resource("whoami"))
            self.code_made = time.monotonic()
        return self.kept[kind]

    def connection(self, kind: str) -> httpx2.AsyncClient:
        """How to send a credential of this kind: a certificate is presented with the connection."""
        return (self.certified if kind == CERTIFICATE else self.oauth).http

    async def _code(self, resource: str) -> str:
        pkce = Pkce.fresh()
        self.verifier = pkce.verifier
        return await self.oauth.code(self.client.client_id, pkce, resource=resource)

    def _assertion(self, by: SigningKey) -> str:
        return assertions.signed(self.signer.client_id, self.gateway.url, by=by)

    async def sign_in(self) -> None:
        """Begin a browser session, and open its page."""
        page = ""
        for _ in range(_MOST_TRIES):  # after a sign-out everywhere a sign-in within that same second is refused
            await self._code(self.gateway.resource("whoami"))
            page = (await self.oauth.http.get(f"{self.gateway.url}/account")).text
            if "form_token" in page:
                self.kept[FORM_TOKEN] = form_value(page, "form_token")
                self.kept[SESSION] = str(self.oauth.http.cookies[SESSION_COOKIE])
                return
            await asyncio.sleep(0.3)
        raise AssertionError(page)

    async def redeemed(self, code: str) -> dict[str, Any]:
        """The tokens for a code."""
        secret = {"client_secret": self.client.secret}
        answer = await self.oauth.redeem(self.client.client_id, code, self.verifier, **secret)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def tokens(self, service: str) -> dict[str, Any]:
        """A fresh sign-in."""
        return await self.redeemed(await self._code(self.gateway.resource(service)))

    async def revoke(self, token: str) -> None:
        """Revoke a token."""
        mine = {"client_id": self.client.client_id, "client_secret": self.client.secret}
        answer = await self.oauth.http.post(f"{self.gateway.url}/revoke", data={"token": token, **mine})
        assert answer.status_code == 200, answer.text


async def filled(
    gateway: RunningGateway, oauth: OAuthClient, certified: OAuthClient, certificate: Identity
) -> Wallet:
    """A wallet with one of every kind. `certified` presents the `certificate`."""
    everything = {
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "refresh_token", grant_types.DEVICE_CODE],
    }
    signing = {"token_endpoint_auth_method": "private_key_jwt", "jwks": assertions.jwks(assertions.key())}
    used, invitation = await _invitation(gateway, uses=1), await _invitation(gateway, uses=1000)
    wallet = Wallet(
        gateway,
        oauth,
        certified,
        await _registered(oauth, used, **everything),
        await _registered(oauth, invitation, **everything),
        await _registered(oauth, invitation, **signing),
        _enterprise(gateway),
    )
    kept = wallet.kept
    kept |= {NONE: "", GARBAGE: "garbage", INITIAL_USED: used, INITIAL: invitation}
    kept |= {SECRET: wallet.client.secret, SECRET_OF_ANOTHER: wallet.another.secret}
    kept |= {
        REGISTRATION: wallet.client.document["registration_access_token"],
        REGISTRATION_OF_ANOTHER: wallet.another.document["registration_access_token"],
    }
    first = await wallet.tokens("whoami")
    kept |= {ACCESS_A: first["access_token"], REFRESH: first["refresh_token"]}
    kept[ACCESS_B] = (await wallet.tokens("other"))["access_token"]
    ended = await wallet.tokens("whoami")
    await wallet.revoke(ended["refresh_token"])
    kept |= {REVOKED: ended["access_token"], REFRESH_REVOKED: ended["refresh_token"]}
    redeemed = await wallet._code(gateway.resource("whoami"))
    kept[CODE_USED] = redeemed
    await wallet.redeemed(redeemed)
    ours, now = await signing_key(gateway), int(time.time())
    like = {"iss": gateway.url, "aud": (gateway.resource("whoami"),), "scope": "mcp.whoami"}
    like |= {"client_id": wallet.client.client_id}
    kept[UNKNOWN] = access_tokens.mint(claims(**like, jti="never-given-out-0000000"), ours)
    kept[EXPIRED] = access_tokens.mint(claims(**like, iat=now - 900, exp=now - 300), ours)
    kept[FOREIGN] = access_tokens.mint(claims(**like), new_key())
    bound = await _registered(oauth, invitation, **everything, tls_client_certificate_bound_access_tokens=True)
    kept[ACCESS_BOUND] = await _bound_token(certified, wallet, bound, {})
    shown = {"DPoP": proof("POST", f"{gateway.url}/token", by=_HOLDER)}
    kept[ACCESS_KEYED] = await _bound_token(oauth, wallet, wallet.another, shown)
    # A certificate has no text: the holder of its key presents it with the connection.
    kept |= {CERTIFICATE: "", CERTIFICATE_HASH: f"Hash={fingerprint(certificate)}"}
    await _device(wallet)
    await wallet.sign_in()
    oauth.forget_session()
    url = oauth.authorize_url(wallet.client.client_id, Pkce.fresh().challenge)
    kept[HANDLE] = (await oauth.consent_form(url))["handle"]
    kept[STATE] = answered((await oauth.consent(url)).headers["Location"])["state"]
    kept[BROWSER] = str(oauth.http.cookies[_BROWSER_COOKIE])
    kept[GITHUB] = await _github_token(gateway, oauth)
    kept[TOLD] = (await whoami_as(gateway.resource("whoami"), kept[ACCESS_A], tls=oauth.tls))["assertion"]
    assert kept[TOLD], "the service got no assertion"
    return wallet


async def _registered(oauth: OAuthClient, invitation: str, **members: object) -> Registration:
    document = {"client_name": "Realms", "redirect_uris": [REDIRECT_URI], **members}
    headers = {"Authorization": f"Bearer {invitation}"}
    answer = await oauth.http.post(f"{oauth.issuer}/register", json=document, headers=headers)
    assert answer.status_code == 201, answer.text
    return Registration(answer.json())


def _enterprise(gateway: RunningGateway) -> str:
    """Make the client of an enterprise. Return its secret."""
    made = client_credentials.create(
        "IDE", "client_secret_post", (), now=int(time.time()), identity_assertions=True
    )
    record = dataclasses.replace(made.client, client_id=ENTERPRISE)
    with gateway.operator_redis() as redis:
        place = keyspace.client(ENTERPRISE)
        redis.set(place, SignedCodec(Client).dump(record, gateway.record_key, place))
    assert made.secret is not None
    return made.secret


async def _bound_token(caller: OAuthClient, wallet: Wallet, client: Registration, headers: dict[str, str]) -> str:
    """An access token for `whoami`, bound to the key that `caller` or these `headers` present."""
    pkce = Pkce.fresh()
    code = await wallet.oauth.code(client.client_id, pkce, resource=wallet.gateway.resource("whoami"))
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": pkce.verifier}
    form |= {"client_id": client.client_id, "client_secret": client.secret, "redirect_uri": REDIRECT_URI}
    answer = await caller.token(form, headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def fingerprint(certificate: Identity) -> str:
    """The fingerprint of a certificate (RFC 8705 section 3.1), in hexadecimal as Envoy writes it."""
    return x509.load_pem_x509_certificate(certificate.cert.read_bytes()).fingerprint(hashes.SHA256()).hex()


async def _invitation(gateway: RunningGateway, *, uses: int) -> str:
    """An initial access token."""
    invited = await asyncio.to_thread(operate, gateway, "clients", "invite", "--uses", str(uses))
    return str(invited["initial_access_token"])


async def _device(wallet: Wallet) -> None:
    """A device code that its person has allowed, and the user code of another device that is still pending."""
    mine = {"client_secret": wallet.client.secret, "resource": wallet.gateway.resource("whoami")}
    allowed = await device_flow.started(wallet.oauth, wallet.client.client_id, **mine)
    done = await device_flow.approved(wallet.oauth, allowed["user_code"])
    assert done.status_code == 200, done.text
    wallet.kept[DEVICE_CODE] = allowed["device_code"]
    waiting = await device_flow.started(wallet.oauth, wallet.client.client_id, **mine)
    wallet.kept[USER_CODE] = waiting["user_code"]


async def signing_key(gateway: RunningGateway) -> SigningKey:
    """The key that signs our access tokens. Only the authorization server and an operator can have it."""
    settings = operator_settings(None, gateway.state_dir, {})
    redis = connect(settings)
    try:
        ring = await KeyRingStore(redis, master_key=settings.master_key_bytes).read()
    finally:
        await redis.aclose()
    return ring.keys[0]


async def _github_token(gateway: RunningGateway, oauth: OAuthClient) -> str:
    """A token of the stand-in, as the authorization server gets one with every sign-in."""
    at_github = f"{gateway.url}/_github/login/oauth"
    form = {"client_id": _STANDIN, "redirect_uri": f"{gateway.url}/callback", "scope": "read:user"}
    back = await oauth.http.post(f"{at_github}/authorize", data={**form, "login": "octocat"})
    app = {"client_id": _STANDIN, "client_secret": await asyncio.to_thread(_standin_secret, gateway)}
    code = answered(back.headers["Location"])["code"]
    answer = await oauth.http.post(
        f"{at_github}/access_token", data={"code": code, **app}, headers={"Accept": "application/json"}
    )
    return str(answer.json()["access_token"])


def _standin_secret(gateway: RunningGateway) -> str:
    return (gateway.state_dir / "secrets" / "github-standin-secret").read_text(encoding="utf-8").strip()
