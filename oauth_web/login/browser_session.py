"""The browser session: a sign-in with GitHub begins it; a sign-out or its lifetime ends it.

With a session, the next client needs no redirect to GitHub. A session proves the identity of the person and
nothing else. `oauth_web.login.eligibility` checks each time whether the person may still sign in, and the consent
page asks which rights a client gets.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.crypto.credentials import hash_secret
from oauth_core.flows.sessions import Session
from oauth_web.http.cookies import BrowserCookie, SecretCookie
from oauth_web.login.eligibility import can_be_asked_about

if TYPE_CHECKING:
    from quart import Response

    from oauth_core.model import User
    from oauth_web.login.eligibility import Eligibility
    from oauth_web.runtime.deps import Deps


@dataclass(frozen=True)
class SignedInBrowser:
    """The active session of the browser that sent this request."""

    session_hash: str
    session: Session
    seen_at: int
    """Second at which the session was active. Rights given in it count from it: a later revocation voids them."""

    form_token: str = field(repr=False)
    """The token in the forms of our own pages, so that no other site's page can send them (synchronizer token)."""

    @property
    def user(self) -> User:
        """The person who is signed in."""
        return self.session.user

    def form_token_matches(self, form_token: str | None) -> bool:
        """Whether a form came from a page that was made for exactly this session."""
        return form_token is not None and hmac.compare_digest(form_token.encode(), self.form_token.encode())


async def current(deps: Deps) -> SignedInBrowser | None:
    """The active session of this request's browser, if there is one. Raises `StoreUnavailableError`."""
    secret = _cookie(deps).read_secret()
    if secret is None or not deps.settings.session_lifetime:
        return None
    session_hash, now = hash_secret(secret), deps.clock()
    session = await deps.sessions.get(session_hash, now=now)
    if session is None or not can_be_asked_about(deps, session.user, session.sealed_github_token):
        return None
    return SignedInBrowser(session_hash, session, now, _form_token(secret))


async def begin(deps: Deps, user: User, eligibility: Eligibility, *, at: int, answer: Response) -> None:
    """Begin a session of `user` as of second `at`, with a new secret, in the browser that gets `answer`.

    The earlier session of the browser ends. So a secret that an attacker set in this browser beforehand is
    worthless afterwards (session fixation). Raises `NotRecordedError` if the session cannot be recorded.
    """
    lifetime = deps.settings.session_lifetime
    await _end_earlier(deps)
    if not lifetime:
        return
    await deps.audit.intend(EventKind.SESSION_STARTED, user=user)
    session = Session(user, at, at + lifetime, eligibility.sealed_github_token, eligibility.groups)
    _cookie(deps).set_on(answer, await deps.sessions.begin(session))
    deps.audit.record(EventKind.SESSION_STARTED, user=user)


async def end(deps: Deps, browser: SignedInBrowser, *, reason: str, answer: Response | None = None) -> None:
    """End a session; the browser that gets `answer` drops all cookies, also those of unfinished sign-ins."""
    await deps.audit.intend_to_end(EventKind.SESSION_ENDED, reason=reason, user=browser.user)
    if await deps.sessions.end(browser.session_hash, browser.user.github_id):
        deps.audit.record(EventKind.SESSION_ENDED, reason=reason, user=browser.user)
    if answer is not None:
        drop_cookies(deps, answer)


def drop_cookies(deps: Deps, answer: Response) -> None:
    """Make the browser drop its session, its open forms and its unfinished login redirects."""
    _cookie(deps).drop_on(answer)
    BrowserCookie(deps.settings).drop_on(answer)


async def _end_earlier(deps: Deps) -> None:
    secret = _cookie(deps).read_secret()
    if secret is None:
        return
    session_hash, now = hash_secret(secret), deps.clock()
    earlier = await deps.sessions.get(session_hash, now=now)
    if earlier is not None:
        await end(deps, SignedInBrowser(session_hash, earlier, now, ""), reason="signed in again")


def _cookie(deps: Deps) -> SecretCookie:
    return SecretCookie(deps.settings, "portcullis-session", lifetime=deps.settings.session_lifetime)


def _form_token(secret: str) -> str:
    """A token that depends on the session's secret, but from which the session cannot be found."""
    return hash_secret(f"form of the session {secret}")
