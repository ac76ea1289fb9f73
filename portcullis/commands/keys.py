"""`portcullis keys`: list, rotate and retire the keys that sign access tokens."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from oauth_core import logs
from oauth_core.audit import AuditEvent, EventKind
from oauth_core.errors import StoreUnavailableError
from oauth_core.key_ring import PUBLISHED_FIRST, KeyRing, RetireError
from oauth_core.keys import Algorithm, generate_key
from oauth_core.store.connection import connect
from oauth_core.store.keyring import KeyRingError, KeyRingStore
from portcullis.identifiers import ANY_ID
from portcullis.operator_settings import operator_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oauth_core.settings import WebSettings

T = TypeVar("T")


@click.group("keys")
@click.option("--config", type=click.Path(path_type=Path), help="The gateway's settings file.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(".portcullis"),
    show_default=True,
    help="Where `portcullis up` keeps its state; used unless MASTER_KEY is in the environment.",
)
@click.pass_context
def command(context: click.Context, config: Path | None, state_dir: Path) -> None:
    """List, rotate and retire the keys that sign access tokens.

    A rotation needs no restart: the new key is published at once and signs a few seconds later, and tokens of
    the old one stay good until they expire. Retire the old one when they have.
    """
    context.obj = operator_settings(config, state_dir, os.environ)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_keys(settings: WebSettings, *, as_json: bool) -> None:
    """Show the keys of the ring, newest first, and which one signs."""
    _show(_with_store(settings, lambda store: store.read()), as_json=as_json)


@command.command()
@click.option(
    "--algorithm", type=click.Choice(get_args(Algorithm)), help="Of the new key. Default: signing_algorithm."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def rotate(settings: WebSettings, algorithm: Algorithm | None, *, as_json: bool) -> None:
    """Make a new key. It is published at once and signs after a few seconds."""
    key = generate_key(algorithm or settings.signing_algorithm, now=int(time.time()))
    ring = _with_store(settings, lambda store: store.change(lambda ring: ring.with_new(key)))
    _audit(EventKind.KEY_CREATED, key.kid)
    if not as_json:
        click.echo(f"Made {key.kid}; it signs in {PUBLISHED_FIRST} seconds.")
    _show(ring, as_json=as_json)


@command.command(context_settings=ANY_ID)
@click.argument("kid")
@click.option(
    "--force", is_flag=True, help="Even if its tokens may still be alive: they are refused from then on."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def retire(settings: WebSettings, kid: str, *, force: bool, as_json: bool) -> None:
    """Take the key KID out of the ring, once its tokens have expired."""
    now, lifetime = int(time.time()), settings.access_token_lifetime
    try:
        ring = _with_store(
            settings,
            lambda store: store.change(
                lambda ring: ring.without(kid, now=now, token_lifetime=lifetime, force=force)
            ),
        )
    except RetireError as error:
        raise click.ClickException(f"{kid} stays: {error}") from None
    _audit(EventKind.KEY_RETIRED, kid)
    _show(ring, as_json=as_json)


def _with_store(settings: WebSettings, use: Callable[[KeyRingStore], Awaitable[T]]) -> T:
    async def run() -> T:
        redis = connect(settings)
        try:
            return await use(KeyRingStore(redis, master_key=settings.master_key_bytes))
        finally:
            await redis.aclose()

    try:
        return asyncio.run(run())
    except (StoreUnavailableError, KeyRingError) as error:
        raise click.ClickException(str(error)) from None


def _show(ring: KeyRing, *, as_json: bool) -> None:
    signs = ring.signing_key(int(time.time()))
    rows: list[dict[str, Any]] = [
        {
            "kid": key.kid,
            "algorithm": key.algorithm,
            "created": datetime.fromtimestamp(key.created_at, UTC).isoformat(),
            "signs": key is signs,
        }
        for key in ring.keys
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(
            f"{row['kid']}  {row['algorithm']:<6} {row['created']}  {'signs' if row['signs'] else ''}".rstrip()
        )


def _audit(kind: EventKind, kid: str) -> None:
    # On standard error, so that `--json` stays JSON.
    logs.configure("portcullis keys", "info", stream=sys.stderr)
    logs.LogAuditSink().record(AuditEvent(kind, key=kid))
