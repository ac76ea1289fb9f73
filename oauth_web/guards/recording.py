"""Makes endpoints that grant rights answer 503 while events cannot be recorded.

Taking rights away always works: revocation, the forms of the account page that end something, and the deletion of
a registration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import request

from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from quart import Blueprint

    from oauth_web.runtime.deps import Deps


def add_to(blueprint: Blueprint, deps: Deps) -> None:
    """Make the endpoints of `blueprint` refuse requests that could not be recorded, except deletions."""

    @blueprint.before_request
    async def refuse_unrecorded() -> None:
        if request.method != "DELETE":
            check(deps)


def check(deps: Deps) -> None:
    """Pass if events can be recorded. Raises `DisplayedError` (503)."""
    if not deps.audit.is_available:
        raise refused(OAuthReason.AUDIT_UNAVAILABLE)
