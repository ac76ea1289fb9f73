"""The audit record of operators' commands: what a command is about to do, and how it ended.

A command writes its intent to the disk before it changes anything. If that fails, the command does nothing. A
command that takes rights away goes on with a warning.
"""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from oauth_core.audit import NotRecordedError, Outcome
from oauth_core.errors import SettingsError
from oauth_core.process import logs
from oauth_core.process.audit_output import AuditOutput, DurableRecorder, open_output

if TYPE_CHECKING:
    from oauth_core.audit import EventKind
    from oauth_core.settings import BackupSettings

WRITER = "command"
"""The writer of operators' commands in the audit record."""

AUTOMATIC = "detection:"
"""The beginning of the operator of automatic responses; the name of the rule follows."""

_SECONDS = 5.0
"""Seconds that a command waits for the disk; it starts its writer just before."""

_RECORDER, _SETTINGS, _RULE = "portcullis.recorder", "portcullis.settings", "portcullis.rule"
"""Keys in the context of a command."""


@dataclass(frozen=True)
class Intent:
    """A change that a command is about to make: its event, and the words of the operator about it."""

    kind: EventKind
    subject: str = ""
    """The person, client or other object, as the operator named it. Never a secret."""
    reason: str | None = None

    @property
    def text(self) -> str:
        """The reason in the record."""
        command = " ".join(filter(None, (click.get_current_context().command_path, self.subject)))
        return f"{command}: {self.reason}" if self.reason else command


class CommandRecorder(DurableRecorder):
    """Records the events of one command."""

    def __init__(self, output: AuditOutput, fault: str | None) -> None:
        """`fault` is why there is no record on the disk although the settings require one."""
        super().__init__(output, operator=account())
        self._fault = fault
        self._intents: dict[EventKind, Intent] = {}

    def announce(self, intent: Intent, *, always: bool) -> None:
        """Record `intent`, and return once it is on the disk.

        Raises `ClickException` if that fails; with `always` it prints a warning instead.
        """
        try:
            if self._fault is not None:
                raise NotRecordedError(self._fault)
            if self._output.segments is not None:
                self._intents[intent.kind] = intent
                self.record(intent.kind, differs=Outcome.INTENT, reason=intent.text)
                self._output.flush(_SECONDS)
        except NotRecordedError as error:
            if not always:
                raise click.ClickException(f"nothing was done, since it cannot be recorded: {error}") from None
            with suppress(OSError):  # a full disk, on which standard error may be too, must not keep rights alive
                click.echo(f"warning: this command may be missing in the audit record: {error}", err=True)

    def record(self, kind: EventKind, **what: Any) -> None:
        """Record an event, as `AuditRecorder.record` does. It is the end of an intent of the same kind."""
        if what.get("differs") is None:
            self._intents.pop(kind, None)
        super().record(kind, **what)

    def close(self) -> None:
        """Record that intents without an end led to nothing, and complete the record of this command."""
        try:
            for kind, intent in self._intents.items():
                super().record(kind, differs=Outcome.FAILURE, reason=f"nothing was done: {intent.text}")
        finally:
            self._output.close()


def keep_settings(settings: BackupSettings) -> None:
    """Use these settings for the record of the present command."""
    click.get_current_context().meta[_SETTINGS] = settings


def operator_audit() -> CommandRecorder:
    """The audit record of the present command, with the account that runs it.

    Its text goes to standard error, so that `--json` stays JSON. The record is complete when the command ends.
    """
    context = click.get_current_context()
    recorder = context.meta.get(_RECORDER)
    if isinstance(recorder, CommandRecorder):
        return recorder
    logs.configure("portcullis", "info", stream=sys.stderr)
    fault = None
    try:
        output = open_output(context.meta[_SETTINGS], WRITER, prints=True)
    except SettingsError as error:
        output, fault = AuditOutput(None, logs.LogAuditSink()), "; ".join(error.faults)
    made = CommandRecorder(output, fault)
    context.find_root().call_on_close(made.close)
    context.meta[_RECORDER] = made
    return made


def run_for_rule(context: click.Context, rule: str) -> None:
    """Let the command of this context, and those below it, be the automatic response of a detection rule."""
    context.meta[_RULE] = rule


def rule_of_command() -> str | None:
    """The detection rule whose automatic response the present command is, or `None` for an operator's command."""
    context = click.get_current_context(silent=True)
    rule = None if context is None else context.meta.get(_RULE)
    return rule if isinstance(rule, str) else None


def account() -> str:
    """The account that runs this command; behind `sudo` also the account that used it.

    For an automatic response it is `detection:` and the name of the rule, which no account can be called.
    """
    if (rule := rule_of_command()) is not None:
        return f"{AUTOMATIC}{rule}"
    # Not `getpass.getuser`, which uses variables of the environment.
    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may have no name for it
        account = f"uid {os.getuid()}"
    before = os.environ.get("SUDO_USER")
    return f"{account} (sudo by {before})" if before and before != account else account
