"""Structured logs, and the audit sink that writes there: one JSON object a line."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, Processor, WrappedLogger

    from oauth_core.audit import AuditEvent


def configure(program: str, level: str, *, stream: TextIO | None = None) -> None:
    """Send everything this process tells to `stream` as JSON, from `level` (`debug` … `error`) up.

    Without `stream` that is standard output. Libraries that use the standard `logging` come out in the same form.
    """
    stream = stream or sys.stdout
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
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
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


def _named(program: str, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # Not a context variable: those do not reach threads that this Python did not start.
    event["program"] = program
    return event


class LogAuditSink:
    """Keeps audit events in the log, marked `audit: true`. Fields that do not apply are left out.

    They are written whatever the level: asking for less noise must not end the record.
    """

    def __init__(self) -> None:
        self._log = structlog.wrap_logger(
            None, wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET)
        )

    def record(self, event: AuditEvent) -> None:
        """Write `event` with its name as the message."""
        values = {name: value for name, value in asdict(event).items() if value is not None and name != "kind"}
        self._log.info(str(event.kind), audit=True, **values)
