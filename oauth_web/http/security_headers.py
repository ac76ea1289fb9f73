"""Security headers on every answer. Pages may load nothing, run nothing and appear in no frame.

There is deliberately no `form-action`: Chrome applies it to the redirects after a form is sent, and consent
ends in a redirect to any address that the client registered.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from oauth_core.crypto.digests import sha256

if TYPE_CHECKING:
    from quart import Quart, Response

_STYLE = Path(__file__).parents[1] / "templates" / "style.css"


def add_to(app: Quart) -> None:
    """Set the headers on every answer of `app`, and give its templates the one style sheet."""
    style = _STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(sha256(style.encode())).decode()
    headers = {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'"
        ),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        # Not no-referrer: with it browsers send `Origin: null` with our own form, and we check its origin.
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }

    @app.after_request
    async def set_headers(answer: Response) -> Response:
        for name, value in headers.items():
            answer.headers.setdefault(name, value)
        return answer

    @app.context_processor
    async def give_style() -> dict[str, str]:
        return {"style": style}
