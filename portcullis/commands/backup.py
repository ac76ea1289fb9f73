"""`portcullis backup`: a gateway's state in one encrypted file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
from portcullis.backup.key import BackupKey
from portcullis.backup.progress import Progress
from portcullis.backup.state import STANDARD, back_up, writing
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.operator_commands import as_json, given_settings, which_gateway, with_redis
from portcullis.cli.operator_settings import master_key_place
from portcullis.cli.record_kinds import format_counts

if TYPE_CHECKING:
    from collections import Counter

    from redis.asyncio import Redis


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@which_gateway
@as_json
def command(file: Path, config: Path | None, state_dir: Path, *, as_json: bool) -> None:
    """Write clients, sign-ins, consents, blocks and signing keys into FILE, or with - to standard output.

    The file is encrypted under BACKUP_KEY, or under MASTER_KEY if that is not set; do not keep the key with
    the file. A restore always needs MASTER_KEY, because it encrypts the signing keys in the file. The gateway
    may be running. The file has no access tokens: after `portcullis restore` clients get new ones by themselves.
    """
    settings = given_settings(config, state_dir)
    key = BackupKey.from_settings(settings)

    async def run(redis: Redis) -> Counter[str]:
        with writing(file) as output:
            return await back_up(redis, output, key, issuer=settings.issuer, progress=Progress("Written").report)

    try:
        count = with_redis(settings, run, intent=Intent(EventKind.STATE_BACKED_UP, str(file)))
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None
    operator_audit().record(EventKind.STATE_BACKED_UP, reason="by the operator")
    if as_json:
        click.echo(json.dumps({"records": count.total(), "kinds": count, "key": key.name}), err=file == STANDARD)
    else:
        click.echo(f"{format_counts(count)}, encrypted with {key.name}.", err=True)
        place = master_key_place(state_dir, os.environ)
        click.echo(f"A restore also needs the master key, which is in {place}: keep a copy.", err=True)
