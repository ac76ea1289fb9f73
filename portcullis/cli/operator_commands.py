"""The common parts of operators' commands on a gateway's state: options, Redis, times, the audit log."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from oauth_core.display_text import is_displayable
from oauth_core.errors import StoreUnavailableError
from oauth_core.flows.notices import Notice, NoticeKind
from oauth_core.store.connection import connect
from oauth_core.store.maintenance.schema import SchemaError, SchemaStore
from oauth_core.store.records.contacts import ContactStore
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.mail_queue import MailQueue
from oauth_core.store.records.notices import NoticeStore
from oauth_core.store.records.rate_limits import RateLimitStore
from oauth_core.store.records.revocation import IncompleteError
from oauth_core.store.replication import is_replicated
from oauth_core.store.writable import writable
from portcullis.cli.command_record import keep_settings, operator_audit, rule_of_command
from portcullis.cli.json_option import as_json as as_json  # noqa: PLC0414 - operators' commands take it from here
from portcullis.cli.operator_settings import operator_settings
from portcullis.cli.settings_file import beside_option
from portcullis.supervisor import operator_environment, reserve
from portcullis.supervisor.state import is_held

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from redis.asyncio import Redis

    from oauth_core.model import Grant
    from oauth_core.settings import BackupSettings, WebSettings
    from portcullis.cli.command_record import Intent

_NOT_REPLICATED = (
    "warning: the change is done, but no replica of Redis has confirmed it: if Redis fails over before one does, "
    "the change is lost. Check the replicas, then run the command again."
)

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")


class NothingToEndError(click.ClickException):
    """The grant, token or client that a command should end is not there."""


yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def _readable(_context: click.Context, _option: click.Parameter, reason: str | None) -> str | None:
    """`reason` as one line that can be stored and shown.

    It is changed and not refused, because the commands take rights away: in a terminal with another encoding, a
    letter with an accent is no text at all.
    """
    if reason is None:
        return None
    text = reason.encode(errors="replace").decode()
    return "".join(character if is_displayable(character) else " " for character in text).strip() or None


why = click.option(
    "--reason",
    metavar="TEXT",
    callback=_readable,
    help="The reason, for the audit log. People whose access ends can read it on their account page.",
)


state_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(".portcullis"),
    show_default=True,
    help="The state folder of `portcullis up`: the master key, and the address of its Redis.",
)


def which_gateway(command: F) -> F:
    """Add the options that name the gateway of a command."""
    return beside_option(state_option(command))


def operator_group(name: str) -> Callable[[Callable[[], None]], click.Group]:
    """A group of commands that work on a gateway's state; each gets the settings (`click.pass_obj`).

    The settings are read when a command runs, so that its help needs none. `--config` and `--state-dir` may be
    before the command or after it.
    """

    def decorate(described: Callable[[], None]) -> click.Group:
        @click.group(name, help=described.__doc__, cls=_OperatorGroup)
        @which_gateway
        def group(config: Path | None, state_dir: Path) -> None:
            """Keep the two options in the context."""

        return group

    return decorate


class _OperatorGroup(click.Group):
    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        _hand_settings(cmd)
        super().add_command(cmd, name)


def _hand_settings(command: click.Command) -> None:
    run = command.callback
    assert run is not None  # noqa: S101 - every command has a callback

    def with_settings(*given: Any, config: Path | None, state_dir: Path | None, **options: Any) -> Any:
        context = click.get_current_context()
        before = {} if context.parent is None else context.parent.params
        context.obj = given_settings(config or before.get("config"), state_dir or before["state_dir"])
        return run(*given, **options)

    path = click.Path(path_type=Path)
    command.params += [
        click.Option(["--config"], type=path, help="As before the command."),
        click.Option(["--state-dir"], type=path, help="As before the command."),
    ]
    command.callback = with_settings


def given_settings(config: Path | None, state_dir: Path) -> BackupSettings:
    """The settings of the gateway that `which_gateway` names.

    Raises `ClickException` if the gateway should be one of `portcullis up` and does not run, and `SettingsError`.
    """
    if "REDIS_URL" not in os.environ and not is_held(state_dir):
        left = operator_environment.read(state_dir)
        brings_its_own = os.environ.get("MASTER_KEY") or os.environ.get("MASTER_KEY_FILE")
        # With the operator's own Redis the commands work even if no gateway runs.
        if "REDIS_URL" in left or not (left or brings_its_own):
            raise click.ClickException(f"No gateway runs in {state_dir}; start it with `portcullis up`.")
    settings = operator_settings(config, state_dir, os.environ)
    keep_settings(settings)
    return settings


def grant_store(redis: Redis, settings: WebSettings) -> GrantStore:
    """The store of grants, with the settings of this gateway."""
    return GrantStore(
        redis,
        settings.record_key,
        client_lifetime=settings.client_lifetime,
        backup_days=settings.backup_days,
    )


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print rows below a header line, with aligned columns; or `empty` if there are none."""
    if not rows:
        click.echo(empty)
        return
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    for line in (header, *rows):
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def with_redis(
    settings: WebSettings,
    use: Callable[[Redis], Awaitable[T]],
    *,
    intent: Intent | None = None,
    any_version: bool = False,
    must_last: bool = False,
) -> T:
    """Run `use` with the gateway's Redis, and return its result.

    `intent` is what `use` changes, and is in the audit record before that. With `must_last`, `use` takes rights
    away: it also works where it cannot be recorded, and in a Redis that refuses writes, as far as the Redis user
    may change that. Then replicas are asked for a confirmation; without one, a warning goes to standard error.
    Raises `ClickException` if Redis does not answer, or, unless `any_version`, if its records are of a newer
    version than this program.
    """

    async def run() -> T:
        redis = connect(settings)
        try:
            if not any_version:
                await _check_version(redis, is_urgent=must_last)
            if not must_last:
                return await use(redis)
            async with writable(redis, settings, make_room=reserve.free_reserve, warn=_warn):
                result = await use(redis)
                if not await is_replicated(redis, settings):
                    _warn(_NOT_REPLICATED)
            return result
        finally:
            await redis.aclose()

    if intent is not None:
        operator_audit().announce(intent, always=must_last)
    try:
        return asyncio.run(run())
    except (StoreUnavailableError, SchemaError) as error:
        raise click.ClickException(str(error)) from None


