"""`portcullis clients revoke|disable|enable`: end the access of a client, once or until it is enabled again."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from oauth_core import strict_json
from oauth_core.audit import EventKind
from oauth_core.clients import client_id_documents, disabling
from oauth_core.clients.siblings import are_siblings
from oauth_core.errors import StoreUnavailableError
from oauth_core.flows.notices import NoticeKind
from oauth_core.model import DisabledClient
from oauth_core.store.records.client_documents import DocumentStore
from oauth_core.store.records.clients import ClientStore
from oauth_core.store.records.disabled_clients import DisabledClientStore
from oauth_core.store.records.revocation import Revocation
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.identifiers import ANY_ID
from portcullis.cli.operator_commands import (
    Ended,
    NothingToEndError,
    as_json,
    by_operator,
    end_as_far_as_possible,
    give_notice_of_end,
    grant_store,
    why,
    with_redis,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.model import Client
    from oauth_core.settings import WebSettings

siblings_option = click.option(
    "--siblings",
    is_flag=True,
    help="Also for every public client that registered the same metadata: apps register again for each user.",
)


@click.command(context_settings=ANY_ID)
@click.argument("client_id")
@siblings_option
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
            known = ended.missing is not None or await _is_known(clients, client_id)
            others = await _siblings(clients, client_id) if siblings else ()
            for other in others:
                ended = ended.and_also(await end_as_far_as_possible(revoke_client(other.client_id)))
        finally:
            await give_notice_of_end(redis, settings, ended.grants, reason)
        return known, (client_id, *(other.client_id for other in others)), ended

    intent = Intent(EventKind.CLIENT_REVOKED, _subject(client_id, siblings=siblings), reason)
    known, revoked, ended = with_redis(settings, run, intent=intent, must_last=True)
    if not known and not ended.count:
        raise NothingToEndError("there is no such client")
    _conclude(EventKind.CLIENT_REVOKED, revoked, ended, reason)
    if as_json:
        click.echo(json.dumps({"client_id": client_id, "grants_ended": ended.count}))
    else:
        others = f" and {len(revoked) - 1} siblings" if siblings else ""
        click.echo(f"Revoked {ended.count} grants of {client_id}{others}.")


@click.command(context_settings=ANY_ID)
@click.argument("client_id")
@siblings_option
@why
@as_json
@click.pass_obj
def disable(settings: WebSettings, client_id: str, reason: str | None, *, siblings: bool, as_json: bool) -> None:
    """Disable the client CLIENT_ID: revoke everything, and refuse it until `enable`.

    No client can register with the same metadata, or with an address of it that is not on the user's machine.
    Other clients that have registered so go on; `--siblings` disables those with the same metadata.
    """
    now = int(time.time())

    async def run(redis: Redis) -> tuple[bool, tuple[DisabledClient, ...], Ended]:
        clients = ClientStore(redis, settings.record_key)
        revocation = Revocation(redis, grant_store(redis, settings))
        was_disabled = True  # unless Redis shows otherwise
        with suppress(StoreUnavailableError):
            was_disabled = await DisabledClientStore(redis).is_disabled(client_id)
        mark = await _mark(redis, settings, client_id, now, reason)
        ended = await end_as_far_as_possible(revocation.disable_client(mark))
        marks = [mark]
        try:
            known = was_disabled or ended.missing is not None or ended.count > 0
            known = known or await _is_known(clients, client_id)
            if not known:
                await DisabledClientStore(redis).enable(client_id)
            for other in await _siblings(clients, client_id) if siblings else ():
                marks.append(
                    DisabledClient(other.client_id, now, other.client_name, reason, disabling.traits_of(other))
                )
                ended = ended.and_also(await end_as_far_as_possible(revocation.disable_client(marks[-1])))
        finally:
            await give_notice_of_end(redis, settings, ended.grants, reason, kind=NoticeKind.APP_DISABLED)
        return known, tuple(marks), ended

    intent = Intent(EventKind.CLIENT_DISABLED, _subject(client_id, siblings=siblings), reason)
    known, marks, ended = with_redis(settings, run, intent=intent, must_last=True)
    if not known:
        raise NothingToEndError("there is no such client")
    _conclude(EventKind.CLIENT_DISABLED, tuple(mark.client_id for mark in marks), ended, reason)
    if as_json:
        shown = [mark.client_id for mark in marks]
        click.echo(json.dumps({"client_id": client_id, "disabled": shown, "grants_ended": ended.count}))
    else:
        others = f" and {len(marks) - 1} siblings" if siblings else ""
        click.echo(f"Disabled {client_id}{others}; {ended.count} grants ended.")


@click.command(context_settings=ANY_ID)
@click.argument("client_id")
@why
@as_json
@click.pass_obj
def enable(settings: WebSettings, client_id: str, reason: str | None, *, as_json: bool) -> None:
    """Enable the client CLIENT_ID again. Its users have to sign in again."""
    intent = Intent(EventKind.CLIENT_ENABLED, client_id, reason)
    if not with_redis(settings, lambda redis: DisabledClientStore(redis).enable(client_id), intent=intent):
        raise click.ClickException("that client is not disabled")
    operator_audit().record(EventKind.CLIENT_ENABLED, reason=by_operator(reason), client_id=client_id)
    click.echo(json.dumps({"client_id": client_id}) if as_json else f"Enabled {client_id}.")


COMMANDS = (revoke, disable, enable)


def record_ended(ended: Ended, reason: str | None) -> None:
    """Record each grant that a command ended."""
    for grant in ended.grants:
        operator_audit().record(EventKind.GRANT_REVOKED, reason=by_operator(reason), grant=grant)


def _conclude(kind: EventKind, client_ids: tuple[str, ...], ended: Ended, reason: str | None) -> None:
    """Record what was done. Raises `ClickException` if a part could not be done."""
    for one in client_ids:
        operator_audit().record(kind, reason=by_operator(reason), client_id=one)
    record_ended(ended, reason)
    ended.check()


def _subject(client_id: str, *, siblings: bool) -> str:
    return f"{client_id}{' --siblings' if siblings else ''}"


async def _is_known(clients: ClientStore, client_id: str) -> bool:
    """Whether there is such a client. One with a metadata document has no record here."""
    return client_id_documents.is_url(client_id) or await clients.exists(client_id)


async def _siblings(clients: ClientStore, client_id: str) -> tuple[Client, ...]:
    """The other clients that registered the same metadata as `client_id`."""
    client = await clients.get_stored(client_id)
    if client is None:
        return ()
    return tuple(one for one in await clients.all() if one.client_id != client_id and are_siblings(client, one))


async def _mark(
    redis: Redis, settings: WebSettings, client_id: str, now: int, reason: str | None
) -> DisabledClient:
    """The mark of a client, with what is known of it here. A failed read does not stop the command."""
    before, name, traits = None, None, set[str]()
    with suppress(StoreUnavailableError, ValueError):
        before = await DisabledClientStore(redis).get(client_id)
    with suppress(StoreUnavailableError, ValueError):
        if client_id_documents.is_url(client_id):
            name = client_id_documents.host_of(client_id)
            documents = DocumentStore(redis, settings.record_key, lifetime=settings.unused_client_lifetime)
            copy = await documents.get(client_id_documents.stored_as(client_id))
            document = None if copy is None else strict_json.parse(copy.body.encode())
            uris = document.get("redirect_uris", []) if isinstance(document, dict) else []
            traits.update(disabling.traits_of_addresses(disabling.addresses_in(map(str, uris))))
        elif (client := await ClientStore(redis, settings.record_key).get_stored(client_id)) is not None:
            name = client.client_name
            traits.update(disabling.traits_of(client))
    if before is not None:  # the client may have changed its metadata, or its record has ended
        name, traits = name or before.name, traits | set(before.traits)
    return DisabledClient(client_id, now, name, reason, tuple(sorted(traits)))
