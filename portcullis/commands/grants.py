"""`portcullis grants`: list what people allowed to clients, and revoke a grant."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from oauth_core.audit import EventKind
from oauth_core.crypto.credentials import is_identifier
from oauth_core.store.records.users import UserStore
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.identifiers import ANY_ID
from portcullis.cli.named_people import find_person, user_option
from portcullis.cli.operator_commands import (
    NothingToEndError,
    as_json,
    by_operator,
    format_time,
    give_notice_of_end,
    grant_store,
    operator_group,
    show_table,
    why,
    with_redis,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.model import Grant
    from oauth_core.settings import WebSettings


@operator_group("grants")
def command() -> None:
    """List what people allowed to clients, and revoke a grant.

    A grant is one sign-in of one person with one client, and all tokens that it led to.
    """


@command.command("list")
@user_option
@click.option("--client", "client_id", help="Only grants of this client.")
@as_json
@click.pass_obj
def list_grants(settings: WebSettings, user: str | None, client_id: str | None, *, as_json: bool) -> None:
    """Show all grants, oldest first. Reads them one by one."""

    async def run(redis: Redis) -> list[Grant]:
        grants = grant_store(redis, settings)
        if user is not None:
            users = UserStore(redis, settings.record_key, lifetime=settings.refresh_token_lifetime)
            return list(await grants.of_user(await find_person(users, user)))
        ids = dict.fromkeys([grant_id async for grant_id in grants.all_ids()])
        return [grant for grant_id in ids if (grant := await grants.get(grant_id)) is not None]

    found = [grant for grant in with_redis(settings, run) if client_id in {None, grant.client_id}]
    rows = [grant_document(grant) for grant in sorted(found, key=lambda grant: (grant.created_at, grant.grant_id))]
    if as_json:
        click.echo(json.dumps(rows))
        return
    show_table(
        ("GRANT", "SINCE", "USER", "CLIENT"),
        [(row["grant_id"], row["since"], row["user"] or "(machine)", row["client_id"]) for row in rows],
        empty="There are no grants.",
    )


@command.command(context_settings=ANY_ID)
@click.argument("grant_id")
@why
@as_json
@click.pass_obj
def revoke(settings: WebSettings, grant_id: str, reason: str | None, *, as_json: bool) -> None:
    """Revoke the grant GRANT_ID, with its refresh token and its access tokens."""

    async def run(redis: Redis) -> Grant | None:
        grants = grant_store(redis, settings)
        # The id becomes part of a key, so it must have the form of our ids.
        if not is_identifier(grant_id):
            return None
        grant = await grants.get(grant_id)
        # Also without a record: some of its tokens may be left, if a node was away when it ended.
        ended = await grants.end(grant_id)
        if ended and grant is not None:
            await give_notice_of_end(redis, settings, [grant], reason)
        return grant if ended else None

    intent = Intent(EventKind.GRANT_REVOKED, grant_id, reason)
    grant = with_redis(settings, run, intent=intent, must_last=True)
    if grant is None:
        raise NothingToEndError("there is no such grant")
    operator_audit().record(EventKind.GRANT_REVOKED, reason=by_operator(reason), grant=grant)
    click.echo(json.dumps(grant_document(grant)) if as_json else "The grant is revoked.")


def grant_document(grant: Grant) -> dict[str, Any]:
    """A grant without its secrets."""
    return {
        "grant_id": grant.grant_id,
        "user": grant.user.login if grant.user else None,
        "user_id": grant.user.github_id if grant.user else None,
        "client_id": grant.client_id,
        "scope": " ".join(grant.scopes),
        "groups": list(grant.groups),
        "since": format_time(grant.created_at),
        "until": format_time(grant.expires_at),
    }
