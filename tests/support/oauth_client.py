"""An OAuth client for tests with a function for each step, so that a test can change any of them."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx2

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

REDIRECT_URI = "http://127.0.0.1:7777/callback"
SESSION = "portcullis-session"
"""The end of the name of the session cookie."""


@dataclass
class Registration:
    """The answer to a registration."""

    document: dict[str, Any]

    @property
    def client_id(self) -> str:
        return str(self.document["client_id"])

    @property
    def secret(self) -> str:
        return str(self.document["client_secret"])

    @property
    def management(self) -> dict[str, str]:
        """The header for the management of this client."""
        return {"Authorization": f"Bearer {self.document['registration_access_token']}"}


@dataclass
class Pkce:
    """A verifier and its challenge."""

    verifier: str
    challenge: str

    @classmethod
    def fresh(cls) -> Pkce:
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        return cls(verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode())


class OAuthClient:
    """A client of one issuer, with the cookies of one browser."""

    def __init__(self, issuer: str, *, tls: ssl.SSLContext | None = None) -> None:
        """`tls` has the trusted authority, and may have a client certificate."""
        self.issuer, self.tls = issuer, tls
        self.http = httpx2.AsyncClient(timeout=60.0, verify=True if tls is None else tls)
        self.rewrite_github: Callable[[str], str] = lambda location: location

    async def __aenter__(self) -> OAuthClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def register(self, **members: object) -> Registration:
        """Register, by default as a public client. Its metadata differs from that of any other client."""
        document = {
            "client_name": "Test client",
            "software_version": secrets.token_hex(8),
            "redirect_uris": [REDIRECT_URI],
            "token_endpoint_auth_method": "none",
            **members,
        }
        answer = await self.http.post(f"{self.issuer}/register", json=document)
        assert answer.status_code == 201, answer.text
        return Registration(answer.json())

    def authorize_url(self, client_id: str, challenge: str, **parameters: str | list[str] | None) -> str:
        """The URL a client opens; `None` leaves a parameter out."""
        given: dict[str, Any] = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": REDIRECT_URI,
            "state": "state-of-the-client",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **parameters,
        }
        query = urlencode({name: value for name, value in given.items() if value is not None}, doseq=True)
        return f"{self.issuer}/authorize?{query}"

    async def consent_form(self, url: str) -> dict[str, str]:
        """Open the consent page. Return the hidden values of its form."""
        page = await self.http.get(url)
        assert page.status_code == 200, page.text
        return {"handle": form_value(page.text, "handle")}

    async def consent(self, url: str, decision: str = "allow") -> httpx2.Response:
        """Open the consent page and press a button."""
        form = await self.consent_form(url)
        return await self.http.post(f"{self.issuer}/authorize/consent", data={**form, "decision": decision})

    def forget_session(self) -> None:
        """Delete the session cookie of this browser."""
        for cookie in [cookie for cookie in self.http.cookies.jar if cookie.name.endswith(SESSION)]:
            self.http.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)

    async def at_callback(self, url: str, login: str = "octocat") -> str:
        """Consent and sign in with the stand-in. Return the URL of our callback without opening it."""
        self.forget_session()
        return await self.from_github(await self.consent(url), login)

    async def from_github(self, to_github: httpx2.Response, login: str = "octocat") -> str:
        """Follow a redirect to GitHub and sign in there. Return the URL of our callback without opening it."""
        assert to_github.status_code == 303, to_github.text
        page = await self.http.get(self.rewrite_github(to_github.headers["Location"]))
        fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
        action = re.search(r'<form[^>]* action="([^"]*)"', page.text)
        target = urljoin(str(page.url), action[1].replace("&amp;", "&") if action else "")
        back = await self.http.post(target, data={**fields, "login": login})
        assert back.has_redirect_location, back.text
        return str(back.headers["Location"])

    async def authorize(self, url: str, login: str = "octocat") -> dict[str, str]:
        """Complete the whole authorization. Return the parameters that the client received."""
        done = await self.http.get(await self.at_callback(url, login))
        assert done.has_redirect_location, done.text
        return answered(done.headers["Location"])

    async def code(self, client_id: str, pkce: Pkce, **parameters: str | list[str] | None) -> str:
        """Return a fresh authorization code."""
        came_back = await self.authorize(self.authorize_url(client_id, pkce.challenge, **parameters))
        assert "code" in came_back, came_back
        return came_back["code"]

    async def token(
        self, form: Mapping[str, str | list[str]], headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """Send a request to the token endpoint."""
        return await self.http.post(f"{self.issuer}/token", data=form, headers=headers)

    async def redeem(self, client_id: str, code: str, verifier: str, **form: str) -> httpx2.Response:
        """Redeem a code as a public client."""
        given = {
            "grant_type": "authorization_code",
            "client_id": client_id,
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": REDIRECT_URI,
            **form,
        }
        return await self.token(given)

    async def refresh(self, client_id: str, refresh_token: str, **form: str) -> httpx2.Response:
        """Refresh as a public client."""
        return await self.token(
            {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": refresh_token, **form}
        )

    async def tokens(self, client_id: str, **parameters: str | list[str] | None) -> dict[str, Any]:
        """Sign in and redeem the code. Return a fresh pair of tokens."""
        pkce = Pkce.fresh()
        answer = await self.redeem(client_id, await self.code(client_id, pkce, **parameters), pkce.verifier)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document


def answered(location: str) -> dict[str, str]:
    """The parameters of a redirect."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def form_value(page: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]
