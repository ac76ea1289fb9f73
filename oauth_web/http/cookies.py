"""The browser's cookies: one ties a consent form and GitHub's answer to who asked; the other is its session.

Without the first, somebody could have a victim finish a sign-in that they began themselves, or the reverse.
The second is who is signed in, and changes at every sign-in (`oauth_web.login.browser_session`).
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
    """A secret in a cookie. `__Host-` wherever there is TLS; plain http is only ever loopback.

    The prefix makes browsers refuse it from anybody but this very host, so that no neighbour below the same domain
    can plant a value of theirs.
    """

    def __init__(self, settings: WebSettings, name: str, *, lifetime: int) -> None:
        self._secure = settings.issuer.startswith("https://")
        self._name = f"__Host-{name}" if self._secure else name
        self._lifetime = lifetime

    def read(self) -> str | None:
        """This browser's secret, if it sent what could be one."""
        found = request.cookies.get(self._name, "")
        return found if len(found) == _SECRET_LENGTH and found.isascii() else None

    def set_on(self, answer: Response, value: str) -> None:
        """Give the browser its secret."""
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
        """Take the browser's secret away."""
        answer.delete_cookie(self._name, path="/", secure=self._secure, httponly=True, samesite="Lax")


class BrowserCookie(SecretCookie):
    """The cookie that every browser gets with its first form."""

    def __init__(self, settings: WebSettings) -> None:
        super().__init__(settings, "portcullis", lifetime=settings.session_timeout * 2)

    def value(self) -> str:
        """This browser's secret, or a fresh one for a browser that has none."""
        return self.read() or new_secret()

    def belongs_to(self, browser_hash: str) -> bool:
        """Whether this request comes from the browser with that hash."""
        found = self.read()
        return found is not None and hmac.compare_digest(hash_secret(found), browser_hash)


def comes_from_our_page(issuer: str, *, has_secret: bool = False) -> bool:
    """Whether the form of this request was sent by a page of ours, as far as the browser says.

    A browser that keeps addresses to itself names the origin `null`, also with our own forms. Then it must say
    that the request stays at one origin (`Sec-Fetch-Site`). An older one, which does not say that, is believed if
    the form `has_secret`: one that only our page in this very browser can know.
    """
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if origin != "null":
        return origin in {None, origin_of(issuer)}
    return site == "same-origin" or (has_secret and site is None)


def without_cookie(issuer: str) -> DisplayedError:
    """The error for a browser that sent a form of ours, or came back from GitHub, and did not send our cookie."""
    host = urlsplit(issuer).hostname
    return refused(OAuthReason.NO_COOKIE, host=host)


def is_page_load() -> bool:
    """Whether the browser loads this as a page of its own, not in a frame or for a script, as far as it says."""
    return (
        request.headers.get("Sec-Fetch-Dest", "document") == "document"
        and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
    )
