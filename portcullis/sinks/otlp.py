"""Sends records as logs of OpenTelemetry: OTLP 1 over HTTP, as protobuf with gzip.

The body of a log record is the text of the record, byte for byte. Its place is in attributes, so a query at the
other end can find what is missing.
"""

from __future__ import annotations

import gzip
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from portcullis.outgoing import posting
from portcullis.outgoing.retry_after import seconds_of
from portcullis.sinks.meaning import Severity, meaning_of
from portcullis.sinks.records import RecordKind
from portcullis.sinks.sending import ATTEMPT_SECONDS, REFUSALS, NotTakenError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence

    from portcullis.sinks.records import Record

PREFIX = "portcullis."
"""The namespace of attributes that OpenTelemetry does not define."""
SEVERITIES = {
    Severity.ERROR: SeverityNumber.SEVERITY_NUMBER_ERROR,
    Severity.WARNING: SeverityNumber.SEVERITY_NUMBER_WARN,
    Severity.NOTICE: SeverityNumber.SEVERITY_NUMBER_INFO2,
    Severity.INFO: SeverityNumber.SEVERITY_NUMBER_INFO,
    Severity.DEBUG: SeverityNumber.SEVERITY_NUMBER_DEBUG,
}
SEMANTIC = {
    "user": "user.name",
    "user_id": "user.id",
    "source": "client.address",
    "peer": "network.peer.address",
    "user_agent": "user_agent.original",
    "method": "http.request.method",
    "path": "url.path",
}
"""Fields of events that have a name in OpenTelemetry's semantic conventions. Others are in `portcullis.`."""
_TEXTS = frozenset({"user.id"})
"""Attributes that are text by those conventions."""
_LATEST = 2**64 - 1
"""The latest time that fits into a log record, in nanoseconds since the epoch: in the year 2554."""
_MOST_ANSWER = 64 * 1024


class OtlpSender:
    """Sends to the URL of a collector, mostly `https://HOST:4318/v1/logs`. Redirects are not followed."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None = None,
        *,
        version: str = "",
        now: Callable[[], float] = time.time,
        seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._url = url
        own = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip", "Accept-Encoding": "identity"}
        self._headers = {**headers, **own}
        self._tls = tls
        self._version = version
        self._now = now
        self._seconds = seconds

    def send(self, records: Sequence[Record]) -> int:
        """Send records. Raises `NotTakenError`, whose message does not show the address."""
        body = gzip.compress(request_of(records, self._now(), self._version).SerializeToString(), 1)
        try:
            answer = posting.post(
                self._url, body, self._headers, seconds=self._seconds, tls=self._tls, most=_MOST_ANSWER
            )
        except posting.NoAnswerError as error:
            raise NotTakenError(str(error)) from None
        if not answer.is_success:
            # OTLP says that other statuses than 429, 502, 503 and 504 mean that the data is lost. We lose nothing:
            # an operator can repair a wrong address or a wrong token.
            raise NotTakenError(
                f"it answers {answer.status}",
                retry_after=seconds_of(answer.retry_after, self._now()),
                is_refused=answer.status in REFUSALS,
            )
        return _rejected(answer.body)

    def close(self) -> None:
        """Do nothing: there is no connection between two batches."""


def _rejected(body: bytes) -> int:
    """How many records were refused for good (OTLP, "Partial Success"): they must not be repeated."""
    try:
        return max(0, ExportLogsServiceResponse.FromString(body).partial_success.rejected_log_records)
    except DecodeError:
        return 0


def request_of(records: Sequence[Record], now: float, version: str = "") -> ExportLogsServiceRequest:
    """Return the request that sends these records; `now` is the time in seconds since the epoch."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.node, []).append(record)
    observed = int(now * 1e9)
    return ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=Resource(attributes=_attributes(_resource(node, version))),
                scope_logs=[
                    ScopeLogs(
                        scope=InstrumentationScope(name="portcullis.audit", version=version),
                        log_records=[_log_record(record, observed) for record in its],
                    )
                ],
            )
            for node, its in groups.items()
        ]
    )


def _resource(node: str, version: str) -> dict[str, Any]:
    found = {"service.namespace": "portcullis", "service.name": "portcullis"}
    found |= {"service.version": version} if version else {}
    return found | ({"host.name": node} if node else {})


def _log_record(record: Record, observed: int) -> LogRecord:
    meaning = meaning_of(record)
    found = LogRecord(
        observed_time_unix_nano=observed,
        severity_number=SEVERITIES[meaning.severity],
        severity_text=meaning.severity.name,
        body=AnyValue(string_value=record.text),
        attributes=_attributes(attributes_of(record, meaning.fields)),
        event_name=_text(f"{PREFIX}{meaning.name}"),
    )
    if meaning.time is not None:
        nanoseconds = int(meaning.time.timestamp()) * 10**9 + meaning.time.microsecond * 1000
        if nanoseconds <= _LATEST:  # a forged time may be later
            found.time_unix_nano = nanoseconds
    trace = meaning.fields.get("trace_id")
    if isinstance(trace, str) and len(trace) == 32:  # noqa: PLR2004 - 16 bytes in hexadecimal digits
        with suppress(ValueError):
            found.trace_id = bytes.fromhex(trace)
    return found


def attributes_of(record: Record, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes: the place of the record, and the fields of an event."""
    found: dict[str, Any] = {"log.record.uid": record.id, f"{PREFIX}record": record.kind.value}
    found[f"{PREFIX}tree"] = record.tree
    for name in ("node", "writer", "boot"):
        if value := getattr(record, name):
            found[PREFIX + name] = value
    if record.kind is RecordKind.EVENT:
        found[f"{PREFIX}sequence"] = record.sequence
        if record.entry is not None:
            found[f"{PREFIX}entry"] = record.entry
    if record.kind is RecordKind.CHECKPOINT:
        found[f"{PREFIX}size"] = record.index
    elif record.index is not None:
        found[f"{PREFIX}index"] = record.index
    if record.kind is RecordKind.FRAME:
        found |= {f"{PREFIX}part": record.part, f"{PREFIX}parts": record.parts}
    for name, value in fields.items():
        if name in {"v", "time", "event", "trace_id"} or not isinstance(value, str | int | float):
            continue
        known = SEMANTIC.get(name, f"{PREFIX}event.{name}")
        found[known] = str(value) if known in _TEXTS else value
    return found


def _attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=_text(key), value=_value(value)) for key, value in values.items()]


def _value(value: object) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=_text(str(value)))


def _text(text: str) -> str:
    """A text that protobuf takes: one of JSON can have half of a character, also in a name."""
    return text.encode("utf-8", "replace").decode()
