"""`portcullis pause`: pause sign-ins, refreshes and registrations."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
from oauth_core.display_text import is_displayable
from oauth_core.store.records.sign_in_pause import SignInPauseStore
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.operator_commands import (
    as_json,
    by_operator,
    given_settings,
    which_gateway,
    with_redis,
)

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

_LONGEST_REASON = 200


@click.command("pause")
@click.option("--reason", default="", metavar="TEXT", help="The reason that people see when they sign in.")
@which_gateway
@as_json
def command(reason: str, config: Path | None, state_dir: Path, *, as_json: bool) -> None:
    """Pause sign-ins, refreshes and registrations until `portcullis resume`. Calls and revocations still work."""
    if len(reason) > _LONGEST_REASON or (reason and not is_displayable(reason)):
        raise click.UsageError(f"--reason must be at most {_LONGEST_REASON} printable characters")

    async def run(redis: Redis) -> tuple[bool, bool]:
        pauses = SignInPauseStore(redis)
        is_new = await pauses.pause(reason)
        return is_new, is_new or (bool(reason) and await pauses.change_reason(reason))

    intent = Intent(EventKind.SIGN_INS_PAUSED, reason=reason or None)
    is_new, changed = with_redis(given_settings(config, state_dir), run, intent=intent, must_last=True)
    if changed:
        operator_audit().record(EventKind.SIGN_INS_PAUSED, reason=by_operator(reason or None))
    if as_json:
        click.echo(json.dumps({"paused": True, "was_paused": not is_new}))
    else:
        click.echo("Sign-ins are paused. To resume them: portcullis resume")
