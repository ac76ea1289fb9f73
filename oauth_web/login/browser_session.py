"""Who is signed in, in this browser: begun by a sign-in with GitHub, ended by signing out or by time.

A session is what spares the next app a trip to GitHub. It proves who is there and nothing else: whether they may
still be here is asked each time (`oauth_web.login.eligibility`), and what an app may do is for the consent page.
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
    """The live session of the browser that sent this request."""

    session_hash: str
    session: Session
    seen_at: int
    """Second at which the session was alive: what is done in it counts from there, and falls with a later cut."""

    form_token: str = field(repr=False)
    """What forms of our own pages carry, so that nobody else's page can send them (a synchronizer token)."""

    @property
    def user(self) -> User:
        """Who is signed in."""
        return self.session.user

    def sent(self, form_token: str | None) -> bool:
        """Whether a form came from a page that was made for this very session."""
        return form_token is not None and hmac.compare_digest(form_token.encode(), self.form_token.encode())


async def current(deps: Deps) -> SignedInBrowser | None:
    """The session of this request's browser, while it lives. Raises `StoreUnavailableError`."""
    secret = _cookie(deps).read()
    if secret is None or not deps.settings.session_lifetime:
        return None
    session_hash, now = hash_secret(secret), deps.clock()
    session = await deps.sessions.get(session_hash, now=now)
    if session is None or not can_be_asked_about(deps, session.user, session.sealed_github_token):
        return None
    return SignedInBrowser(session_hash, session, now, _form_token(secret))


async def begin(deps: Deps, user: User, eligibility: Eligibility, *, at: int, answer: Response) -> None:
    """Sign `user` in as of second `at`, in the browser that gets `answer`: with a new secret.

    The session that it had before ends.

    A secret that somebody planted in this browser beforehand is worth nothing afterwards (session fixation).
    """
    lifetime = deps.settings.session_lifetime
    await _end_earlier(deps)
    if not lifetime:
        return
    session = Session(user, at, at + lifetime, eligibility.sealed_github_token, eligibility.groups)
    _cookie(deps).set_on(answer, await deps.sessions.begin(session))
    deps.audit.record(EventKind.SESSION_STARTED, user=user)


async def end(deps: Deps, browser: SignedInBrowser, *, reason: str, answer: Response | None = None) -> None:
    """End a session; the browser that gets `answer` forgets everything, also what it had under way."""
    if await deps.sessions.end(browser.session_hash, browser.user.github_id):
        deps.audit.record(EventKind.SESSION_ENDED, reason=reason, user=browser.user)
    if answer is not None:
        drop_cookies(deps, answer)


def drop_cookies(deps: Deps, answer: Response) -> None:
    """Let the browser forget its session and the forms and journeys it had under way."""
    _cookie(deps).drop_on(answer)
    BrowserCookie(deps.settings).drop_on(answer)


async def _end_earlier(deps: Deps) -> None:
    secret = _cookie(deps).read()
    if secret is None:
        return
    session_hash, now = hash_secret(secret), deps.clock()
    earlier = await deps.sessions.get(session_hash, now=now)
    if earlier is not None:
        await end(deps, SignedInBrowser(session_hash, earlier, now, ""), reason="signed in again")


def _cookie(deps: Deps) -> SecretCookie:
    return SecretCookie(deps.settings, "portcullis-session", lifetime=deps.settings.session_lifetime)


def _form_token(secret: str) -> str:
    """Tied to the session, and of no use to find it by."""
    return hash_secret(f"form of the session {secret}")
