"""Makes endpoints that write records answer 503 while sign-ins are paused (`portcullis pause`, or a restore).

Revocation, introspection, metadata and the account page continue: revoking rights always works.
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
        reason = await deps.pauses.reason()
        if reason is not None:
            raise refused(OAuthReason.SIGN_INS_PAUSED, told=f": {reason}" if reason else "")
