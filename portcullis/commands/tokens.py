"""`portcullis tokens`: list the active access tokens, and revoke one, or all."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from oauth_core.audit import EventKind
from oauth_core.crypto.credentials import is_identifier
from oauth_core.store import clock
from oauth_core.store.records.key_ring import KeyRingError, KeyRingStore
from oauth_core.store.records.refresh_rotation import RefreshState
from oauth_core.store.records.revocation import IncompleteError, Revocation
from oauth_core.store.records.users import UserStore
from oauth_core.tokens import access_tokens, refresh_tokens
from oauth_core.tokens.access_tokens import Rejected
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.identifiers import ANY_ID
from portcullis.cli.named_people import find_person, user_option
from portcullis.cli.operator_commands import (
    Ended,
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
    yes,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.model import Grant
    from oauth_core.settings import WebSettings

_LONGEST = 16_384


@operator_group("tokens")
def command() -> None:
    """List the active access tokens, and revoke one, or all.

    TOKEN is the `jti` that logs and lists show, or `-`: then the command reads the token itself from standard
    input, so that it is in no command line and no shell history. A refresh token means its whole grant.
    """


@dataclass(frozen=True)
class _Named:
    """The access token, or the grant of a refresh token, that an operator named."""

    grant: Grant | None
    jti: str | None


@command.command("list")
@user_option
@click.option("--client", "client_id", help="Only tokens of this client.")
@as_json
@click.pass_obj
def list_tokens(settings: WebSettings, user: str | None, client_id: str | None, *, as_json: bool) -> None:
    """Show the active access tokens, by grant. Reads every grant, one by one."""

    async def run(redis: Redis) -> list[dict[str, Any]]:
        grants = grant_store(redis, settings)
        if user is not None:
            users = UserStore(redis, settings.record_key, lifetime=settings.refresh_token_lifetime)
            ids = [grant.grant_id for grant in await grants.of_user(await find_person(users, user))]
        else:
            ids = list(dict.fromkeys([grant_id async for grant_id in grants.all_ids()]))
        found = [grant for grant_id in ids if (grant := await grants.get(grant_id)) is not None]
        return [
            _row(grant, jti, expires)
            for grant in found
            if client_id in {None, grant.client_id}
            for jti, expires in (await grants.tokens_of(grant.grant_id)).items()
        ]

    rows = with_redis(settings, run)
    if as_json:
        click.echo(json.dumps(rows))
        return
    show_table(
        ("TOKEN", "EXPIRES", "USER", "CLIENT"),
        [(row["jti"], row["expires"], row["user"] or "(machine)", row["client_id"]) for row in rows],
        empty="There are no access tokens.",
    )


@command.command(context_settings=ANY_ID)
@click.argument("token")
@as_json
@click.pass_obj
def show(settings: WebSettings, token: str, *, as_json: bool) -> None:
    """Show the person and the client of TOKEN, if it is active."""
    named = _named(settings, token)
    if named.grant is None:
        raise click.ClickException("there is no active token with that id")
    shown = _row(named.grant, named.jti, None)
    if as_json:
        click.echo(json.dumps(shown))
        return
    for name, value in shown.items():
        if value:
            click.echo(f"{name:<10} {' '.join(value) if isinstance(value, list) else value}")


@command.command(context_settings=ANY_ID)
@click.argument("token", required=False)
@click.option("--all", "all_tokens", is_flag=True, help="Revoke all tokens and grants: all people sign in again.")
@yes
@why
@as_json
@click.pass_obj
def revoke(
    settings: WebSettings, token: str | None, reason: str | None, *, all_tokens: bool, yes: bool, as_json: bool
) -> None:
    """Revoke TOKEN. With --all, revoke all tokens and grants of all people and clients."""
    if all_tokens == (token is not None):
        raise click.UsageError("name a token, or --all")
    if token is None:
        _revoke_everybody(settings, reason, yes=yes, as_json=as_json)
        return
    named = _named(settings, token)

    async def run(redis: Redis) -> bool:
        grants = grant_store(redis, settings)
        if named.jti is not None:
            return await grants.end_token(named.jti)
        if named.grant is None or not await grants.end(named.grant.grant_id):
            return False
        await give_notice_of_end(redis, settings, [named.grant], reason)
        return True

    kind = EventKind.GRANT_REVOKED if named.jti is None else EventKind.TOKEN_REVOKED
    subject = named.jti or (named.grant.grant_id if named.grant else "")
    if not with_redis(settings, run, intent=Intent(kind, subject, reason), must_last=True):
        raise NothingToEndError("there is no active token with that id")
    operator_audit().record(
        kind,
        reason=by_operator(reason),
        grant=named.grant,
        jti=named.jti,
    )
    what = "grant" if named.jti is None else "token"
    if as_json:
        click.echo(json.dumps({"revoked": what, "jti": named.jti}))
    else:
        click.echo(f"The {what} is revoked.")


def _revoke_everybody(settings: WebSettings, reason: str | None, *, yes: bool, as_json: bool) -> None:
    if not yes:
        click.confirm(
            "This signs all people out, and revokes the tokens of machine clients. Continue?", abort=True, err=True
        )

    async def run(redis: Redis) -> Ended:
        grants = grant_store(redis, settings)
        try:
            return Ended((), await Revocation(redis, grants).revoke_all())
        except IncompleteError as error:
            return Ended((), error.count, str(error))

    intent = Intent(EventKind.EVERYBODY_REVOKED, "--all", reason)
    ended = with_redis(settings, run, intent=intent, must_last=True)
    operator_audit().record(EventKind.EVERYBODY_REVOKED, reason=by_operator(reason))
    ended.check()
    count = ended.count
    click.echo(json.dumps({"revoked": "all", "grants_ended": count}) if as_json else f"{count} grants ended.")


def _named(settings: WebSettings, text: str) -> _Named:
    """The token or grant that the operator named. Raises `ClickException` if it is not of this gateway."""
    given = _from_standard_input() if text == "-" else text

    async def run(redis: Redis) -> _Named | None:
        grants = grant_store(redis, settings)
        refresh = refresh_tokens.parse(given) if text == "-" else None
        if refresh is not None:
            # A token that was used a short time ago identifies its grant too.
            is_ours = await grants.state_of(refresh) is not RefreshState.OTHER
            grant = await grants.get(refresh.grant_id) if is_ours else None
            return _Named(grant, None)
        jti = await _jti(redis, settings, given) if text == "-" else given
        # The id becomes part of a key, so it must have the form of our ids.
        if jti is None or not is_identifier(jti):
            return None
        grant_id = await grants.grant_of_token(jti)
        return _Named(None if grant_id is None else await grants.get(grant_id), jti)

    try:
        named = with_redis(settings, run)
    except KeyRingError as error:
        raise click.ClickException(str(error)) from None
    if named is None:
        raise click.ClickException(
            "that is no token of this gateway; to give the token itself, use - and standard input"
        )
    return named


def _from_standard_input() -> str:
    """The token from standard input. At a terminal, a prompt asks for it without showing it."""
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True, err=True)).strip()
    given = sys.stdin.read(_LONGEST).strip()
    if not given:
        raise click.ClickException("standard input is empty: send the token there, as in: … - < FILE")
    return given


async def _jti(redis: Redis, settings: WebSettings, token: str) -> str | None:
    """The id of a genuine token, or `None`: a forged one could have the id of another token."""
    ring = await KeyRingStore(redis, master_key=settings.master_key_bytes).read()
    now = int(await clock.seconds(redis))
    verdict = access_tokens.verify(token, ring.verifying, issuer=settings.issuer, now=now)
    return None if isinstance(verdict, Rejected) else verdict.claims.jti


def _row(grant: Grant, jti: str | None, expires: int | None) -> dict[str, Any]:
    return {
        "jti": jti,
        "user": grant.user.login if grant.user else None,
        "user_id": grant.user.github_id if grant.user else None,
        "client_id": grant.client_id,
        "scope": " ".join(grant.scopes),
        "resources": list(grant.resources),
        "grant_id": grant.grant_id,
        "expires": format_time(expires) if expires is not None else None,
    }
