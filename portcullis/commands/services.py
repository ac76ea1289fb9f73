"""`portcullis services`: list, disable and enable services."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind
from oauth_core.display_text import is_displayable
from oauth_core.policy.decision import Isolated
from oauth_core.store.copies import NotEverywhereError
from oauth_core.store.records.disabled_services import DisabledServiceStore
from portcullis.cli.operator_commands import (
    as_json,
    by_operator,
    operator_audit,
    operator_group,
    show_table,
    shown_time,
    with_redis,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.settings import WebSettings

_LONGEST_REASON = 200


@operator_group("services")
def command() -> None:
    """Disable services (isolate), and enable them again (restore).

    All callers of an isolated service get 503 and the reason. Their tokens stay valid, for other services, and for
    this one when it is restored.
    """


@command.command("list")
@as_json
@click.pass_obj
def list_services(settings: WebSettings, *, as_json: bool) -> None:
    """Show every service, and whether it is isolated."""
    isolated = with_redis(settings, lambda redis: DisabledServiceStore(redis).read())
    known = {service.name: service.resource for service in settings.resolved_services}
    # A service that is not in the settings any more stays isolated until an operator restores it.
    rows = [
        {
            "name": name,
            "url": known.get(name),
            "isolated": name in isolated,
            "reason": isolated[name].reason if name in isolated else None,
            "since": shown_time(isolated[name].since) if name in isolated else None,
        }
        for name in dict.fromkeys([*known, *isolated])
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    show_table(
        ("SERVICE", "URL", "STATE"),
        [
            (
                str(row["name"]),
                str(row["url"] or "(not in the settings)"),
                f"isolated since {row['since']}  {row['reason']}" if row["isolated"] else "open",
            )
            for row in rows
        ],
        empty="There are no services.",
    )


@command.command()
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="The reason that callers get.")
@as_json
@click.pass_obj
def isolate(settings: WebSettings, name: str, reason: str, *, as_json: bool) -> None:
    """Disable the service NAME: callers get 503 until it is restored."""
    if name not in {service.name for service in settings.resolved_services}:
        raise click.ClickException("there is no such service in the settings")
    if len(reason) > _LONGEST_REASON or (reason and not is_displayable(reason)):
        raise click.UsageError(f"--reason must be at most {_LONGEST_REASON} printable characters")
    isolated = Isolated(reason, int(time.time()))
    missing: list[str] = []

    async def run(redis: Redis) -> None:
        try:
            await DisabledServiceStore(redis).isolate(name, isolated)
        except NotEverywhereError as error:
            missing.append(str(error))

    with_redis(settings, run, must_last=True)
    operator_audit().record(EventKind.SERVICE_ISOLATED, reason=by_operator(reason), service=name)
    if missing:
        raise click.ClickException(
            f"{name} is isolated, but {missing[0]}. Run the command again when they are back."
        )
    if as_json:
        click.echo(json.dumps({"name": name, "isolated": True, "reason": reason}))
    else:
        click.echo(f"{name} is isolated. To restore it: portcullis services restore {name}")


@command.command()
@click.argument("name")
@as_json
@click.pass_obj
def restore(settings: WebSettings, name: str, *, as_json: bool) -> None:
    """Enable the service NAME again."""
    try:
        was_out = with_redis(settings, lambda redis: DisabledServiceStore(redis).restore(name))
    except NotEverywhereError as error:
        raise click.ClickException(f"{name} may still be isolated: {error}. Run the command again.") from None
    if not was_out:
        raise click.ClickException("that service is not isolated")
    operator_audit().record(EventKind.SERVICE_RESTORED, reason=by_operator(None), service=name)
    if as_json:
        click.echo(json.dumps({"name": name, "isolated": False}))
    else:
        click.echo(f"{name} is restored.")
