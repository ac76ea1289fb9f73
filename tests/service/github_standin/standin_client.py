"""Uses the GitHub stand-in as a browser and as an app do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from oauth_core.crypto.credentials import pkce_challenge
from tests.support.programs import client_of

if TYPE_CHECKING:
    from pathlib import Path

    from httpx2 import Response

ISSUER = "http://localhost:8080"
CALLBACK = f"{ISSUER}/callback"
CLIENT_ID = "the-app"
CLIENT_SECRET = "the-secret-of-the-app"
VERIFIER = "v" * 43
SIGN_IN = "/_github/login/oauth/authorize"
TOKEN = "/_github/login/oauth/access_token"
JSON = {"Accept": "application/json"}


class StandinClient:
    """`asked` are the parameters of an ordinary sign-in; each method takes changes to them."""

    def __init__(self, socket: Path) -> None:
        self.http = client_of(socket)
        self.asked = {
            "client_id": CLIENT_ID,
            "redirect_uri": CALLBACK,
            "state": "a state & more",
            "scope": "read:user user:email read:org",
            "code_challenge": pkce_challenge(VERIFIER),
            "code_challenge_method": "S256",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def show(self, **changes: str) -> Response:
        """Open the page."""
        return self.http.get(SIGN_IN, params=self.asked | changes)

    def choose(self, login: str = "octavia", /, **changes: str) -> Response:
        """Send the form."""
        return self.http.post(SIGN_IN, data=self.asked | {"login": login} | changes)

    def code(self, login: str = "octavia", /, **changes: str) -> str:
        """Sign in as far as the code."""
        answer = self.choose(login, **changes)
        assert answer.status_code == 302, answer.text
        return parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]

    def redeem(self, code: str, /, **changes: str) -> dict[str, Any]:
        """Ask for a token, answered in JSON."""
        answer = self.http.post(TOKEN, headers=JSON, data=self.token_request(code) | changes)
        assert answer.status_code == 200
        document: dict[str, Any] = answer.json()
        return document

    def token_request(self, code: str) -> dict[str, str]:
        """The token request of an app with a code."""
        return {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }

    def api(self, path: str, login: str = "octavia", scope: str = "read:user user:email read:org") -> Response:
        """Call the API with a fresh token of `login`."""
        token = self.redeem(self.code(login, scope=scope))["access_token"]
        return self.http.get(f"/_github{path}", headers={"Authorization": f"Bearer {token}"})
