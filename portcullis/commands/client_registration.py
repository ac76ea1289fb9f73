"""`portcullis clients invite` and similar: initial access tokens, and permissions of registration tokens."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
from oauth_core.clients import initial_access_tokens
from oauth_core.clients.registration_permissions import ALL
from oauth_core.display_text import is_displayable
from oauth_core.policy.resources import ServiceIndex
from oauth_core.store.records.clients import ClientStore
from oauth_core.store.records.initial_access_tokens import InitialAccessTokenStore, StoredToken
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.identifiers import ANY_ID
from portcullis.cli.operator_commands import (
    as_json,
    by_operator,
    format_time,
    show_table,
    why,
    with_redis,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.model import Client
    from oauth_core.settings import WebSettings

_DAY = 86_400
_LONGEST_NOTE = 200

_permission = click.option(
    "--permission",
    "permissions",
    multiple=True,
    type=click.Choice(ALL),
    help="A permission of its registration token. Repeat for more.",
)
_none = click.option("--no-permissions", is_flag=True, help="Give its registration token no permission.")


@click.command()
@click.option("--uses", type=click.IntRange(1, initial_access_tokens.MOST_USES), default=1, show_default=True)
@click.option(
    "--days", type=click.IntRange(1, initial_access_tokens.LONGEST_LIFE // _DAY), default=7, show_default=True
)
@click.option("--note", help="The purpose, shown in lists.")
@click.option(
    "--machine-scope",
    "machine_scopes",
    multiple=True,
    help="A scope for clients that ask for client_credentials, as themselves. Repeat for more.",
)
@_permission
@_none
@as_json
@click.pass_obj
def invite(
    settings: WebSettings,
    uses: int,
    days: int,
    note: str | None,
    permissions: tuple[str, ...],
    *,
    machine_scopes: tuple[str, ...],
    no_permissions: bool,
    as_json: bool,
) -> None:
    """Make an initial access token, with which its holder can register clients. It is printed only once."""
    if note is not None and (not is_displayable(note) or len(note) > _LONGEST_NOTE):
        raise click.UsageError(f"--note must be at most {_LONGEST_NOTE} printable characters")
    issued = initial_access_tokens.new_token(
        now=int(time.time()),
        lifetime=days * _DAY,
        uses=uses,
        registration_permissions=_chosen(
            permissions, none=no_permissions, default=settings.client_registration_permissions
        ),
        note=note,
        machine_scopes=known_scopes(settings, machine_scopes),
    )
    with_redis(
        settings,
        lambda redis: InitialAccessTokenStore(redis, settings.record_key).add(issued),
        intent=Intent(EventKind.INITIAL_ACCESS_TOKEN_ISSUED, issued.token.token_id, note),
    )
    operator_audit().record(
        EventKind.INITIAL_ACCESS_TOKEN_ISSUED,
        reason=by_operator(note),
        key=issued.token.token_id,
        scope=" ".join(issued.token.registration_permissions),
    )
    counts = settings.client_registration == "token" or (machine_scopes and settings.client_registration == "open")
    if not counts:
        click.echo(
            f"clients.registration is {settings.client_registration!r}: the token has no effect now.", err=True
        )
    shown = _token_document(StoredToken(issued.token, uses))
    if as_json:
        click.echo(json.dumps({**shown, "initial_access_token": issued.text}))
        return
    click.echo(
        f"initial_access_token  {issued.text}\nKeep it now: it is stored as a hash and cannot be shown again."
    )


@click.command()
@as_json
@click.pass_obj
def invites(settings: WebSettings, *, as_json: bool) -> None:
    """Show the valid initial access tokens, oldest first."""
    rows = [
        _token_document(row)
        for row in with_redis(settings, lambda redis: InitialAccessTokenStore(redis, settings.record_key).all())
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    show_table(
        ("INVITE", "UNTIL", "LEFT", "PERMISSIONS", "ISSUED TO", "NOTE"),
        [
            (
                str(row["token_id"]),
                str(row["expires"]),
                f"{row['left']} of {row['uses']}",
                str(row["registration_permissions"] or "-"),
                str(row["issued_to"] or "operator"),
                str(row["note"] or "-"),
            )
            for row in rows
        ],
        empty="There are no invites.",
    )


@click.command("revoke-invite", context_settings=ANY_ID)
@click.argument("token_id")
@why
@as_json
@click.pass_obj
def revoke_invite(settings: WebSettings, token_id: str, reason: str | None, *, as_json: bool) -> None:
    """Revoke the initial access token TOKEN_ID. Clients that registered with it stay."""
    if not with_redis(
        settings,
        lambda redis: InitialAccessTokenStore(redis, settings.record_key).revoke(token_id),
        intent=Intent(EventKind.INITIAL_ACCESS_TOKEN_REVOKED, token_id, reason),
        must_last=True,
    ):
        raise click.ClickException(
            "there is no such initial access token; if one was revoked, the revocation is complete"
        )
    operator_audit().record(EventKind.INITIAL_ACCESS_TOKEN_REVOKED, reason=by_operator(reason), key=token_id)
    click.echo(json.dumps({"token_id": token_id, "revoked": True}) if as_json else f"Revoked {token_id}.")


@click.command(context_settings=ANY_ID)
@click.argument("client_id")
@_permission
@_none
@as_json
@click.pass_obj
def permissions(
    settings: WebSettings, client_id: str, permissions: tuple[str, ...], *, no_permissions: bool, as_json: bool
) -> None:
    """Set the permissions of the registration token of CLIENT_ID. Without options, show them."""

    async def run(redis: Redis) -> Client | None:
        clients = ClientStore(redis, settings.record_key)
        client = await clients.get_stored(client_id)
        if client is None or not (permissions or no_permissions):
            return client
        chosen = _chosen(permissions, none=no_permissions, default=())
        changed = dataclasses.replace(client, registration_permissions=chosen)
        if not await clients.swap(client, changed):
            raise click.ClickException("the client changed at the same moment; try again")
        return changed

    changes = permissions != () or no_permissions
    intent = Intent(EventKind.CLIENT_PERMISSIONS_CHANGED, f"{client_id} {' '.join(permissions) or 'none'}")
    # Narrowed permissions must also work in a Redis that refuses writes.
    client = with_redis(settings, run, intent=intent if changes else None, must_last=changes)
    if client is None:
        raise click.ClickException("there is no such client")
    carried = " ".join(client.registration_permissions)
    if changes:
        operator_audit().record(
            EventKind.CLIENT_PERMISSIONS_CHANGED, reason=by_operator(None), client_id=client_id, scope=carried
        )
    shown = {"client_id": client_id, "registration_permissions": list(client.registration_permissions)}
    click.echo(json.dumps(shown) if as_json else carried or "none")


COMMANDS = (invite, invites, revoke_invite, permissions)
"""The subcommands that `portcullis clients` adds to its own."""


def known_scopes(settings: WebSettings, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Return `scopes` without duplicates. Raises `UsageError` if one of them belongs to no service."""
    known = ServiceIndex(settings.resolved_services).scopes
    if unknown := [scope for scope in scopes if scope not in known]:
        raise click.UsageError(
            f"no service has the scope {' '.join(unknown)}; there are: {' '.join(sorted(known))}"
        )
    return tuple(dict.fromkeys(scopes))


def _chosen(named: tuple[str, ...], *, none: bool, default: tuple[str, ...]) -> tuple[str, ...]:
    if none and named:
        raise click.UsageError("--permission and --no-permissions exclude each other")
    return () if none else tuple(name for name in ALL if name in named) or default


def _token_document(stored: StoredToken) -> dict[str, str | int | None]:
    """A token without its secret and its hash."""
    token = stored.token
    return {
        "token_id": token.token_id,
        "issued": format_time(token.issued_at),
        "expires": format_time(token.expires_at),
        "uses": token.uses,
        "left": stored.left,
        "registration_permissions": " ".join(token.registration_permissions),
        "machine_scopes": " ".join(token.machine_scopes) or None,
        "issued_to": token.issued_to.login if token.issued_to else None,
        "note": token.note,
    }
