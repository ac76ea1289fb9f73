"""Endpoints that make records answer 503 while sign-ins are paused (`portcullis pause`, or a restore).

Revoking, introspection, metadata and the account page go on: taking rights away always works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from quart import Blueprint

    from oauth_web.runtime.deps import Deps


def add_to(blueprint: Blueprint, deps: Deps) -> None:
    """Let the endpoints of `blueprint` be paused."""

    @blueprint.before_request
    async def refuse_while_paused() -> None:
        reason = await deps.pauses.reason()
        if reason is not None:
            raise refused(OAuthReason.SIGN_INS_PAUSED, told=f": {reason}" if reason else "")
