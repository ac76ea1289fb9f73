"""`portcullis audit monitor`: keep the checkpoints of other nodes."""

from __future__ import annotations

import asyncio
import signal
import ssl
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import click

from oauth_core.audit import EventKind, NotRecordedError
from oauth_core.audit_log.signed_notes import NoteError, VerifierKey
from oauth_core.errors import SettingsError
from oauth_core.process import file_lock, logs
from oauth_core.process.audit_output import AuditOutput, DurableRecorder, open_output
from oauth_core.settings import MonitorSettings, load
from portcullis.audit import monitor_metrics, monitor_server
from portcullis.audit.checkpoint_monitor import Conflict, Monitor, folder_beside, folder_of, lock_of
from portcullis.cli.audit_folder import CONFIG_OPTION, STATE_DIR, gateway_variables
from portcullis.cli.settings_file import settings_file
from portcullis.outgoing.secret_files import text_of

if TYPE_CHECKING:
    from pathlib import Path

WRITER = "monitor"
"""The writer of its events in the audit record."""
_AGAIN_SECONDS = 3600.0
"""Seconds in which a conflict of one node is logged and recorded once; each one is counted and kept."""


@click.command("monitor")
@CONFIG_OPTION
def command(config: Path | None) -> None:
    """Keep the newest checkpoints of other nodes until stopped, and find records that were rolled back.

    Takes only checkpoints that a key of audit.monitor_keys has signed, and whose tree begins with the tree of the
    one before. One that contradicts this is kept as evidence, logged, counted and recorded as an event. Exits with
    2 for wrong settings.
    """
    variables = gateway_variables()
    settings = load(MonitorSettings, settings_file(config, variables), variables)
    if not settings.audit_monitor_listen:
        raise SettingsError(["audit.monitor_listen is not set: there is no address to listen on"])
    logs.configure("portcullis", "info")
    folder = settings.audit_monitor_dir or folder_beside(settings.audit_dir or STATE_DIR.absolute() / "audit")
    keys = _keys(settings)
    tls = _tls(settings)
    with ExitStack() as stack:
        _hold(folder, stack)
        output = open_output(settings, WRITER)
        stack.callback(output.close)
        try:
            monitor = Monitor(folder, keys, _Conflicts(output).report)
        except (NoteError, OSError) as error:
            raise SettingsError([f"{folder}: a kept checkpoint cannot be used: {error}"]) from None
        if settings.audit_monitor_metrics_listen:
            stack.enter_context(monitor_metrics.serving(settings.audit_monitor_metrics_listen, monitor))
        asyncio.run(_serve(settings.audit_monitor_listen, monitor, tls))


class _Conflicts:
    """Logs and records conflicts, of each node one in an hour."""

    def __init__(self, output: AuditOutput) -> None:
        self._recorder = DurableRecorder(output)
        self._reported: dict[str, float] = {}

    def report(self, conflict: Conflict) -> None:
        now = time.monotonic()
        if now - self._reported.get(conflict.key, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return
        self._reported[conflict.key] = now
        _report(f"CONFLICT: {conflict}")
        with suppress(NotRecordedError, OSError, ValueError):  # the log has it, and the metrics count it
            self._recorder.record(EventKind.AUDIT_CHECKPOINT_CONFLICT, key=conflict.key, reason=str(conflict))


async def _serve(address: str, monitor: Monitor, tls: ssl.SSLContext | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with monitor_server.serving(address, monitor.take, _report, tls):
            await stopping.wait()
    except OSError as error:
        raise SettingsError([f"audit.monitor_listen: cannot listen there: {error.strerror or error}"]) from None


def _hold(folder: Path, stack: ExitStack) -> None:
    """Hold the folder until `stack` ends, and make it if there is none. Raises `SettingsError`."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        stack.enter_context(file_lock.held(lock_of(folder)))
    except file_lock.HeldError as error:
        raise SettingsError([f"another monitor (process {error.holder}) uses {folder}"]) from None
    except OSError as error:
        raise SettingsError([f"{error.filename or folder}: {error.strerror}"]) from None


def _keys(settings: MonitorSettings) -> list[VerifierKey]:
    """The keys of the other nodes. Raises `SettingsError`."""
    path = settings.audit_monitor_keys
    if path is None:
        raise SettingsError(["audit.monitor_keys is not set: no checkpoint would be taken"])
    found: dict[str, VerifierKey] = {}
    try:
        for line in map(str.strip, text_of("audit.monitor_keys", path).splitlines()):
            if line and not line.startswith("#"):
                key = VerifierKey.from_text(line)
                # The id of a key has 32 bits: a node could make a key that gets the folder of another node.
                if found.setdefault(folder_of(key), key) != key:
                    raise ValueError(f"two keys have the name and id {folder_of(key)}")
    except ValueError as error:
        raise SettingsError([f"audit.monitor_keys: {error}"]) from None
    return list(found.values())


def _tls(settings: MonitorSettings) -> ssl.SSLContext | None:
    """The context of connections. Raises `SettingsError`."""
    if settings.audit_monitor_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        # The password is a refusal: otherwise OpenSSL would ask for it at the terminal.
        context.load_cert_chain(settings.audit_monitor_cert, settings.audit_monitor_cert_key, password="")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "they cannot be used"
        raise SettingsError([f"audit.monitor_cert and audit.monitor_cert_key: {why}"]) from None
    return context


def _report(sentence: str) -> None:
    click.echo(f"portcullis audit monitor: {sentence}", err=True)
