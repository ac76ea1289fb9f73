"""`portcullis users export` and `users erase`: all that is kept about a person, and its end."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from oauth_core.audit import EventKind
from oauth_core.errors import StoreUnavailableError
from oauth_core.model import User
from oauth_core.store.records.consents import ConsentStore
from oauth_core.store.records.contacts import ContactStore
from oauth_core.store.records.initial_access_tokens import InitialAccessTokenStore
from oauth_core.store.records.revocation import Revocation
from oauth_core.store.records.sessions import SessionStore
from oauth_core.store.records.users import UserStore
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.named_people import find_person
from portcullis.cli.operator_commands import (
    Ended,
    as_json,
    by_operator,
    end_as_far_as_possible,
    format_time,
    grant_store,
    mail_queue,
    notice_store,
    why,
    with_redis,
    yes,
)
from portcullis.commands.grants import grant_document

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.flows.notices import RepeatedNotice
    from oauth_core.settings import WebSettings

STAYS = {
    "block": "The person stays blocked until `portcullis users unblock`; the block has the login and the reason.",
    "ended rights": "Numbers without a name, so that no backup and no program brings ended access back.",
    "listed login": "Which account a login in the settings means, so that no other account takes over the login.",
    "audit record": "It proves who did what, and is kept by its retention: `portcullis audit prune`.",
    "alerts": "They go after 30 days. The profile of the calls goes 90 days after the last call.",
    "backups": "Delete old ones: they have these records. A restore into an empty Redis brings them back.",
}
"""The records that `erase` leaves, with the reasons."""


@click.command("export")
@click.argument("user")
@click.pass_obj
def export(settings: WebSettings, user: str) -> None:
    """Print all that Redis keeps about USER as JSON, without secrets.

    The audit record has more: `portcullis audit search --user USER --json`.
    """

    async def run(redis: Redis) -> dict[str, Any]:
        return await _export(redis, settings, user)

    click.echo(json.dumps(with_redis(settings, run), indent=2))


@click.command("erase")
@click.argument("user")
@why
@yes
@as_json
@click.pass_obj
def erase(settings: WebSettings, user: str, reason: str | None, *, yes: bool, as_json: bool) -> None:
    """End all access of USER, and erase their profile, notices, mail address and waiting mails.

    A block stays, and so does the audit record: the output says what stays and why. Before, save what the person
    asked for: `portcullis users export USER`.
    """
    if not yes:
        click.confirm(f"End all access of {user} and erase what is kept about them?", abort=True, err=True)

    async def run(redis: Redis) -> tuple[User, Ended]:
        users = UserStore(redis, settings.record_key, lifetime=settings.refresh_token_lifetime)
        grants = grant_store(redis, settings)
        github_id = await find_person(users, user)
        known = None
        with suppress(StoreUnavailableError):  # for the output only
            known = await users.get(github_id)
        person = known.user if known else User(github_id, "")
        ended = await end_as_far_as_possible(Revocation(redis, grants).revoke_user(github_id))
        if ended.missing is not None:
            return person, ended  # the records are needed to find the rest
        tokens = InitialAccessTokenStore(redis, settings.record_key)
        for one in await tokens.all():
            if one.token.issued_to is not None and one.token.issued_to.github_id == github_id:
                await tokens.revoke(one.token.token_id)
        await users.erase(github_id)
        await mail_queue(redis, settings).erase(github_id)
        await ContactStore(redis, settings.record_key).remove(github_id)
        await notice_store(redis, settings).erase(github_id)
        return person, ended

    intent = Intent(EventKind.USER_ERASED, user, reason)
    person, ended = with_redis(settings, run, intent=intent, must_last=True)
    for grant in ended.grants:
        operator_audit().record(EventKind.GRANT_REVOKED, reason=by_operator(reason), grant=grant)
    ended.check()
    operator_audit().record(EventKind.USER_ERASED, reason=by_operator(reason), user=person)
    if as_json:
        click.echo(json.dumps({"id": person.github_id, "grants_ended": ended.count, "stays": STAYS}))
        return
    click.echo(f"{person.github_id} erased; {ended.count} grants ended. What stays:")
    for name, text in STAYS.items():
        click.echo(f"  {name}: {text}")


async def _export(redis: Redis, settings: WebSettings, user: str) -> dict[str, Any]:
    now, key = int(time.time()), settings.record_key
    users = UserStore(redis, key, lifetime=settings.refresh_token_lifetime)
    github_id = await find_person(users, user)
    known, blocked = await users.get(github_id), await users.block_of(github_id)
    contact = await ContactStore(redis, key).get(github_id)
    sessions = await SessionStore(redis, key, idle=settings.session_idle_lifetime).of_user(github_id, now=now)
    tokens = await InitialAccessTokenStore(redis, key).all()
    return {
        "id": github_id,
        "profile": None
        if known is None
        else {**asdict(known.user), "last_sign_in": format_time(known.signed_in_at)},
        "block": None if blocked is None else {**asdict(blocked), "since": format_time(blocked.since)},
        "sessions": [
            {
                "since": format_time(one.signed_in_at),
                "until": format_time(one.expires_at),
                "groups": list(one.groups),
            }
            for one in sessions
        ],
        "grants": [grant_document(grant) for grant in await grant_store(redis, settings).of_user(github_id)],
        "remembered_consents": [
            {"client_id": one.client_id, "resources": list(one.resources), "since": format_time(one.given_at)}
            for one in await ConsentStore(redis, key).all(github_id, now=now)
        ],
        "registration_tokens": [
            {"id": one.token.token_id, "since": format_time(one.token.issued_at), "uses_left": one.left}
            for one in tokens
            if one.token.issued_to is not None and one.token.issued_to.github_id == github_id
        ],
        "mail": None
        if contact is None
        else {
            "address": contact.address,
            "kinds": [kind.value for kind in contact.kinds],
            "confirmed": format_time(contact.confirmed_at),
        },
        "waiting_mails": await mail_queue(redis, settings).count_of(github_id),
        "notices": [_notice(one) for one in await notice_store(redis, settings).all(github_id, now=now)],
    }


def _notice(found: RepeatedNotice) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(found.latest).items() if value is not None}
    for name in fields.keys() & {"at", "until"}:
        fields[name] = format_time(fields[name])
    return {**fields, "count": found.count, "first": format_time(found.first_at)}
