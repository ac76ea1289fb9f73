"""Structured logs, and the audit sink that writes to them: one JSON object a line."""

from __future__ import annotations

import atexit
import logging
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

import structlog

from oauth_core.audit import FIELDS
from oauth_core.errors import SettingsError
from oauth_core.process.log_stream import LogStream, standard_output

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    from structlog.typing import EventDict, Processor, WrappedLogger

    from oauth_core.audit import AuditEvent


class Stream(Protocol):
    """The destination of log lines."""

    def write(self, text: str, /) -> int:
        """Write `text`. Raises `OSError`, or `ValueError` when it is closed."""

    def flush(self) -> None:
        """Write all buffered data. Raises the same errors as `write`."""


def configure(program: str, level: str, *, stream: TextIO | None = None, file: Path | None = None) -> None:
    """Write all log events of this process as JSON, from `level` (`debug` … `error`) up.

    They go to `stream`, or else to `file`, or else to standard output. The latter two never block
    (`oauth_core.process.log_stream`). Events that cannot be written are dropped, except for the audit record
    (`LogAuditSink`). Events of libraries that use the standard `logging` have the same form. Raises
    `SettingsError` when `file` cannot be opened.
    """
    global _audit_stream  # noqa: PLW0603 - as global as structlog's own configuration
    _audit_stream = stream or _own_stream(file)
    stream_of_others = _Dropping(_audit_stream)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        partial(_named, program),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", stream_of_others)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream_of_others)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def audit_stream() -> Stream:
    """Return the stream of the audit record: standard output unless `configure` sets another."""
    return _audit_stream or sys.stdout


_audit_stream: Stream | None = None


def _own_stream(file: Path | None) -> Stream:
    descriptor = standard_output()
    if file is None and descriptor is None:
        return sys.stdout
    try:
        stream = LogStream(file) if descriptor is None else LogStream(file, descriptor=descriptor)
    except OSError as error:
        raise SettingsError([f"log.file: {file}: {error.strerror}"]) from None
    atexit.register(stream.close)
    return stream


class _Dropping:
    """Writes to another stream, and drops data that it refuses: a full log ends no program."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


class _AuditLogger:
    """Receives finished lines of the audit record from structlog."""

    def info(self, line: str) -> None:
        stream = audit_stream()
        stream.write(f"{line}\n")
        stream.flush()


def _named(program: str, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # Not a context variable: those do not reach threads that this Python did not start.
    event["program"] = program
    return event


class LogAuditSink:
    """Writes audit events to the log, marked `audit: true`. Fields that do not apply are left out.

    They are written at every log level: less noise must not end the record. `record` raises `OSError` when the
    line cannot be written, so that no action happens without a record.
    """

    def __init__(self) -> None:
        self._log = structlog.wrap_logger(
            _AuditLogger(), wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET)
        )

    def record(self, event: AuditEvent) -> None:
        """Write `event` with its name as the message."""
        values = {name: value for name in FIELDS if (value := getattr(event, name)) is not None}
        self._log.info(str(event.kind), audit=True, **values)
