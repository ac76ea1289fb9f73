"""`portcullis clients`: make machine clients, and show, revoke or delete any client."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, get_args

import click

from oauth_core import strict_json
from oauth_core.audit import EventKind
from oauth_core.clients import client_id_documents
from oauth_core.clients.siblings import are_siblings
from oauth_core.display_text import is_displayable
from oauth_core.errors import StoreUnavailableError
from oauth_core.flows import client_credentials
from oauth_core.jose import client_keys
from oauth_core.net import fetchable_urls
from oauth_core.store.records.clients import ClientStore
from oauth_core.store.records.revocation import Revocation
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.identifiers import ANY_ID
from portcullis.cli.operator_commands import (
    Ended,
    NothingToEndError,
    as_json,
    by_operator,
    end_as_far_as_possible,
    format_time,
    give_notice_of_end,
    grant_store,
    operator_group,
    show_table,
    why,
    with_redis,
)
from portcullis.commands import client_registration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from oauth_core.model import Client
    from oauth_core.settings import WebSettings

T = TypeVar("T")
_LONGEST_NAME = 512
_LONGEST_JWKS = 65_536


@operator_group("clients")
def command() -> None:
    """Make machine clients, and show, revoke or delete any client.

    A machine client is a program that acts as itself (OAuth 2.1 section 4.2). Clients that registered themselves
    may not, unless they registered with a token of `invite --machine-scope`.
    """


for _more in client_registration.COMMANDS:
    command.add_command(_more)


@command.command()
@click.option("--name", required=True, help="The name that people read in lists.")
@click.option("--scope", "scopes", multiple=True, help="A scope that it may use as itself. Repeat for more.")
@click.option(
    "--identity-assertions",
    is_flag=True,
    help="Let it exchange assertions of an identity provider; name the client in trusted_issuers as well.",
)
@click.option(
    "--method",
    type=click.Choice(get_args(client_credentials.Method)),
    default="client_secret_basic",
    show_default=True,
    help="How it authenticates at the token endpoint.",
)
@click.option(
    "--jwks",
    metavar="FILE|URL",
    help="With private_key_jwt: its public keys, a JWK set in a file (- for standard input) or at an https URL.",
)
@as_json
@click.pass_obj
def create(
    settings: WebSettings,
    name: str,
    scopes: tuple[str, ...],
    method: client_credentials.Method,
    jwks: str | None,
    *,
    identity_assertions: bool,
    as_json: bool,
) -> None:
    """Make a machine client. Its secret, if it has one, is printed only once."""
    if not name.strip() or not is_displayable(name) or len(name) > _LONGEST_NAME:
        raise click.UsageError(f"--name must be 1 to {_LONGEST_NAME} printable characters")
    if not scopes and not identity_assertions:
        raise click.UsageError("give --scope, or --identity-assertions")
    made = client_credentials.create(
        name,
        method,
        client_registration.known_scopes(settings, scopes),
        now=int(time.time()),
        identity_assertions=identity_assertions,
        **_keys(method, jwks),
    )
    intent = Intent(EventKind.CLIENT_REGISTERED, made.client.client_id)
    _with_clients(settings, lambda clients: clients.add(made.client), intent=intent)
    _audit(EventKind.CLIENT_REGISTERED, made.client.client_id)
    if as_json:
        secret = {"client_secret": made.secret} if made.secret else {}
        click.echo(json.dumps({**_client_document(made.client), **secret}))
        return
    _show(made.client)
    if made.secret is None:
        return
    click.echo(
        f"client_secret  {made.secret}\nKeep the secret now: it is stored as a hash and cannot be shown again."
    )


@command.command("list")
@click.option("--machine", is_flag=True, help="Only machine clients.")
@as_json
@click.pass_obj
def list_clients(settings: WebSettings, *, machine: bool, as_json: bool) -> None:
    """Show every client, oldest first."""
    found = _with_clients(settings, lambda clients: clients.all())
    rows = [_client_document(client) for client in found if client.machine_scopes or not machine]
    if as_json:
        click.echo(json.dumps(rows))
        return
    show_table(
        ("CLIENT", "CREATED", "MACHINE SCOPES", "NAME"),
        [
            tuple(str(row[name] or "-") for name in ("client_id", "created", "machine_scopes", "name"))
            for row in rows
        ],
        empty="There are no machine clients." if machine else "There are no clients.",
    )


@command.command(context_settings=ANY_ID)
@click.argument("client_id")
@as_json
@click.pass_obj
def show(settings: WebSettings, client_id: str, *, as_json: bool) -> None:
    """Show the client CLIENT_ID."""
    client = _with_clients(settings, lambda clients: clients.get_stored(client_id))
    if client is None:
        raise click.ClickException("there is no such client")
    if as_json:
        click.echo(json.dumps(_client_document(client)))
    else:
        _show(client)


@command.command(context_settings=ANY_ID)
@click.argument("client_id")
@as_json
@click.pass_obj
def delete(settings: WebSettings, client_id: str, *, as_json: bool) -> None:
    """Delete the client CLIENT_ID, and revoke all its tokens."""

    async def run(redis: Redis) -> tuple[bool, Ended]:
        clients = ClientStore(redis, settings.record_key)
        grants = grant_store(redis, settings)
        existed = True  # unless Redis shows otherwise: the cluster node with the record may be away
        with suppress(StoreUnavailableError):
            existed = await clients.exists(client_id)
        # Also without a record: an earlier deletion may have left grants.
        deletion = Revocation(redis, grants).delete_client(clients, client_id, finish=True)
        ended = await end_as_far_as_possible(deletion)
        await give_notice_of_end(redis, settings, ended.grants)
        return existed, ended

    intent = Intent(EventKind.CLIENT_DELETED, client_id)
    existed, ended = with_redis(settings, run, intent=intent, must_last=True)
    if not (existed or ended.count or ended.missing):
        raise click.ClickException("there is no such client; if one was deleted, the deletion is complete")
    operator_audit().record(EventKind.CLIENT_DELETED, reason=by_operator(None), client_id=client_id)
    _record_revoked(ended, None)
    ended.check()
    if as_json:
        click.echo(json.dumps({"client_id": client_id, "grants_ended": ended.count}))
    else:
        click.echo(f"Deleted {client_id} and ended {ended.count} of its grants.")


@command.command(context_settings=ANY_ID)
@click.argument("client_id")
@click.option(
    "--siblings",
    is_flag=True,
    help="Also for every public client that registered the same metadata: apps register again for each user.",
)
@why
@as_json
@click.pass_obj
def revoke(settings: WebSettings, client_id: str, reason: str | None, *, siblings: bool, as_json: bool) -> None:
    """Revoke everything of the client CLIENT_ID, and keep its registration: its users have to sign in again."""

    async def run(redis: Redis) -> tuple[bool, tuple[str, ...], Ended]:
        clients = ClientStore(redis, settings.record_key)
        grants = grant_store(redis, settings)
        revoke_client = Revocation(redis, grants).revoke_client
        ended = await end_as_far_as_possible(revoke_client(client_id))
        try:
            # A client with a metadata document has no record here. A deleted one may have left grants.
            is_url = client_id_documents.is_url(client_id)
            known = ended.missing is not None or is_url or await clients.exists(client_id)
            others = await _siblings(clients, client_id) if siblings else ()
            for other in others:
                ended = ended.and_also(await end_as_far_as_possible(revoke_client(other)))
        finally:
            await give_notice_of_end(redis, settings, ended.grants, reason)
        return known, (client_id, *others), ended

    intent = Intent(EventKind.CLIENT_REVOKED, f"{client_id}{' --siblings' if siblings else ''}", reason)
    known, revoked, ended = with_redis(settings, run, intent=intent, must_last=True)
    if not known and not ended.count:
        raise NothingToEndError("there is no such client")
    for one in revoked:
        operator_audit().record(EventKind.CLIENT_REVOKED, reason=by_operator(reason), client_id=one)
    _record_revoked(ended, reason)
    ended.check()
    if as_json:
        click.echo(json.dumps({"client_id": client_id, "grants_ended": ended.count}))
    else:
        others = f" and {len(revoked) - 1} siblings" if siblings else ""
        click.echo(f"Revoked {ended.count} grants of {client_id}{others}.")


def _record_revoked(ended: Ended, reason: str | None) -> None:
    for grant in ended.grants:
        operator_audit().record(EventKind.GRANT_REVOKED, reason=by_operator(reason), grant=grant)


async def _siblings(clients: ClientStore, client_id: str) -> tuple[str, ...]:
    """The other clients that registered the same metadata as `client_id`."""
    client = await clients.get_stored(client_id)
    if client is None:
        return ()
    return tuple(
        one.client_id for one in await clients.all() if one.client_id != client_id and are_siblings(client, one)
    )


def _keys(method: client_credentials.Method, jwks: str | None) -> dict[str, str]:
    """The public keys that `--jwks` names, as members of a `Client`. Raises `ClickException`."""
    if (method == "private_key_jwt") != (jwks is not None):
        raise click.UsageError("--method private_key_jwt needs --jwks, and only that method has keys")
    if jwks is None:
        return {}
    try:
        if "://" in jwks:
            return {"jwks_uri": fetchable_urls.check(jwks, what="--jwks", loopback=False)}
        with click.open_file(jwks, "rb") as file:
            keys = client_keys.parse(strict_json.parse(file.read(_LONGEST_JWKS)))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"--jwks {jwks}: {error}") from None
    return {"jwks": json.dumps(keys.document(), separators=(",", ":"))}


def _with_clients(
    settings: WebSettings, use: Callable[[ClientStore], Awaitable[T]], *, intent: Intent | None = None
) -> T:
    return with_redis(settings, lambda redis: use(ClientStore(redis, settings.record_key)), intent=intent)


def _client_document(client: Client) -> dict[str, str | list[str] | None]:
    """A client without its secrets and their hashes."""
    return {
        "client_id": client.client_id,
        "name": client.client_name,
        "created": format_time(client.issued_at),
        "method": client.token_endpoint_auth_method,
        "grant_types": list(client.grant_types),
        "redirect_uris": list(client.redirect_uris),
        "machine_scopes": " ".join(client.machine_scopes) or None,
        "keys": client.jwks_uri or client.jwks,
    }


def _show(client: Client) -> None:
    for name, value in _client_document(client).items():
        if value:
            click.echo(f"{name:<14} {' '.join(value) if isinstance(value, list) else value}")


def _audit(kind: EventKind, client_id: str) -> None:
    operator_audit().record(kind, reason=by_operator(None), client_id=client_id)
