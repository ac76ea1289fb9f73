"""`portcullis services`: list, disable and enable services."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from oauth_core.audit import EventKind
from oauth_core.display_text import is_displayable
from oauth_core.policy.decision import Disabled
from oauth_core.store.copies import NotEverywhereError
from oauth_core.store.records.disabled_services import DisabledServiceStore
from portcullis.cli.command_record import Intent, operator_audit
from portcullis.cli.operator_commands import (
    as_json,
    by_operator,
    format_time,
    operator_group,
    show_table,
    with_redis,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.settings import WebSettings

_LONGEST_REASON = 200


@operator_group("services")
def command() -> None:
    """Disable services, and enable them again.

    All callers of a disabled service get 503 and the reason. Their tokens stay valid, for other services, and for
    this one when it is enabled.
    """


@command.command("list")
@as_json
@click.pass_obj
def list_services(settings: WebSettings, *, as_json: bool) -> None:
    """Show every service, and whether it is disabled."""
    disabled = with_redis(settings, lambda redis: DisabledServiceStore(redis).read())
    known = {service.name: service.resource for service in settings.resolved_services}
    # A service that is not in the settings any more stays disabled until an operator enables it.
    rows = [
        {
            "name": name,
            "url": known.get(name),
            **_state(disabled=name in disabled),
            "reason": disabled[name].reason if name in disabled else None,
            "since": format_time(disabled[name].since) if name in disabled else None,
        }
        for name in dict.fromkeys([*known, *disabled])
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
                f"disabled since {row['since']}  {row['reason']}" if row["disabled"] else "enabled",
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
def disable(settings: WebSettings, name: str, reason: str, *, as_json: bool) -> None:
    """Disable the service NAME: callers get 503 until it is enabled."""
    if name not in {service.name for service in settings.resolved_services}:
        raise click.ClickException("there is no such service in the settings")
    if len(reason) > _LONGEST_REASON or (reason and not is_displayable(reason)):
        raise click.UsageError(f"--reason must be at most {_LONGEST_REASON} printable characters")
    disabled_record = Disabled(reason, int(time.time()))
    missing: list[str] = []

    async def run(redis: Redis) -> None:
        try:
            await DisabledServiceStore(redis).disable(name, disabled_record)
        except NotEverywhereError as error:
            missing.append(str(error))

    with_redis(settings, run, intent=Intent(EventKind.SERVICE_DISABLED, name, reason), must_last=True)
    operator_audit().record(EventKind.SERVICE_DISABLED, reason=by_operator(reason), service=name)
    if missing:
        raise click.ClickException(
            f"{name} is disabled, but {missing[0]}. Run the command again when they are back."
        )
    if as_json:
        click.echo(json.dumps({"name": name, **_state(disabled=True), "reason": reason}))
    else:
        click.echo(f"{name} is disabled. To enable it: portcullis services enable {name}")


@command.command()
@click.argument("name")
@as_json
@click.pass_obj
def enable(settings: WebSettings, name: str, *, as_json: bool) -> None:
    """Enable the service NAME again."""
    try:
        was_disabled = with_redis(
            settings,
            lambda redis: DisabledServiceStore(redis).enable(name),
            intent=Intent(EventKind.SERVICE_ENABLED, name),
        )
    except NotEverywhereError as error:
        raise click.ClickException(f"{name} may still be disabled: {error}. Run the command again.") from None
    if not was_disabled:
        raise click.ClickException("that service is not disabled")
    operator_audit().record(EventKind.SERVICE_ENABLED, reason=by_operator(None), service=name)
    if as_json:
        click.echo(json.dumps({"name": name, **_state(disabled=False)}))
    else:
        click.echo(f"{name} is enabled.")


def _state(*, disabled: bool) -> dict[str, bool]:
    """The state of a service in JSON. `disabled_record` is the former name, kept until the next version."""
    return {"disabled": disabled, "isolated": disabled}


def _keep_former_name(former: str, current: click.Command) -> None:
    """Have `current` run by its `former` name too, hidden in help and with a notice, until the next version."""
    callback = current.callback
    assert callback is not None  # noqa: S101 - every command has a callback

    def run(*given: Any, **options: Any) -> Any:
        click.echo(
            f"notice: `services {former}` is now `services {current.name}`; the next version drops the old name",
            err=True,
        )
        return callback(*given, **options)

    alias = click.Command(former, params=current.params, callback=run, help=current.help, hidden=True)
    # Not by the group's own method, which would give the command the options of every command a second time.
    click.Group.add_command(command, alias)


_keep_former_name("isolate", disable)
_keep_former_name("restore", enable)
