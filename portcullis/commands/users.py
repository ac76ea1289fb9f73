"""`portcullis users`: list people, revoke their grants and tokens, and block them."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from oauth_core.audit import EventKind
from oauth_core.errors import StoreUnavailableError
from oauth_core.flows.notices import NoticeKind
from oauth_core.model import Block, User
from oauth_core.policy.eligibility import check_user
from oauth_core.store.records.revocation import Revocation
from oauth_core.store.records.users import UserStore
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.named_people import find_person
from portcullis.cli.operator_commands import (
    Ended,
    as_json,
    by_operator,
    end_as_far_as_possible,
    format_time,
    give_notice_of_end,
    grant_store,
    notice_of_operator,
    notice_store,
    operator_group,
    show_table,
    why,
    with_redis,
)
from portcullis.commands import users_data
from portcullis.commands.grants import grant_document

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.model import KnownUser
    from oauth_core.settings import WebSettings
    from oauth_core.store.records.grants import GrantStore


@operator_group("users")
def command() -> None:
    """List people, revoke all they hold, and block them.

    USER is a login or a GitHub id. A login must be that of a person who signed in here. If a login is a number,
    write `id:583231` or `login:583231`.
    """


@command.command("list")
@as_json
@click.pass_obj
def list_users(settings: WebSettings, *, as_json: bool) -> None:
    """Show all people who signed in here or are blocked."""

    async def run(redis: Redis) -> list[dict[str, Any]]:
        users, grants = _stores(redis, settings)
        known = await users.all()
        seen = {one.user.github_id for one in known}
        unseen = [block.github_id for block in await users.blocks() if block.github_id not in seen]
        return [
            await _row(users, grants, github_id) for github_id in [*(k.user.github_id for k in known), *unseen]
        ]

    rows = with_redis(settings, run)
    if as_json:
        click.echo(json.dumps(rows))
        return
    show_table(
        ("ID", "LOGIN", "BLOCKED", "GRANTS", "LAST SIGN-IN"),
        [
            (
                str(row["id"]),
                row["login"] or "?",
                "blocked" if row["blocked"] else "-",
                str(row["grants"]),
                row["last_sign_in"] or "-",
            )
            for row in rows
        ],
        empty="No person has signed in, and no person is blocked.",
    )


@command.command()
@click.argument("user")
@as_json
@click.pass_obj
def show(settings: WebSettings, user: str, *, as_json: bool) -> None:
    """Show USER and their grants."""

    async def run(redis: Redis) -> dict[str, Any]:
        users, grants = _stores(redis, settings)
        github_id = await find_person(users, user)
        row = await _row(users, grants, github_id)
        return {**row, "grants": [grant_document(grant) for grant in await grants.of_user(github_id)]}

    shown = with_redis(settings, run)
    if as_json:
        click.echo(json.dumps(shown))
        return
    for name in ("id", "login", "last_sign_in", "blocked", "blocked_reason"):
        click.echo(f"{name:<15} {shown[name] if shown[name] is not None else '-'}")
    for grant in shown["grants"]:
        click.echo(
            f"grant           {grant['grant_id']}  {grant['since']}  {grant['client_id']}  {grant['scope']}"
        )


@command.command()
@click.argument("user")
@why
@as_json
@click.pass_obj
def block(settings: WebSettings, user: str, reason: str | None, *, as_json: bool) -> None:
    """Block USER: revoke everything, and prevent sign-in until `unblock`."""
    now = int(time.time())

    async def run(redis: Redis) -> tuple[User, Ended]:
        users, grants = _stores(redis, settings)
        person = await _as_user(users, await find_person(users, user))
        block = Block(person.github_id, now, person.login or None, reason)
        ended = await end_as_far_as_possible(Revocation(redis, grants).block(block))
        await give_notice_of_end(redis, settings, ended.grants, reason)
        await notice_store(redis, settings).add(person.github_id, notice_of_operator(NoticeKind.BLOCKED, reason))
        return person, ended

    intent = Intent(EventKind.USER_BLOCKED, user, reason)
    person, ended = with_redis(settings, run, intent=intent, must_last=True)
    _conclude(EventKind.USER_BLOCKED, person, ended, reason, as_json=as_json)


@command.command()
@click.argument("user")
@why
@as_json
@click.pass_obj
def unblock(settings: WebSettings, user: str, reason: str | None, *, as_json: bool) -> None:
    """Unblock USER: they may sign in again, if they are eligible."""

    async def run(redis: Redis) -> tuple[User, bool]:
        users, _ = _stores(redis, settings)
        person = await _as_user(users, await find_person(users, user))
        was_blocked = await users.unblock(person.github_id)
        if was_blocked:
            notice = notice_of_operator(NoticeKind.UNBLOCKED, reason)
            await notice_store(redis, settings).add(person.github_id, notice)
        return person, was_blocked

    person, was_blocked = with_redis(settings, run, intent=Intent(EventKind.USER_UNBLOCKED, user, reason))
    if not was_blocked:
        raise click.ClickException("that user is not blocked")
    _conclude(EventKind.USER_UNBLOCKED, person, Ended((), 0), reason, as_json=as_json)


@command.command()
@click.argument("user")
@why
@as_json
@click.pass_obj
def revoke(settings: WebSettings, user: str, reason: str | None, *, as_json: bool) -> None:
    """Revoke everything of USER. They may sign in again."""

    async def run(redis: Redis) -> tuple[User, Ended]:
        users, grants = _stores(redis, settings)
        person = await _as_user(users, await find_person(users, user))
        ended = await end_as_far_as_possible(Revocation(redis, grants).revoke_user(person.github_id))
        await give_notice_of_end(redis, settings, ended.grants, reason)
        await notice_store(redis, settings).add(person.github_id, notice_of_operator(NoticeKind.REVOKED, reason))
        return person, ended

    intent = Intent(EventKind.USER_REVOKED, user, reason)
    person, ended = with_redis(settings, run, intent=intent, must_last=True)
    _conclude(EventKind.USER_REVOKED, person, ended, reason, as_json=as_json)


@command.command("notify-new-country")
@click.argument("user")
@why
@as_json
@click.pass_obj
def notify_new_country(settings: WebSettings, user: str, reason: str | None, *, as_json: bool) -> None:
    """Give USER the notice that they signed in from a new country, and a mail if they want one.

    The detection rule `new_country` finds such sign-ins; its automatic response `notify_new_country` runs this
    command. The reason is in the audit record only.
    """

    async def run(redis: Redis) -> User:
        users, _ = _stores(redis, settings)
        person = await _as_user(users, await find_person(users, user))
        notice = notice_of_operator(NoticeKind.NEW_COUNTRY, None)
        if not await notice_store(redis, settings).add(person.github_id, notice):
            raise click.ClickException("the notice could not be stored")
        return person

    person = with_redis(settings, run, intent=Intent(EventKind.USER_NOTIFIED, user, reason))
    _conclude(EventKind.USER_NOTIFIED, person, Ended((), 0), reason, as_json=as_json)


@command.command()
@click.argument("account", metavar="LOGIN#ID")
@why
@as_json
@click.pass_obj
def accept(settings: WebSettings, account: str, reason: str | None, *, as_json: bool) -> None:
    """Set the GitHub account ID that a listed LOGIN means.

    A login on a list or in a role means the first account that the gateway saw under it. If another account has
    the login now, it is refused until you accept it with this command. All grants of the former account end.
    """
    login, mark, number = account.partition("#")
    try:
        check_user(account)
    except ValueError as error:
        raise click.UsageError(f"{account!r}: {error}") from None
    if not mark:
        raise click.UsageError("write LOGIN#ID, with the number of the account at GitHub")
    github_id = int(number)

    async def run(redis: Redis) -> tuple[User, Ended]:
        users, grants = _stores(redis, settings)
        person, ended = User(github_id, login), Ended((), 0)
        before = await users.account_of(login.lower(), first_seen=None)
        if before not in {None, github_id}:
            ended = await end_as_far_as_possible(Revocation(redis, grants).revoke_user(before or 0))
            await give_notice_of_end(redis, settings, ended.grants, reason)
            if ended.missing is not None:
                return person, ended
        await users.accept_account(login.lower(), github_id)
        return person, ended

    intent = Intent(EventKind.LOGIN_ACCEPTED, account, reason)
    person, ended = with_redis(settings, run, intent=intent, must_last=True)
    _conclude(EventKind.LOGIN_ACCEPTED, person, ended, reason, as_json=as_json)


command.add_command(users_data.export)
command.add_command(users_data.erase)


def _stores(redis: Redis, settings: WebSettings) -> tuple[UserStore, GrantStore]:
    return UserStore(redis, settings.record_key, lifetime=settings.refresh_token_lifetime), grant_store(
        redis, settings
    )


async def _as_user(users: UserStore, github_id: int) -> User:
    """The person with this id, as far as Redis has a record; the login may be empty.

    It is only for the audit log and the output, so a failed read does not stop the command.
    """
    known = blocked = None
    with suppress(StoreUnavailableError):
        known = await users.get(github_id)
    with suppress(StoreUnavailableError):
        blocked = await users.block_of(github_id)
    if known is not None:
        return known.user
    return User(github_id, (blocked.login if blocked else None) or "")


async def _row(users: UserStore, grants: GrantStore, github_id: int) -> dict[str, Any]:
    known: KnownUser | None = await users.get(github_id)
    blocked = await users.block_of(github_id)
    return {
        "id": github_id,
        "login": known.user.login if known else (blocked.login if blocked else None),
        "last_sign_in": format_time(known.signed_in_at) if known else None,
        "blocked": blocked is not None,
        "blocked_since": format_time(blocked.since) if blocked else None,
        "blocked_reason": blocked.reason if blocked else None,
        "grants": len(await grants.of_user(github_id)),
    }


def _conclude(kind: EventKind, person: User, ended: Ended, reason: str | None, *, as_json: bool) -> None:
    """Record and print what was done. Raises `ClickException` if a part could not be done."""
    operator_audit().record(kind, reason=by_operator(reason), user=person)
    for grant in ended.grants:
        operator_audit().record(EventKind.GRANT_REVOKED, reason=by_operator(reason), grant=grant)
    ended.check()
    if as_json:
        click.echo(
            json.dumps({"id": person.github_id, "login": person.login or None, "grants_ended": ended.count})
        )
    else:
        done = kind.value.partition(".")[2]
        click.echo(f"{person.login or '(login unknown)'} ({person.github_id}) {done}; {ended.count} grants ended.")
