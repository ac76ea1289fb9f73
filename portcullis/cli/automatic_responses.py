"""Runs an operator's command as the automatic response of a detection rule, in this process."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import click

from oauth_core.errors import SettingsError
from oauth_core.model import Grant
from oauth_core.process.audit_segments import prepare
from oauth_core.store.records.users import UserStore
from portcullis.alerts.responding import Response, Result, State, exempt
from portcullis.audit.shown import printable
from portcullis.cli.audit_folder import STATE_DIR
from portcullis.cli.command_record import run_for_rule
from portcullis.cli.operator_commands import NothingToEndError, grant_store, with_redis
from portcullis.cli.operator_settings import operator_settings
from portcullis.detection.automatic import ACTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

    from oauth_core.settings import BackupSettings

_LONGEST_TEXT = 300


class ResponseCommands:
    """Carries responses out. `commands` is the whole command line."""

    def __init__(self, commands: click.Group, config: Path | None, never: frozenset[str]) -> None:
        """Raises `SettingsError` if the settings lack the rights of an operator, or a record of what is done."""
        self._commands = commands
        self._config = config
        self._never = never
        self._settings: BackupSettings = operator_settings(config, STATE_DIR, os.environ)
        # An operator's command that takes rights away goes on without a record, with a warning to the operator.
        if self._settings.audit_dir is None:
            raise SettingsError(["audit.dir: automatic responses must be recorded"])
        prepare(self._settings.audit_dir)

    def carry_out(self, response: Response) -> Result:
        """Run the command of a response, unless Redis shows that it concerns an exempt person or client."""
        try:
            if hindrance := self._hindrance(response):
                return Result(State.HELD, hindrance)
            self._run(response)
        except NothingToEndError as error:
            return Result(State.NOTHING, error.message)
        except click.ClickException as error:
            return _failed(error.message)
        except SettingsError as error:
            return _failed("; ".join(error.faults))
        except Exception as error:  # noqa: BLE001 - the other responses and the rules go on
            return _failed(type(error).__name__)
        return Result(State.DONE)

    def _hindrance(self, response: Response) -> str:
        """Why the response must not be. The events of a grant or token may not name the person; Redis does."""
        if not self._never:
            return ""
        if ACTIONS[response.action].field == "client_id":
            return exempt(self._never, [], [response.value])

        async def run(redis: Redis) -> Grant | str | None:
            grants = grant_store(redis, self._settings)
            match response.action:
                case "revoke_grant":
                    return await grants.get(response.value)
                case "revoke_token":
                    grant_id = await grants.grant_of_token(response.value)
                    return None if grant_id is None else await grants.get(grant_id)
                case _:
                    users = UserStore(
                        redis, self._settings.record_key, lifetime=self._settings.refresh_token_lifetime
                    )
                    known = await users.get(int(response.value))
                    return None if known is None else known.user.login

        found = with_redis(self._settings, run, any_version=True)
        if isinstance(found, Grant):
            people = [] if found.user is None else [found.user.login, f"id:{found.user.github_id}"]
            return exempt(self._never, people, [found.client_id])
        return exempt(self._never, [f"id:{response.value}", *([found] if found else [])], [])

    def _run(self, response: Response) -> None:
        action = ACTIONS[response.action]
        group, name = action.command
        config = [] if self._config is None else ["--config", str(self._config)]
        reason = f"automatic response to the detection rule {response.rule}"
        words = [group, *config, name, "--reason", reason, "--", f"{action.prefix}{response.value}"]
        # A context of its own: its end completes the record of the command.
        with redirect_stdout(io.StringIO()), self._commands.make_context("portcullis", words) as context:
            run_for_rule(context, response.rule)
            self._commands.invoke(context)


def _failed(text: str) -> Result:
    return Result(State.WAITING, printable(text)[:_LONGEST_TEXT])
