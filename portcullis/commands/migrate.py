"""`portcullis migrate`: migrate the records in Redis to this version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
from oauth_core.crypto.credentials import new_identifier
from oauth_core.store.maintenance.adoption import adopt, count_plain
from oauth_core.store.maintenance.schema import VERSION, SchemaStore
from oauth_core.store.records.key_ring import KeyRingError, KeyRingStore
from oauth_core.store.records.leases import LeaseStore
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.operator_commands import (
    as_json,
    given_settings,
    which_gateway,
    with_redis,
    yes,
)
from portcullis.cli.record_kinds import format_counts
from portcullis.supervisor import adoption_note

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

    from oauth_core.settings import BackupSettings

_QUESTION = """\
{kinds} in Redis have no authentication code. Adoption makes them count as genuine, also if an attacker wrote them.
Answer yes only once, right after the upgrade from a version that wrote no codes, with every oauth_web stopped.
Adopt them?"""


@click.command("migrate")
@click.option(
    "--adopt-records",
    is_flag=True,
    help="Trust the records that an older version wrote without authentication codes. Once, after the upgrade.",
)
@yes
@which_gateway
@as_json
def command(config: Path | None, state_dir: Path, *, adopt_records: bool, yes: bool, as_json: bool) -> None:
    """Migrate the records in Redis to this version.

    oauth_web does this by itself when it starts; with many records, run this command before. Only this command
    adopts records without authentication codes, and only with --adopt-records.
    """
    settings = given_settings(config, state_dir)
    adopted = _adopt(settings, state_dir, sure=yes) if adopt_records else 0

    async def run(redis: Redis) -> tuple[int, ...]:
        ring = KeyRingStore(redis, master_key=settings.master_key_bytes)
        await ring.check_adopted()
        return await SchemaStore(redis).migrate(LeaseStore(redis, holder=new_identifier()), ring)

    try:
        left = with_redis(settings, run, intent=Intent(EventKind.STATE_MIGRATED))
    except KeyRingError as error:
        raise click.ClickException(str(error)) from None
    for version in left:
        operator_audit().record(EventKind.STATE_MIGRATED, reason=f"from version {version} to {version + 1}")
    if as_json:
        click.echo(json.dumps({"version": VERSION, "migrated_from": list(left), "adopted": adopted}))
    else:
        click.echo(f"The records are of version {VERSION}.")


def _adopt(settings: BackupSettings, state_dir: Path, *, sure: bool) -> int:
    """Adopt the records without codes; return their number. Raises `ClickException`."""
    note = adoption_note.path(state_dir)
    if note.exists():
        raise click.ClickException(
            f"the adoption of this gateway is over ({note}): records without codes come from an attacker, or "
            "from old files of Redis that were restored. In the second case use `portcullis restore` with a "
            "backup, or remove that file first"
        )
    try:
        plain = with_redis(settings, lambda redis: count_plain(redis, settings.record_key))
        if plain and not sure:
            click.confirm(_QUESTION.format(kinds=format_counts(plain)), abort=True, err=True)
        done = with_redis(
            settings,
            lambda redis: adopt(redis, KeyRingStore(redis, master_key=settings.master_key_bytes)),
            intent=Intent(EventKind.RECORDS_ADOPTED),
        )
        adoption_note.write(state_dir)
    except KeyRingError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{note}: {error.strerror}") from None
    operator_audit().record(EventKind.RECORDS_ADOPTED, reason=f"by the operator: {format_counts(done)}")
    return done.total()
