"""`portcullis restore`: a backup into an empty Redis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oauth_core.audit import AuditEvent, EventKind
from oauth_core.store.keyring import KeyRingError, KeyRingStore
from oauth_core.store.snapshot import Snapshot
from portcullis.backup.file import BackupError
from portcullis.backup.key import BackupKey
from portcullis.backup.progress import Progress
from portcullis.backup.state import examine, reading, restore
from portcullis.operator_commands import (
    as_json,
    given_settings,
    record,
    shown_time,
    which_gateway,
    with_redis,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--force",
    is_flag=True,
    help="Replace what is in Redis. Blocks and isolated services of this moment stay as they are.",
)
@which_gateway
@as_json
def command(file: Path, config: Path | None, state_dir: Path, *, force: bool, as_json: bool) -> None:
    """Put the backup FILE, or with - the one on standard input, into an empty Redis.

    Nothing is written before the whole file has been read and found unchanged. Stop oauth_web first; when the
    command is done, start it again. What expired since the backup stays expired, every access token of before is
    dead, and clients that refreshed theirs since the backup sign in again. What was revoked since then is back:
    the audit log says what to revoke again.
    """
    settings = given_settings(config, state_dir)
    key = BackupKey.of(settings)

    async def run(redis: Redis) -> tuple[int, int]:
        if not force and not await Snapshot(redis).is_empty():
            raise click.ClickException("this Redis is not empty; --force replaces what is in it")
        with reading(file) as backup:
            header = examine(backup, key)
            count = await restore(redis, backup, key, settings.record_key, progress=Progress("Restored").tell)
        try:
            await KeyRingStore(redis, master_key=settings.master_key_bytes).read()
        except KeyRingError as error:
            raise click.ClickException(f"restored, but oauth_web will not start: {error}") from None
        return count, header.created_at

    try:
        count, created_at = with_redis(settings, run, any_version=True)
    except BackupError as error:
        raise click.ClickException(f"{file}: {error}") from None
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None
    record(AuditEvent(EventKind.STATE_RESTORED, reason=f"by the operator: of {shown_time(created_at)}"))
    if as_json:
        click.echo(json.dumps({"records": count, "created_at": created_at}))
    else:
        click.echo(f"{count} records of {shown_time(created_at)}. Start oauth_web again.")
