"""`portcullis keys`: list, rotate and retire the keys that sign access tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import click

from oauth_core.audit import EventKind
from oauth_core.jose.jwk_set_signature import KeySetSigner
from oauth_core.jose.key_ring import PUBLISHED_FIRST, KeyRing, RetireError
from oauth_core.jose.signing_keys import Algorithm, generate_key
from oauth_core.policy import session_binding
from oauth_core.store import clock
from oauth_core.store.records.key_ring import KeyRingError, KeyRingStore
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.identifiers import ANY_ID
from portcullis.cli.operator_commands import (
    as_json,
    format_time,
    operator_group,
    show_table,
    with_redis,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from oauth_core.jose.signing_keys import SigningKey
    from oauth_core.settings import WebSettings


@operator_group("keys")
def command() -> None:
    """List, rotate and retire the keys that sign access tokens.

    A rotation needs no restart: the new key is published at once and signs a few seconds later. Tokens of
    the old key stay valid until they expire; retire the old key after that.
    """


@command.command("list")
@as_json
@click.pass_obj
def list_keys(settings: WebSettings, *, as_json: bool) -> None:
    """Show the keys of the ring, newest first, and which one signs."""
    _show(*_with_ring(settings, lambda store, _: store.read()), as_json=as_json)


@command.command()
@click.option(
    "--algorithm",
    type=click.Choice(get_args(Algorithm)),
    help="The algorithm of the new key. Default: tokens.signing_algorithm.",
)
@as_json
@click.pass_obj
def rotate(settings: WebSettings, algorithm: Algorithm | None, *, as_json: bool) -> None:
    """Make a new key. It is published at once and signs after a few seconds."""
    made: list[SigningKey] = []

    def make(store: KeyRingStore, now: int) -> Awaitable[KeyRing]:
        made.append(generate_key(algorithm or settings.signing_algorithm, now=now))
        return store.change(lambda ring: ring.with_new(made[0]))

    intent = Intent(EventKind.KEY_CREATED, algorithm or settings.signing_algorithm)
    ring, now = _with_ring(settings, make, intent=intent)
    operator_audit().record(EventKind.KEY_CREATED, key=made[0].kid)
    if not as_json:
        click.echo(f"Made {made[0].kid}; it signs in {PUBLISHED_FIRST} seconds.")
    _show(ring, now, as_json=as_json)


@command.command(context_settings=ANY_ID)
@click.argument("kid")
@click.option(
    "--force", is_flag=True, help="Retire it even if it has active tokens: they are refused from then on."
)
@as_json
@click.pass_obj
def retire(settings: WebSettings, kid: str, *, force: bool, as_json: bool) -> None:
    """Remove the key KID from the ring, after its tokens have expired."""
    lifetime = settings.access_token_lifetime
    try:
        ring, now = _with_ring(
            settings,
            lambda store, now: store.change(
                lambda ring: ring.without(kid, now=now, token_lifetime=lifetime, force=force)
            ),
            intent=Intent(EventKind.KEY_RETIRED, kid),
        )
    except RetireError as error:
        raise click.ClickException(f"{kid} stays: {error}") from None
    operator_audit().record(EventKind.KEY_RETIRED, key=kid)
    _show(ring, now, as_json=as_json)


@command.command("verification-key")
@as_json
@click.pass_obj
def verification_key(settings: WebSettings, *, as_json: bool) -> None:
    """Print the public key that the check service needs (JWKS_VERIFICATION_KEY).

    It belongs to MASTER_KEY and is no secret. The check service trusts only key sets that the authorization server
    signed, so that write access to Redis is not enough to publish a key. This command does not need Redis.
    """
    key = KeySetSigner(settings.master_key_bytes).verification_key
    click.echo(json.dumps({"jwks_verification_key": key}) if as_json else key)


@command.command("session-key")
@as_json
@click.pass_obj
def session_key(settings: WebSettings, *, as_json: bool) -> None:
    """Print the key with which check services bind sessions (SESSION_KEY).

    It is a secret that belongs to MASTER_KEY. This command does not need Redis.
    """
    key = session_binding.session_key(settings.master_key_bytes)
    click.echo(json.dumps({"session_key": key}) if as_json else key)


def _with_ring(
    settings: WebSettings,
    use: Callable[[KeyRingStore, int], Awaitable[KeyRing]],
    *,
    intent: Intent | None = None,
) -> tuple[KeyRing, int]:
    """Run `use` at the present second of Redis' clock; return the ring, and that second.

    With an `intent`, it also works in a Redis that refuses writes.
    """

    async def run(redis: Redis) -> tuple[KeyRing, int]:
        now = int(await clock.seconds(redis))
        return await use(KeyRingStore(redis, master_key=settings.master_key_bytes), now), now

    try:
        return with_redis(settings, run, intent=intent, must_last=intent is not None)
    except KeyRingError as error:
        raise click.ClickException(str(error)) from None


def _show(ring: KeyRing, now: int, *, as_json: bool) -> None:
    signs = ring.signing_key(now)
    rows: list[dict[str, Any]] = [
        {
            "kid": key.kid,
            "algorithm": key.algorithm,
            "created": format_time(key.created_at),
            "signs": key is signs,
        }
        for key in ring.keys
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    show_table(
        ("KEY", "ALGORITHM", "CREATED", "SIGNS"),
        [(row["kid"], row["algorithm"], row["created"], "signs" if row["signs"] else "") for row in rows],
        empty="There are no keys.",
    )
