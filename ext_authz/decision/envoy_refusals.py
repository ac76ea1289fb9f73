"""Refusals by Envoy itself: too many requests, too large headers, broken HTTP, overload. No check sees these.

Envoy reports them to this program as log records (OTLP), some 80 in a message. Those of one kind, reason and
address in a message are one event and a count, so a flood costs a fraction of what the refusals cost Envoy itself.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from ext_authz.generated import envoy_refusals_pb2 as pb
from oauth_core.audit import EventKind, Origin

if TYPE_CHECKING:
    from oauth_core.audit import AuditRecorder

LOGS_SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"
"""The gRPC service of OTLP whose method `Export` gets the records."""

_TOO_MANY = "429"
_LONGEST = 256
_ANSWER = b""
"""An `ExportLogsServiceResponse` that accepts all records."""

_Key = tuple[EventKind, str, str | None]


class UnreadableReportError(Exception):
    """The message is no report."""


class EnvoyRefusals:
    """Records the refusals that Envoy reports."""

    def __init__(self, audit: AuditRecorder) -> None:
        self._audit = audit

    def report(self, message: bytes) -> bytes:
        """Record what an `ExportLogsServiceRequest` has, and return its answer.

        Raises `UnreadableReportError`.
        """
        try:
            report = pb.ExportLogsServiceRequest.FromString(message)
        except DecodeError:
            raise UnreadableReportError from None
        firsts: dict[_Key, dict[str, str]] = {}
        counts: dict[_Key, int] = {}
        for resource in report.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    values = {one.key: _text(one.value.string_value) for one in record.attributes}
                    key = _key_of(values)
                    firsts.setdefault(key, values)
                    counts[key] = counts.get(key, 0) + 1
        for key, values in firsts.items():
            # The requests are refused already. A log that cannot be written changes nothing about that.
            with suppress(OSError, ValueError):
                self._record(key, values, counts[key])
        return _ANSWER

    def _record(self, key: _Key, values: dict[str, str], count: int) -> None:
        kind, reason, source = key
        peer = _known(values, "peer")
        origin = Origin(
            source,
            None if peer == source else peer,
            _known(values, "user_agent"),
            _known(values, "request_id"),
        )
        self._audit.record(
            kind, reason=reason, method=_known(values, "method"), path=_known(values, "path"), origin=origin
        )
        if count > 1:
            self._audit.record(kind, reason=reason, origin=Origin(source), count=count - 1)


def _key_of(values: dict[str, str]) -> _Key:
    status, details = values.get("status", ""), values.get("details", "")
    kind = EventKind.RATE_LIMITED if status == _TOO_MANY else EventKind.REQUEST_REFUSED
    return kind, f"Envoy answered {status}: {details[:_LONGEST]}", _known(values, "source")


def _text(value: bytes) -> str:
    """Return a value as text. A caller chose some of them: no byte may hide the refusals of a message."""
    return value.decode(errors="replace")


def _known(values: dict[str, str], name: str) -> str | None:
    """Return a value, or `None` where Envoy has none and writes a hyphen."""
    value = values.get(name)
    return None if value == "-" else value or None
