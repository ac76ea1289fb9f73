"""Makes endpoints that write records answer 503 while sign-ins are paused (`portcullis pause`, or a restore).

Revocation, introspection, metadata and the account page continue: revoking rights always works. Only the two forms
of the account page that start something, signing in and an invitation for a client, are refused too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from quart import Blueprint

    from oauth_web.runtime.deps import Deps


def add_to(blueprint: Blueprint, deps: Deps) -> None:
    """Make the endpoints of `blueprint` refuse requests during a pause."""

    @blueprint.before_request
    async def refuse_while_paused() -> None:
        await check(deps)


async def check(deps: Deps) -> None:
    """Pass unless sign-ins are paused. Raises `DisplayedError` (503)."""
    reason = await deps.pauses.reason()
    if reason is not None:
        raise refused(OAuthReason.SIGN_INS_PAUSED, detail=f": {reason}" if reason else "")
