"""`portcullis clients`: make machine clients, and show or delete any client."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, get_args

import click

from oauth_core import strict_json
from oauth_core.audit import EventKind
from oauth_core.display_text import is_displayable
from oauth_core.errors import StoreUnavailableError
from oauth_core.flows import client_credentials
from oauth_core.jose import client_keys
from oauth_core.net import fetchable_urls
from oauth_core.store.records.clients import ClientStore
from oauth_core.store.records.disabled_clients import DisabledClientStore
from oauth_core.store.records.revocation import Revocation
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.identifiers import ANY_ID
from portcullis.cli.operator_commands import (
    Ended,
    as_json,
    by_operator,
    end_as_far_as_possible,
    format_time,
    give_notice_of_end,
    grant_store,
    operator_group,
    show_table,
    with_redis,
)
from portcullis.commands import client_access, client_registration
from portcullis.commands.client_access import record_ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from oauth_core.model import Client, DisabledClient
    from oauth_core.settings import WebSettings

T = TypeVar("T")
Document = dict[str, str | list[str] | None]
_LONGEST_NAME = 512
_LONGEST_JWKS = 65_536


@operator_group("clients")
def command() -> None:
    """Make machine clients, and show, revoke or delete any client.

    A machine client is a program that acts as itself (OAuth 2.1 section 4.2). Clients that registered themselves
    may not, unless they registered with a token of `invite --machine-scope`.
    """


for _more in (*client_registration.COMMANDS, *client_access.COMMANDS):
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
    _show(_client_document(made.client))
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
    """Show every client, oldest first, and every disabled client that has no record here."""

    async def run(redis: Redis) -> tuple[list[Client], list[DisabledClient]]:
        clients = ClientStore(redis, settings.record_key)
        return await clients.all(), await DisabledClientStore(redis).all()

    found, marks = with_redis(settings, run)
    disabled = {mark.client_id: mark for mark in marks}
    rows = [
        _client_document(client, disabled.pop(client.client_id, None))
        for client in found
        if client.machine_scopes or not machine
    ]
    if not machine:
        rows += [_without_record(mark) for mark in disabled.values()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    show_table(
        ("CLIENT", "CREATED", "MACHINE SCOPES", "DISABLED", "NAME"),
        [
            tuple(
                str(row[name] or "-")
                for name in ("client_id", "created", "machine_scopes", "disabled_since", "name")
            )
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

    async def run(redis: Redis) -> tuple[Client | None, DisabledClient | None]:
        client = await ClientStore(redis, settings.record_key).get_stored(client_id)
        return client, await DisabledClientStore(redis).get(client_id)

    client, mark = with_redis(settings, run)
    if client is None and mark is None:
        raise click.ClickException("there is no such client")
    document = _without_record(mark) if client is None and mark is not None else None
    if client is not None:
        document = _client_document(client, mark)
    assert document is not None  # noqa: S101
    if as_json:
        click.echo(json.dumps(document))
    else:
        _show(document)


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
    record_ended(ended, None)
    ended.check()
    if as_json:
        click.echo(json.dumps({"client_id": client_id, "grants_ended": ended.count}))
    else:
        click.echo(f"Deleted {client_id} and ended {ended.count} of its grants.")


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


def _client_document(client: Client, mark: DisabledClient | None = None) -> Document:
    """A client without its secrets and their hashes, and its mark if it is disabled."""
    return {
        "client_id": client.client_id,
        "name": client.client_name,
        "created": format_time(client.issued_at),
        "method": client.token_endpoint_auth_method,
        "grant_types": list(client.grant_types),
        "redirect_uris": list(client.redirect_uris),
        "machine_scopes": " ".join(client.machine_scopes) or None,
        "keys": client.jwks_uri or client.jwks,
        **_of_mark(mark),
    }


def _without_record(mark: DisabledClient) -> Document:
    """A disabled client that has no record here: its id is the URL of a document, or the record has ended."""
    return {
        "client_id": mark.client_id,
        "name": mark.name,
        "created": None,
        "machine_scopes": None,
        **_of_mark(mark),
    }


def _of_mark(mark: DisabledClient | None) -> Document:
    return {
        "disabled_since": None if mark is None else format_time(mark.since),
        "disabled_reason": None if mark is None else mark.reason,
    }


def _show(document: Document) -> None:
    for name, value in document.items():
        if value:
            click.echo(f"{name:<15} {' '.join(value) if isinstance(value, list) else value}")


def _audit(kind: EventKind, client_id: str) -> None:
    operator_audit().record(kind, reason=by_operator(None), client_id=client_id)
