"""Endpoints that make records answer 503 while sign-ins are paused (`portcullis pause`, or a restore).

Revoking, introspection, metadata and the account page go on: taking rights away always works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.errors import DisplayedError, ErrorCode

if TYPE_CHECKING:
    from quart import Blueprint

    from oauth_web.runtime.deps import Deps

_RETRY_AFTER_SECONDS = 10
_UNAVAILABLE = 503


def add_to(blueprint: Blueprint, deps: Deps) -> None:
    """Let the endpoints of `blueprint` be paused."""

    @blueprint.before_request
    async def refuse_while_paused() -> None:
        reason = await deps.pauses.reason()
        if reason is not None:
            raise DisplayedError(
                ErrorCode.TEMPORARILY_UNAVAILABLE,
                f"sign-ins are paused{f': {reason}' if reason else ''}; try again later",
                status=_UNAVAILABLE,
                retry_after=_RETRY_AFTER_SECONDS,
            )
