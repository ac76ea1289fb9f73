"""`portcullis audit seal`: the sealer of an audit folder."""

from __future__ import annotations

import signal
import ssl
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from oauth_core.audit_log.checkpoints import parse_checkpoint
from oauth_core.audit_log.signed_notes import NoteError, split_note
from oauth_core.errors import SettingsError
from oauth_core.process import file_lock
from portcullis.audit.copies import CopyCounts, FileCopy, NewestCopy, WebhookCopy
from portcullis.audit.daily_pruning import DailyPruning, prune_command
from portcullis.audit.monitoring import Monitoring
from portcullis.audit.seal_key import SealKey
from portcullis.audit.sealed_folder import SealedFolder
from portcullis.audit.sealer import STEP_SECONDS, Sealer, SealerError
from portcullis.cli.audit_folder import AuditPlace, audit_place_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from portcullis.audit.timestamps import Stamping

_STOP_SECONDS = 3.0
_STAY_SECONDS = 60.0
_STAMP_WAIT = 600.0
"""The longest wait for an authority that does not answer: public ones limit how often they may be asked."""


@click.command("seal")
@audit_place_options
@click.option("--make-key", is_flag=True, help="Make the key if there is neither a key nor a sealed tree.")
@click.option(
    "--stay", is_flag=True, help="Do not end when the key or the tree cannot be used: try again each minute."
)
def command(place: AuditPlace, *, make_key: bool, stay: bool) -> None:
    """Seal the events of all programs until stopped.

    Every frame becomes an entry of a Merkle tree. Signs a checkpoint of the tree each second in which something
    was written, and each minute in which nothing was. Exits with 2 if the key or the tree cannot be used.
    """
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    while True:
        try:
            with ExitStack() as stack:
                sealer = _sealer(place, stack, make_key=make_key)
                _seal(sealer, stopping, _pruning(place, stack))
        except SettingsError as error:
            if not stay or stopping.is_set():
                raise
            _report(f"{'; '.join(error.faults)}; trying again")
            stopping.wait(_STAY_SECONDS)
            continue
        return


def _sealer(place: AuditPlace, stack: ExitStack, *, make_key: bool) -> Sealer:
    """The sealer of the folder, which this process holds until `stack` ends. Raises `SettingsError`."""
    folder, key = SealedFolder(place.audit_dir), SealKey(place.key)
    try:
        stack.enter_context(folder.held())
        if make_key and not (key.path.exists() or folder.has_tree):
            # Imported here: a sealer that has a key starts faster.
            from oauth_core.process.audit_segments import this_node  # noqa: PLC0415

            key.make(place.node or this_node())
    except file_lock.HeldError as error:
        raise SettingsError([f"another sealer (process {error.holder}) uses {folder.root}"]) from None
    except NoteError as error:
        raise SettingsError([f"audit.node: {error}"]) from None
    except OSError as error:
        raise SettingsError([f"{error.filename or folder.root}: {error.strerror}"]) from None
    publish, copies = _publisher(place, stack)
    sealer = Sealer(place.audit_dir, key, report=_report, publish=publish)
    if place.metrics_listen is not None:
        # Imported here: a sealer without metrics starts faster.
        from portcullis.audit import sealer_metrics  # noqa: PLC0415

        stack.enter_context(sealer_metrics.serving(place.metrics_listen, place.audit_dir, sealer.counts, copies))
    return sealer


def _pruning(place: AuditPlace, stack: ExitStack) -> DailyPruning | None:
    """The retention of the settings, which ends with `stack`; `None` without one."""
    limits = {"keep_days": place.keep_days, "keep_bytes": place.keep_bytes}
    command = prune_command(place.audit_dir, place.key, **limits)
    if command is None:
        return None
    pruning = DailyPruning(command, _report)
    stack.callback(pruning.stop)
    return pruning


def _seal(sealer: Sealer, stopping: threading.Event, pruning: DailyPruning | None) -> None:
    """Seal until stopped, and once more then, for the last events of others. Raises `SettingsError`."""
    failing = ""
    while True:
        is_last = stopping.is_set()
        more = False
        try:
            more = sealer.step()
            if failing:
                _report("sealing again")
            failing = ""
        except SealerError as error:
            raise SettingsError([str(error)]) from None
        except OSError as error:
            fault = f"{error.filename or 'the audit folder'}: {error.strerror or error}"
            if fault != failing:
                _report(f"{fault}; trying again")
            failing = fault
        except NoteError as error:
            if failing != (fault := f"the checkpoint cannot be used: {error}"):
                _report(f"{fault}; trying again")
            failing = fault
        if is_last and not more:
            return
        if pruning is not None and not (is_last or failing):
            pruning.step()
        if not more:
            stopping.wait(STEP_SECONDS)


def _publisher(place: AuditPlace, stack: ExitStack) -> tuple[Callable[[str], None], CopyCounts]:
    """The function that stores copies of checkpoints outside the audit folder, and the counts of them.

    Raises `SettingsError`.
    """
    file = FileCopy(place.checkpoint_file, _report) if place.checkpoint_file else None
    copies: list[NewestCopy] = []
    counts = CopyCounts()
    if place.timestamp_url:
        stamping = _stamping(place, place.timestamp_url)
        counts.stamps = stamping.counts
        name = "the time-stamping authority"
        copies.append(NewestCopy(name, stamping.send, _report, pause=stamping.pause, longest_wait=_STAMP_WAIT))
    if place.checkpoint_url:
        copies.append(WebhookCopy(place.checkpoint_url, _report))
    tls = _tls_to_monitors(place)
    for url in place.monitors:
        monitoring = Monitoring(url, tls, SealKey(place.key), SealedFolder(place.audit_dir))
        counts.monitors[monitoring.host] = monitoring.counts
        name = f"the monitor {monitoring.host}"
        copies.append(NewestCopy(name, monitoring.send, _report, pause=monitoring.pause))
    for copy in copies:
        stack.callback(copy.stop, _STOP_SECONDS)

    def publish(note: str) -> None:
        if file is not None:
            file.publish(note, parse_checkpoint(split_note(note)[0]).time)
        for copy in copies:
            copy.publish(note)

    return publish, counts


def _tls_to_monitors(place: AuditPlace) -> ssl.SSLContext | None:
    """Raises `SettingsError`."""
    if place.monitor_ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=place.monitor_ca_file)
    except OSError as error:
        fault = f"audit.monitor_ca_file: {place.monitor_ca_file}: {error.strerror or 'it has no certificate'}"
        raise SettingsError([fault]) from None


def _stamping(place: AuditPlace, url: str) -> Stamping:
    """Raises `SettingsError`."""
    # Imported here: most sealers ask no authority, and start faster without it.
    from oauth_core.settings.sealing import NO_AUTHORITIES  # noqa: PLC0415
    from portcullis.audit.timestamps import Authorities, Stamping, Timestamps  # noqa: PLC0415

    if place.timestamp_ca_file is None:
        raise SettingsError([f"audit.timestamp_url: {NO_AUTHORITIES}"])
    try:
        authorities = Authorities.read(place.timestamp_ca_file)
    except ValueError as error:
        raise SettingsError([f"audit.timestamp_ca_file: {error}"]) from None
    kept = Timestamps.of(SealedFolder(place.audit_dir).root)
    return Stamping(url, authorities, kept, 60.0 * place.timestamp_minutes, _report)


def _report(sentence: str) -> None:
    click.echo(f"portcullis audit seal: {sentence}", err=True)
