"""Signing in with GitHub, through Authlib: authorization code flow with our own `state` and PKCE.

The user's GitHub token is used once, to ask who signed in, and then forgotten: it is never stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
from authlib.integrations.base_client.errors import OAuthError as AuthlibError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from oauth_core.model import User

if TYPE_CHECKING:
    from oauth_core.settings import WebSettings

_TIMEOUT = httpx2.Timeout(10.0, connect=5.0)
_SCOPE = "read:user"
_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}


class GitHubRefusedError(Exception):
    """GitHub says no: the code is bad or spent, or our credentials are wrong."""


class GitHubUnavailableError(Exception):
    """GitHub did not give a usable answer in time. Trying again later may help."""


@dataclass(frozen=True)
class GitHub:
    """A GitHub app at github.com or an Enterprise Server.

    `url` is what browsers use, `backchannel_url` how we reach the same place, `api_url` the REST API.
    """

    client_id: str
    client_secret: str
    url: str
    backchannel_url: str
    api_url: str
    redirect_uri: str
    http: httpx2.AsyncClient

    @classmethod
    def from_settings(cls, settings: WebSettings) -> GitHub:
        """The app that the settings name."""
        return cls(
            client_id=settings.github_client_id,
            client_secret=settings.github_client_secret.get_secret_value(),
            url=settings.github_url.rstrip("/"),
            backchannel_url=(settings.github_backchannel_url or settings.github_url).rstrip("/"),
            api_url=settings.github_api_url.rstrip("/"),
            redirect_uri=f"{settings.issuer}/callback",
            http=httpx2.AsyncClient(timeout=_TIMEOUT),
        )

    def __repr__(self) -> str:
        return f"GitHub(url={self.url!r}, client_id={self.client_id!r})"

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    def sign_in_url(self, *, state: str, code_verifier: str) -> str:
        """Where to send the browser."""
        url, _ = self._oauth().create_authorization_url(
            f"{self.url}/login/oauth/authorize", state=state, code_verifier=code_verifier
        )
        return str(url)

    async def user(self, *, code: str, code_verifier: str) -> User:
        """Who signed in. Raises `GitHubRefusedError` and `GitHubUnavailableError`."""
        try:
            async with self._oauth() as oauth:
                token = await oauth.fetch_token(
                    f"{self.backchannel_url}/login/oauth/access_token",
                    code=code,
                    code_verifier=code_verifier,
                    headers={"Accept": "application/json"},
                )
            answer = await self.http.get(
                f"{self.api_url}/user", headers={**_HEADERS, "Authorization": f"Bearer {token['access_token']}"}
            )
            answer.raise_for_status()
            document = answer.json()
        except AuthlibError as error:
            raise GitHubRefusedError(str(error.error)) from None
        except (httpx2.HTTPError, ValueError, KeyError) as error:
            raise GitHubUnavailableError(type(error).__name__) from error
        return _user(document)

    def _oauth(self) -> AsyncOAuth2Client:
        # A session per sign-in: Authlib's keeps the token it fetched, and ours must not be shared.
        return AsyncOAuth2Client(
            self.client_id,
            self.client_secret,
            scope=_SCOPE,
            redirect_uri=self.redirect_uri,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_post",
            timeout=_TIMEOUT,
        )


def _user(document: object) -> User:
    """The user of GitHub's `GET /user`. Raises `GitHubUnavailableError` when it does not look like one."""
    if not isinstance(document, dict):
        raise GitHubUnavailableError("the user is not an object")
    github_id, login, name = document.get("id"), document.get("login"), document.get("name")
    if type(github_id) is not int or not isinstance(login, str) or not login:
        raise GitHubUnavailableError("the user has no id or login")
    return User(github_id=github_id, login=login, name=name if isinstance(name, str) else None)
