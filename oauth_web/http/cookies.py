"""The browser's cookies: one binds a consent form and GitHub's answer to the browser; the other is its session.

Without the first, an attacker could make a victim finish a sign-in that the attacker began, or the reverse. The
second identifies the browser session, and changes at every sign-in (`oauth_web.login.browser_session`).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quart import request

from oauth_core.crypto.credentials import hash_secret, new_secret
from oauth_core.net.public_urls import origin_of
from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from quart import Response

    from oauth_core.errors import DisplayedError
    from oauth_core.settings import WebSettings

_SECRET_LENGTH = len(new_secret())


class SecretCookie:
    """A secret in a cookie. Its name begins with `__Host-` wherever there is TLS; plain http is only for loopback.

    The prefix makes browsers accept the cookie from exactly this host only, so that another host below the same
    domain cannot set its own value.
    """

    def __init__(self, settings: WebSettings, name: str, *, lifetime: int) -> None:
        self._secure = settings.issuer.startswith("https://")
        self._name = f"__Host-{name}" if self._secure else name
        self._lifetime = lifetime

    def read_secret(self) -> str | None:
        """The secret that this browser sent, if it has the right form."""
        found = request.cookies.get(self._name, "")
        return found if len(found) == _SECRET_LENGTH and found.isascii() else None

    def set_on(self, answer: Response, value: str) -> None:
        """Set the browser's secret."""
        answer.set_cookie(
            self._name,
            value,
            max_age=self._lifetime,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="Lax",  # GitHub's redirect back is a cross-site navigation, and must carry it
        )

    def drop_on(self, answer: Response) -> None:
        """Delete the browser's secret."""
        answer.delete_cookie(self._name, path="/", secure=self._secure, httponly=True, samesite="Lax")


class BrowserCookie(SecretCookie):
    """The cookie that every browser gets with its first form."""

    def __init__(self, settings: WebSettings) -> None:
        super().__init__(settings, "portcullis", lifetime=settings.session_timeout * 2)

    def value(self) -> str:
        """This browser's secret, or a new one if it has none."""
        return self.read_secret() or new_secret()

    def belongs_to(self, browser_hash: str) -> bool:
        """Whether this request comes from the browser with that hash."""
        found = self.read_secret()
        return found is not None and hmac.compare_digest(hash_secret(found), browser_hash)


def comes_from_our_page(issuer: str, *, has_secret: bool = False) -> bool:
    """Whether one of our own pages sent the form of this request, according to the browser.

    A browser that hides addresses sends the origin `null`, also with our own forms. Then it must send that the
    request stays at one origin (`Sec-Fetch-Site`). A form from an older browser without such a header is
    accepted if it `has_secret`: a secret that only our page in this browser contains.
    """
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if origin != "null":
        return origin in {None, origin_of(issuer)}
    return site == "same-origin" or (has_secret and site is None)


def without_cookie(issuer: str) -> DisplayedError:
    """The error for a browser that sent our form, or came back from GitHub, without our cookie."""
    host = urlsplit(issuer).hostname
    return refused(OAuthReason.NO_COOKIE, host=host)


def is_page_load() -> bool:
    """Whether the browser loads this as a top-level page, not in a frame or for a script, by its own headers."""
    return (
        request.headers.get("Sec-Fetch-Dest", "document") == "document"
        and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
    )
