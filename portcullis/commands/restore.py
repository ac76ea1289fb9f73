"""`portcullis restore`: write a backup into an empty Redis, or replace the records in Redis."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
from oauth_core.store.maintenance.snapshot import Snapshot
from oauth_core.store.records.key_ring import KeyRingStore
from portcullis.backup.file import BackupError
from portcullis.backup.key import BackupKey
from portcullis.backup.progress import Progress
from portcullis.backup.restoring import RestoreResult, check_room, check_version, examine, paused, restore
from portcullis.backup.state import reading
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.operator_commands import (
    as_json,
    format_time,
    given_settings,
    which_gateway,
    with_redis,
)
from portcullis.cli.operator_settings import master_key_place
from portcullis.cli.record_kinds import format_counts

if TYPE_CHECKING:
    from redis.asyncio import Redis

_REVOCATION_EVENTS = (
    EventKind.EVERYBODY_REVOKED,
    EventKind.USER_BLOCKED,
    EventKind.USER_REVOKED,
    EventKind.USER_ERASED,
    EventKind.CLIENT_REVOKED,
    EventKind.CLIENT_DELETED,
    EventKind.CLIENT_PERMISSIONS_CHANGED,
    EventKind.GRANT_REVOKED,
    EventKind.INITIAL_ACCESS_TOKEN_REVOKED,
    EventKind.KEY_RETIRED,
    EventKind.SERVICE_DISABLED,
)
"""Events of steps that an operator may have to repeat."""

_UNKNOWN = """\
Records that were ended after {since} stayed ended, as far as this Redis had a note of it{how_far}.
If Redis was lost or emptied since then, look in the audit log from {since} on for
  {events}
and do these again. A refresh token that was used since then is valid again, and the newer one of its client is
not: that client signs in again. If tokens may have been stolen since then: portcullis tokens revoke --all"""


_TOO_OLD = """\
nothing was restored: the backup is of {since}, more than {days} days ago (server.backup_days). Records that were
ended since then would come back, because Redis keeps notes of that for {days} days only. Restore a newer backup.
If there is none, and the records in Redis may be lost: empty Redis, restore this one, and end again all that the
audit log shows as ended since"""
_DAY = 86_400


def _refuse_if_too_old(created_at: int, days: int) -> None:
    """Raise `BackupError` if the backup is older than the notes of ended records in Redis."""
    if created_at < time.time() - days * _DAY:
        raise BackupError(_TOO_OLD.format(since=format_time(created_at), days=days))


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--force",
    is_flag=True,
    help="Replace the records in Redis. Ended records stay ended; newer records of the same grants stay.",
)
@click.option(
    "--adopt-records",
    is_flag=True,
    help="Trust the records of a backup that an older version made without authentication codes.",
)
@which_gateway
@as_json
def command(
    file: Path, config: Path | None, state_dir: Path, *, force: bool, adopt_records: bool, as_json: bool
) -> None:
    """Write the backup FILE, or with - the one on standard input, into an empty Redis.

    The command first reads the whole file, checks that it is unchanged, and that MASTER_KEY decrypts its
    signing keys. It pauses sign-ins meanwhile; you need not stop or start any program. Expired records stay
    expired, all earlier access tokens are void, and clients that refreshed since the backup sign in again.
    Records that were ended since then stay ended, as far as this Redis has a note of it. A backup that is older
    than `server.backup_days` is refused if Redis has records of people or clients.
    """
    settings = given_settings(config, state_dir)
    key = BackupKey.from_settings(settings)

    async def run(redis: Redis) -> tuple[RestoreResult, int, bool]:
        ring = KeyRingStore(redis, master_key=settings.master_key_bytes)
        with reading(file) as backup:
            info = examine(backup, key, ring, adopt=adopt_records)
            snapshot = Snapshot(redis)
            was_empty = await snapshot.is_empty()
            if not force and not was_empty:
                raise click.ClickException("this Redis is not empty; --force replaces its records")
            if await snapshot.has_history():
                _refuse_if_too_old(info.header.created_at, settings.backup_days)
            await check_version(redis, info, ring)
            await check_room(redis, info)
            async with paused(redis):
                done = await restore(redis, backup, key, info, ring, progress=Progress("Restored").report)
        return done, info.header.created_at, was_empty

    try:
        done, created_at, was_empty = with_redis(
            settings, run, intent=Intent(EventKind.STATE_RESTORED, str(file)), any_version=True
        )
    except BackupError as error:
        place = master_key_place(state_dir, os.environ)
        raise click.ClickException(f"{file}: {error} (the master key is read from {place})") from None
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None
    operator_audit().record(EventKind.STATE_RESTORED, reason=f"by the operator: of {format_time(created_at)}")
    if as_json:
        total = done.records.total()
        click.echo(
            json.dumps(
                {
                    "records": total,
                    "kinds": done.records,
                    "stayed": done.kept,
                    "created_at": created_at,
                    "grants_ended": done.ended_again,
                }
            )
        )
        return
    since = format_time(created_at)
    click.echo(f"Restored from {since}: {format_counts(done.records)}.")
    if done.kept:
        click.echo(f"{format_counts(done.kept)} stayed as they are now, because these are newer.")
    if done.ended_again:
        click.echo(
            f"{format_counts({'grant': done.ended_again})} of these ended at once, because they had been revoked."
        )
    how_far = ", and it was empty" if was_empty else ""
    click.echo(_UNKNOWN.format(since=since, how_far=how_far, events=", ".join(_REVOCATION_EVENTS)), err=True)