@dataclass(frozen=True)
class Ended:
    """The grants that a command ended, and the missing part if it is incomplete."""

    grants: tuple[Grant, ...]
    count: int
    missing: str | None = None

    def and_also(self, other: Ended) -> Ended:
        """The sum of both."""
        return Ended((*self.grants, *other.grants), self.count + other.count, self.missing or other.missing)

    def check(self) -> None:
        """Raise `ClickException` if a part is missing. Call it after everything else is printed and recorded."""
        if self.missing is not None:
            raise click.ClickException(self.missing)


async def end_as_far_as_possible(revocation: Awaitable[tuple[Grant, ...]]) -> Ended:
    """The grants that `revocation` could end."""
    try:
        ended = await revocation
    except IncompleteError as error:
        return Ended(error.ended, error.count, str(error))
    return Ended(ended, len(ended))


async def give_notice_of_end(
    redis: Redis,
    settings: WebSettings,
    ended: Iterable[Grant],
    reason: str | None = None,
    kind: NoticeKind = NoticeKind.APP_ENDED_BY_OPERATOR,
) -> None:
    """Give the people of these grants a notice with `reason`.

    Call it once, as the last step: no right may wait for the notices of thousands of people.
    """
    notice = notice_of_operator(kind, reason)
    await notice_store(redis, settings).add_ended(ended, notice)


def notice_store(redis: Redis, settings: WebSettings) -> NoticeStore:
    """The store of people's notices."""
    mails = mail_queue(redis, settings)
    return NoticeStore(redis, settings.record_key, mails=mails, lost=_warn_of_lost_notice)


def mail_queue(redis: Redis, settings: WebSettings) -> MailQueue:
    """The mails to people that wait."""
    contacts = ContactStore(redis, settings.record_key)
    return MailQueue(redis, settings.record_key, contacts, RateLimitStore(redis), settings.rate_of)


def _warn_of_lost_notice(_notice: Notice, error: StoreUnavailableError) -> None:
    _warn(f"warning: the account page will not report this, because the notice could not be stored: {error}")


def notice_of_operator(kind: NoticeKind, reason: str | None) -> Notice:
    """A notice of this second. The reason is shown to the person."""
    return Notice(kind, int(time.time()), reason=reason)


async def _check_version(redis: Redis, *, is_urgent: bool) -> None:
    try:
        await SchemaStore(redis).version()
    except StoreUnavailableError:
        # The cluster node with the version may be away; urgent commands work at the others.
        if not is_urgent:
            raise


def _warn(text: str) -> None:
    click.echo(text, err=True)


def by_operator(reason: str | None) -> str:
    """The reason for the audit log."""
    actor = "by the operator" if rule_of_command() is None else "by detection"
    return f"{actor}: {reason}" if reason else actor


def format_time(seconds: int) -> str:
    """A second since the epoch, for people and programs."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
