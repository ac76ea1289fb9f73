"""Sign-in with GitHub: authorization code flow with our own `state` and PKCE; Authlib writes the requests.

The gateway uses the user's GitHub token to identify them. It stores the token, sealed, only if the person's
eligibility depends on an organisation or a team, to check the membership again later.

GitHub may be slow or unavailable, or a proxy may answer in its place. No call here takes longer than `deadline` in
total, however slowly bytes arrive. An improper answer means "unavailable", never "refused".

It is the model for a second provider: begin with the docstring of the folder's `__init__`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx2
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from oauth_core.model import User
from oauth_core.process.metrics import Family, Histogram
from oauth_core.refusals import OAuthReason

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Collection

    from oauth_core.settings import WebSettings

_TIMEOUT = httpx2.Timeout(10.0, connect=5.0)
_SCOPE = "read:user"
_MEMBERSHIP_SCOPE = "read:org"
_READS_ORGANIZATIONS = frozenset({"read:org", "write:org", "admin:org"})
_NOT_FOUND = 404
_FORM = "application/x-www-form-urlencoded"
_TRIED_AGAIN = frozenset({502, 503, 504})
_BAD_TOKEN = 401
_DENIED = 403
_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}


class GitHubRefusedError(Exception):
    """GitHub refused: the code is invalid or used, or our credentials are wrong."""


class MissingScopeError(GitHubRefusedError):
    """The token lacks the scope for our request. The message may be shown to the user."""


class GitHubUnavailableError(Exception):
    """GitHub did not give a usable answer in time. A later attempt may succeed."""


@dataclass(frozen=True)
class SignedIn:
    """A person who signed in, and the GitHub token for them. `repr` does not show it."""

    user: User
    token: str = field(repr=False)


class Step(StrEnum):
    """A request to GitHub, in metrics."""

    CODE = "code"
    """The exchange of the authorization code for a token."""
    USER = "user"
    ORGANIZATION = "organization"
    """The membership of an organisation."""
    TEAM = "team"
    """The membership of a team."""


class Result(StrEnum):
    """How a request to GitHub ended, in metrics."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """GitHub refused the code or the token, or does not show a membership."""
    UNAVAILABLE = "unavailable"
    """No usable answer: no connection, an error of a server, or a rate limit."""
    TIMED_OUT = "timed_out"
    """No whole answer within the deadline."""


TIMES = Family("portcullis_github_requests_seconds", "histogram", "Time of a request to GitHub.")
_EDGES = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def _timings() -> Histogram:
    initial = [(step, result) for step in Step for result in Result]
    return Histogram(TIMES, ("step", "result"), _EDGES, initial=initial)


@dataclass(frozen=True)
class GitHub:
    """A GitHub app at github.com or an Enterprise Server.

    `url` is the address for browsers, `backchannel_url` the address of the same server for this process, and
    `api_url` the REST API. All requests use `http`: a client for each step would read the bundle of authorities
    each time, which blocks the process for tens of milliseconds.
    """

    client_id: str
    client_secret: str
    url: str
    backchannel_url: str
    api_url: str
    redirect_uri: str
    http: httpx2.AsyncClient
    deadline: float = 10.0
    timings: Histogram = field(default_factory=_timings)

    @classmethod
    def from_settings(cls, settings: WebSettings, tls: ssl.SSLContext) -> GitHub:
        """The app in the settings, with `tls` for its connections."""
        return cls(
            client_id=settings.github_client_id,
            client_secret=settings.github_client_secret.get_secret_value(),
            url=settings.github_url.rstrip("/"),
            backchannel_url=(settings.github_backchannel_url or settings.github_url).rstrip("/"),
            api_url=settings.github_api_url.rstrip("/"),
            redirect_uri=f"{settings.issuer}/callback",
            http=httpx2.AsyncClient(timeout=_TIMEOUT, verify=tls),
            deadline=settings.github_timeout,
        )

    def __repr__(self) -> str:
        return f"GitHub(url={self.url!r}, client_id={self.client_id!r})"

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    def sign_in_url(
        self, *, state: str, code_verifier: str, with_groups: bool, picks_account: bool = False
    ) -> str:
        """The URL for the browser; `with_groups` requests the scope to read the user's groups.

        Without `picks_account` GitHub uses the account that is signed in there.
        """
        url: str = prepare_grant_uri(
            f"{self.url}/login/oauth/authorize",
            self.client_id,
            "code",
            redirect_uri=self.redirect_uri,
            scope=f"{_SCOPE} {_MEMBERSHIP_SCOPE}" if with_groups else _SCOPE,
            state=state,
            code_challenge=create_s256_code_challenge(code_verifier),
            code_challenge_method="S256",
            prompt="select_account" if picks_account else None,
        )
        return url

    async def sign_in(self, *, code: str, code_verifier: str) -> SignedIn:
        """The person who signed in. Raises `GitHubRefusedError` and `GitHubUnavailableError`."""
        by = self._deadline()
        access_token = await self._redeem(code, code_verifier, by)
        return SignedIn(await self._user_of(access_token, by), access_token)

    async def groups(
        self, token: str, user: User, names_for: Callable[[User], Collection[str]]
    ) -> tuple[User, frozenset[str]]:
        """The current `user`, and the organisations and teams of which they are an active member.

        `names_for` returns the groups to ask about for the person's current login: an account can be renamed.
        Raises `GitHubRefusedError` when the token is no longer valid or may not see memberships: without
        `read:org` GitHub answers "not found" for a private membership, which must not pass for "not a member".
        Raises `GitHubUnavailableError`.
        """
        by = self._deadline()
        # GitHub finds a team member by login, and an old login may belong to another person now.
        current = await self._user_of(token, by)
        if current.github_id != user.github_id:
            raise GitHubRefusedError("the token is another person's")
        return current, await self._active_among(token, current.login, names_for(current), by)

    async def _active_among(self, token: str, login: str, names: Collection[str], by: float) -> frozenset[str]:
        found = set()
        for name in sorted(names):
            organization, is_team, slug = (quote(part, safe="") for part in name.partition("/"))
            if is_team:
                step, path = Step.TEAM, f"/orgs/{organization}/teams/{slug}/memberships/{quote(login)}"
            else:
                step, path = Step.ORGANIZATION, f"/user/memberships/orgs/{organization}"
            async with self._measured(step, by):
                is_active = await self._is_active(path, token)
            if is_active:
                found.add(name)
        return frozenset(found)

    async def _user_of(self, token: str, by: float) -> User:
        async with self._measured(Step.USER, by):
            answer = await self._get("/user", token)
            _check_not_refused(answer)
            if not answer.is_success:
                raise GitHubUnavailableError(f"/user answered {answer.status_code}")
            return _user(_json(answer))

    def _deadline(self) -> float:
        """When the present call must end, by the clock of the event loop."""
        return asyncio.get_running_loop().time() + self.deadline

    @asynccontextmanager
    async def _measured(self, step: Step, by: float) -> AsyncIterator[None]:
        """Measure a step, and end it at `by`: a timeout for each read would allow one byte at a time."""
        begun = perf_counter()
        result: Result | None = None
        try:
            async with asyncio.timeout_at(by):
                yield
            result = Result.ANSWERED
        except TimeoutError:
            result = Result.TIMED_OUT
            raise GitHubUnavailableError(f"no answer within {self.deadline:g} seconds") from None
        except GitHubRefusedError:
            result = Result.REFUSED
            raise
        except GitHubUnavailableError:
            result = Result.UNAVAILABLE
            raise
        finally:
            # Not a request that was cancelled because its caller left: GitHub has no part in that.
            if result is not None:
                self.timings.add(perf_counter() - begun, step, result)

    async def _redeem(self, code: str, code_verifier: str, by: float) -> str:
        """The token for `code`. It does not retry: a code that was sent may have been used up."""
        form = prepare_token_request(
            "authorization_code",
            redirect_uri=self.redirect_uri,
            code=code,
            code_verifier=code_verifier,
            client_id=self.client_id,
            client_secret=self.client_secret,
        )
        async with self._measured(Step.CODE, by):
            try:
                answer = await self.http.post(
                    f"{self.backchannel_url}/login/oauth/access_token",
                    content=form,
                    headers={"Accept": "application/json", "Content-Type": _FORM},
                )
            except httpx2.HTTPError as error:
                raise GitHubUnavailableError(type(error).__name__) from error
            document = _json(answer)
            if answer.is_server_error or not isinstance(document, dict):
                raise GitHubUnavailableError(f"the token endpoint answered {answer.status_code}")
            if "error" in document:
                raise GitHubRefusedError(str(document["error"]))
            token = document.get("access_token")
            if not isinstance(token, str) or not token:
                raise GitHubUnavailableError("the token endpoint gave no token")
            return token

    async def _is_active(self, path: str, token: str) -> bool:
        answer = await self._get(path, token)
        # Tokens of GitHub Apps have permissions instead of scopes, and no such header.
        granted = answer.headers.get("X-OAuth-Scopes")
        if granted is not None and not _READS_ORGANIZATIONS & {scope.strip() for scope in granted.split(",")}:
            raise MissingScopeError(OAuthReason.MEMBERSHIPS_NOT_SHOWN.row.description)
        if answer.status_code == _NOT_FOUND and _is_githubs_own(answer):
            return False
        _check_not_refused(answer)
        if not answer.is_success:
            raise GitHubUnavailableError(f"{path} answered {answer.status_code}")
        document = _json(answer)
        state = document.get("state") if isinstance(document, dict) else None
        if not isinstance(state, str):
            raise GitHubUnavailableError(f"{path} does not say what state the membership is in")
        return state == "active"

    async def _get(self, path: str, token: str) -> httpx2.Response:
        """Call the API; retry once if the first answer is not GitHub's own. Raises `GitHubUnavailableError`."""
        headers = {**_HEADERS, "Authorization": f"Bearer {token}"}
        for last in (False, True):
            try:
                answer = await self.http.get(f"{self.api_url}{path}", headers=headers)
            except httpx2.HTTPError as error:
                if last:
                    raise GitHubUnavailableError(type(error).__name__) from error
                continue
            if last or answer.status_code not in _TRIED_AGAIN:
                return answer
        raise AssertionError("the second try returns or raises")


