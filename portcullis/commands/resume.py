"""`portcullis resume`: end a pause of sign-ins."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
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


@click.command("resume")
@which_gateway
@as_json
def command(config: Path | None, state_dir: Path, *, as_json: bool) -> None:
    """End the pause of `portcullis pause`: people can sign in again."""
    was_paused = with_redis(
        given_settings(config, state_dir),
        lambda redis: SignInPauseStore(redis).resume(),
        intent=Intent(EventKind.SIGN_INS_RESUMED),
    )
    if not was_paused:
        raise click.ClickException("sign-ins are not paused")
    operator_audit().record(EventKind.SIGN_INS_RESUMED, reason=by_operator(None))
    click.echo(json.dumps({"paused": False}) if as_json else "People can sign in again.")
