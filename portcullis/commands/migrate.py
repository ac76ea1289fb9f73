"""`portcullis migrate`: the records in Redis, brought to this version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from oauth_core.audit import AuditEvent, EventKind
from oauth_core.credentials import new_identifier
from oauth_core.store.keyring import KeyRingError, KeyRingStore
from oauth_core.store.leases import LeaseStore
from oauth_core.store.schema import VERSION, SchemaStore
from portcullis.operator_commands import as_json, given_settings, record, which_gateway, with_redis

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis


@click.command("migrate")
@which_gateway
@as_json
def command(config: Path | None, state_dir: Path, *, as_json: bool) -> None:
    """Bring the records in Redis to this version.

    oauth_web does so by itself when it starts; with many records it is quicker to do it before.
    """

    settings = given_settings(config, state_dir)

    async def run(redis: Redis) -> tuple[int, ...]:
        ring = KeyRingStore(redis, master_key=settings.master_key_bytes)
        return await SchemaStore(redis).migrate(LeaseStore(redis, holder=new_identifier()), ring)

    try:
        left = with_redis(settings, run)
    except KeyRingError as error:
        raise click.ClickException(str(error)) from None
    for version in left:
        record(AuditEvent(EventKind.STATE_MIGRATED, reason=f"from version {version} to {version + 1}"))
    if as_json:
        click.echo(json.dumps({"version": VERSION, "migrated_from": list(left)}))
    else:
        click.echo(f"The records are of version {VERSION}.")