def _check_not_refused(answer: httpx2.Response) -> None:
    if not _is_githubs_own(answer):
        return
    if answer.status_code == _BAD_TOKEN or (answer.status_code == _DENIED and not _is_rate_limit(answer)):
        raise GitHubRefusedError(f"GitHub does not let us see that ({answer.status_code})")


def _is_githubs_own(answer: httpx2.Response) -> bool:
    """Whether GitHub itself sent an error: its errors are JSON objects with a message and a documentation URL.

    A proxy may answer 401, 403 and 404 too, and so may the maintenance page of an Enterprise Server. If that
    counted as GitHub's, "not found" would mean that all people left.
    """
    try:
        document = answer.json()
    except ValueError:
        return False
    return isinstance(document, dict) and {"message", "documentation_url"} <= document.keys()


def _is_rate_limit(answer: httpx2.Response) -> bool:
    """Whether a refusal means "not now": GitHub also answers 403 when a rate limit is reached."""
    return answer.headers.get("X-RateLimit-Remaining") == "0" or "Retry-After" in answer.headers


def _json(answer: httpx2.Response) -> object:
    try:
        document: object = answer.json()
    except ValueError as error:
        raise GitHubUnavailableError("the answer is not JSON") from error
    return document


def _user(document: object) -> User:
    """The user in the answer to `GET /user`. Raises `GitHubUnavailableError` when it is not well-formed."""
    if not isinstance(document, dict):
        raise GitHubUnavailableError("the user is not an object")
    github_id, login, name = document.get("id"), document.get("login"), document.get("name")
    if type(github_id) is not int or not isinstance(login, str) or not login:
        raise GitHubUnavailableError("the user has no id or login")
    return User(github_id=github_id, login=login, name=name if isinstance(name, str) else None)
