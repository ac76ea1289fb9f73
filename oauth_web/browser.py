"""The browser's cookie: it ties a consent form and GitHub's answer to the browser that asked.

Without it, somebody could have a victim finish a sign-in that they began themselves, or the other way round.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from quart import request

from oauth_core.credentials import hash_secret, new_secret
from oauth_core.public_urls import origin_of

if TYPE_CHECKING:
    from quart import Response

    from oauth_core.settings import WebSettings


class BrowserCookie:
    """Reads and sets the cookie. `__Host-` wherever there is TLS; plain http is only ever loopback."""

    def __init__(self, settings: WebSettings) -> None:
        self._secure = settings.issuer.startswith("https://")
        self._name = "__Host-portcullis" if self._secure else "portcullis"
        self._lifetime = settings.session_timeout

    def value(self) -> str:
        """This browser's secret, or a fresh one for a browser that has none."""
        found = request.cookies.get(self._name, "")
        return found if len(found) == len(new_secret()) and found.isascii() else new_secret()

    def set_on(self, answer: Response, value: str) -> None:
        """Give the browser its secret."""
        answer.set_cookie(
            self._name,
            value,
            max_age=self._lifetime * 2,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="Lax",  # GitHub's redirect back is a cross-site navigation, and must carry it
        )

    def belongs_to(self, browser_hash: str) -> bool:
        """Whether this request comes from the browser with that hash."""
        found = request.cookies.get(self._name)
        return found is not None and hmac.compare_digest(hash_secret(found), browser_hash)


def comes_from_our_page(issuer: str) -> bool:
    """Whether the form of this request was sent by a page of ours, as far as the browser says."""
    return request.headers.get("Origin") in {None, origin_of(issuer)}
