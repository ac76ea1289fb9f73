"""The options of `portcullis alerts`: which settings, which audit folder and which outbox."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from oauth_core.errors import SettingsError
from oauth_core.process.audit_output import AuditOutput
from oauth_core.process.audit_segments import SegmentWriter, prepare, this_node
from oauth_core.settings import AlertSettings
from portcullis.alerts.outbox import FILE_NAME, Outbox, OutboxError, lock_of
from portcullis.cli.audit_folder import AUDIT_DIR_OPTION, CONFIG_OPTION, present_folder
from portcullis.cli.command_record import CommandRecorder, Intent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from oauth_core.audit import EventKind

WRITER = "alerts"
"""The writer of the commands about alerts in the audit record."""

F = TypeVar("F", bound="Callable[..., Any]")


@dataclass(frozen=True)
class AlertPlace:
    """The settings of alerts, the audit folder, and the file of the outbox."""

    settings: AlertSettings
    audit_dir: Path
    outbox: Path
    config: Path | None = None
    """The settings file that the command line names."""

    @property
    def node(self) -> str:
        """The name of this machine."""
        return self.settings.audit_node or this_node()

    @property
    def lock(self) -> Path:
        """The file that a running `portcullis alerts run` holds."""
        return lock_of(self.outbox)

    def destinations(self, names: Sequence[str] = ()) -> list[str]:
        """Return `names`, or the names of all destinations.

        Raises `SettingsError` if the settings have no destination, and `UsageError` for an unknown name.
        """
        known = [one.name for one in self.settings.alerts_destinations]
        if not known:
            raise SettingsError(["alerts.destinations is empty: there is no place to send alerts to"])
        if unknown := [name for name in names if name not in known]:
            raise click.UsageError(
                f"there is no destination {', '.join(unknown)}; the settings have {', '.join(known)}"
            )
        return list(names) or known

    @contextmanager
    def opened(self) -> Iterator[Outbox]:
        """Yield the outbox. Raises `ClickException` where it cannot be used."""
        try:
            with closing(Outbox(self.outbox)) as outbox:
                yield outbox
        except OutboxError as error:
            raise click.ClickException(f"the outbox cannot be used: {error}") from None

    @contextmanager
    def recorded(self, kind: EventKind, subject: str, reason: str | None, *, always: bool) -> Iterator[None]:
        """Record a change of the outbox: the intent before the block, and the event `kind` after it.

        Raises `ClickException` if it cannot be recorded; with `always` that is a warning.
        """
        # In containers the rest of the record can only be read, and these commands have a volume of their own.
        if not os.access(self.audit_dir / "segments" / WRITER, os.W_OK):
            prepare(self.audit_dir)
        recorder = CommandRecorder(AuditOutput(SegmentWriter(self.audit_dir, WRITER, node=self.node), None), None)
        try:
            intent = Intent(kind, subject, reason)
            recorder.announce(intent, always=always)
            yield
            recorder.record(kind, key=subject, reason=intent.text)
        finally:
            recorder.close()


def alert_options(command: F) -> F:
    """Add `--config` and `--audit-dir`. The command gets `place`, an `AlertPlace`."""

    @wraps(command)
    def with_place(*given: Any, read_place: Callable[[], AlertPlace], **options: Any) -> Any:
        return command(*given, place=read_place(), **options)

    return alert_options_read_later(cast("F", with_place))


def alert_options_read_later(command: F) -> F:
    """Add the same options. The command gets `read_place`, which reads the settings each time it is called."""

    @wraps(command)
    def with_place(*given: Any, config: Path | None, audit_dir: Path | None, **options: Any) -> Any:
        return command(*given, read_place=partial(_place, config, audit_dir), **options)

    return cast("F", AUDIT_DIR_OPTION(CONFIG_OPTION(with_place)))


def _place(config: Path | None, audit_dir: Path | None) -> AlertPlace:
    settings, folder = present_folder(AlertSettings, config, audit_dir)
    return AlertPlace(settings, folder, (settings.alerts_outbox or folder.parent / FILE_NAME).absolute(), config)
