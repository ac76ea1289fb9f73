"""The record of allowed requests: it has the form of every other event, is in order, and never lacks an event
silently.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_authz.decision.access_log import WRITE_EVERY, AccessLog
from ext_authz.decision.check import EventPerRequest
from ext_authz.decision.envoy_messages import IncomingRequest
from oauth_core.audit import (
    FIELDS,
    LONGEST_LOGGED,
    AuditEvent,
    AuditRecorder,
    EventKind,
    NotRecordedError,
    members,
    stored,
)
from oauth_core.process import logs
from oauth_core.refusals import DenyReason
from tests.service.ext_authz.authorizers import ALLOWED, SERVICE, Recorder
from tests.support.tokens import claims

if TYPE_CHECKING:
    from oauth_core.model import AccessClaims
    from oauth_core.process.audit_segments import SegmentWriter


def request(**changes: Any) -> IncomingRequest:
    return IncomingRequest(
        method="POST",
        host="localhost:8080",
        path="/time/mcp",
        query="",
        authorization=(),
        lookalikes=(),
        routed_as=None,
        source="203.0.113.7",
        request_id="request-1",
    )._replace(**changes)


class Others:
    """Writes the names of other events to the same stream."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def record(self, event: AuditEvent) -> None:
        self._stream.write(json.dumps({"event": event.kind}) + "\n")


class Full(io.StringIO):
    """A disk that is full until `is_full` is false."""

    is_full = True

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError("disk full")
        return super().write(text)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def written(stream: io.StringIO) -> None:
    """Return once there is text in `stream`."""
    deadline = time.monotonic() + 60
    while not stream.getvalue():
        assert time.monotonic() < deadline
        await asyncio.sleep(WRITE_EVERY / 5)


async def test_a_line_of_an_allowed_request_equals_the_usual_record_of_the_event() -> None:
    usual, made = io.StringIO(), io.StringIO()
    logs.configure("ext_authz", "info", stream=usual)
    try:
        logs.LogAuditSink().record(ALLOWED)
    finally:
        logs.configure("tests", "info")
    log = AccessLog(Others(made), made, program="ext_authz")
    log.allowed(claims(), SERVICE, request())
    log.close()
    (expected,), (line,) = lines(usual), lines(made)
    then, now = (datetime.fromisoformat(each.pop("timestamp")) for each in (expected, line))
    assert line == expected
    assert abs(then - now) < timedelta(minutes=1)
    assert now.tzinfo == UTC


async def test_a_line_of_a_refusal_equals_the_usual_record_of_the_event() -> None:
    everything: dict[str, Any] = {name: name for name in FIELDS} | {"user_id": 1, "mcp_claimed": True}
    events = [
        AuditEvent(kind=EventKind.ACCESS_DENIED),
        AuditEvent(kind=EventKind.ACCESS_DENIED, reason=DenyReason.REVOKED, client_id='"\n', user_id=7, path="/ü"),
        AuditEvent(EventKind.ACCESS_DENIED, **everything),
    ]
    usual, made = io.StringIO(), io.StringIO()
    logs.configure("ext_authz", "info", stream=usual)
    try:
        for event in events:
            logs.LogAuditSink().record(event)
    finally:
        logs.configure("tests", "info")
    log = AccessLog(Others(made), made, program="ext_authz")
    for event in events:
        log.record(event)
    expected, told = lines(usual), lines(made)
    for each in (*expected, *told):
        assert datetime.fromisoformat(each.pop("timestamp")).tzinfo == UTC
    assert told == expected


async def test_refusals_that_cannot_be_written_are_kept_and_requests_are_allowed_once_they_are_written() -> None:
    stream = Full()
    log = AccessLog(Others(stream), stream, program="x")
    with pytest.raises(OSError, match="disk full"):
        log.record(AuditEvent(kind=EventKind.ACCESS_DENIED))
    with pytest.raises(NotRecordedError, match="disk full"):
        log.allowed(claims(), SERVICE, request())
    stream.is_full = False
    await written(stream)
    log.allowed(claims(), SERVICE, request())
    log.close()
    assert [line["event"] for line in lines(stream)] == ["access.denied", "access.allowed"]


async def test_refusals_that_cannot_be_written_do_not_fill_memory() -> None:
    stream = Full()
    log = AccessLog(Others(stream), stream, program="x")
    for _ in range(10_100):
        with pytest.raises(OSError, match="disk full"):
            log.record(AuditEvent(kind=EventKind.ACCESS_DENIED))
    stream.is_full = False
    log.close()
    assert len(lines(stream)) == 10_000


async def test_lines_are_written_in_batches_after_a_moment_and_in_order() -> None:
    stream = io.StringIO()
    log = AccessLog(Others(stream), stream, program="x")
    for number in range(100):
        log.allowed(claims(), SERVICE, request(request_id=str(number)))
    assert stream.getvalue() == ""
    await written(stream)
    assert [line["request_id"] for line in lines(stream)] == [str(number) for number in range(100)]


async def test_a_refusal_is_written_at_once_and_after_earlier_events() -> None:
    stream = io.StringIO()
    log = AccessLog(Others(stream), stream, program="x")
    log.allowed(claims(), SERVICE, request())
    log.record(AuditEvent(kind=EventKind.ACCESS_DENIED))
    assert [line["event"] for line in lines(stream)] == ["access.allowed", "access.denied"]
    log.close()


async def test_many_lines_are_written_without_waiting() -> None:
    stream = io.StringIO()
    log = AccessLog(Others(stream), stream, program="x")
    for _ in range(25_000):
        log.allowed(claims(), SERVICE, request())
    assert len(lines(stream)) == 20_000
    log.close()
    assert len(lines(stream)) == 25_000


async def test_requests_are_refused_while_the_log_cannot_be_written_and_no_line_is_lost() -> None:
    stream = Full()
    log = AccessLog(Others(stream), stream, program="x")
    log.allowed(claims(), SERVICE, request(request_id="first"))
    with pytest.raises(OSError, match="disk full"):
        log.flush()
    with pytest.raises(NotRecordedError, match="disk full"):
        log.allowed(claims(), SERVICE, request(request_id="refused"))
    stream.is_full = False
    await written(stream)
    log.allowed(claims(), SERVICE, request(request_id="second"))
    log.close()
    assert [line["request_id"] for line in lines(stream)] == ["first", "second"]


@given(st.text(), st.text(max_size=600), st.none() | st.text(), st.none() | st.text())
def test_any_text_of_a_caller_makes_one_readable_line(
    method: str, path: str, source: str | None, request_id: str | None
) -> None:
    async def write() -> list[dict[str, Any]]:
        stream = io.StringIO()
        log = AccessLog(Others(stream), stream, program="x")
        sent = request(method=method, path=path, source=source, request_id=request_id)
        log.allowed(claims(github_user='"\n'), SERVICE, sent)
        log.close()
        return lines(stream)

    (line,) = asyncio.run(write())
    assert line["method"] == method[:LONGEST_LOGGED]
    assert line["path"] == path[:LONGEST_LOGGED]
    assert line.get("source") == ((source or "")[:LONGEST_LOGGED] or None)
    assert line["user"] == '"\n'


class Lines:
    """Segments that keep their lines."""

    is_available = True

    def __init__(self) -> None:
        self.lines: list[str] = []

    def append(self, line: str) -> None:
        self.lines.append(line)


_LONG = "ü" * (LONGEST_LOGGED + 1)
_TEXTS = st.sampled_from(["/time/mcp", "203.0.113.7", '"\n', _LONG[:-1], _LONG, _LONG + "x"])
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_HEADERS = {
    "user-agent": _TEXTS,
    "mcp-method": _TEXTS,
    "mcp-name": _TEXTS,
    "traceparent": _TEXTS | st.just(_TRACE),
}


@given(
    st.lists(
        st.builds(
            request,
            method=_TEXTS,
            path=_TEXTS,
            source=st.none() | _TEXTS,
            proxy=st.none() | _TEXTS,
            request_id=st.none() | _TEXTS,
            headers=st.fixed_dictionaries({}, optional=_HEADERS),
        ),
        max_size=6,
    ),
    st.sampled_from([claims(), claims(client_id=_LONG), claims(github_user=None, github_id=None)]),
)
def test_calls_of_one_token_from_several_callers_are_recorded_as_the_event_recorder_does(
    requests: list[IncomingRequest], of_token: AccessClaims
) -> None:
    segments, usual = Lines(), Recorder()
    log = AccessLog(usual, None, program="x", segments=cast("SegmentWriter", segments))
    audit = AuditRecorder(usual)
    audit.policy_version = "policy"
    log.use("policy")
    for each in requests:
        log.allowed(of_token, SERVICE, each)
        EventPerRequest(audit).allowed(of_token, SERVICE, each)
    expected = [stored(event.kind, event.outcome, "", members(event)) for event in usual.events]
    assert [re.sub('"time":"[^"]*"', '"time":""', line, count=1) for line in segments.lines] == expected


def test_callers_with_long_texts_do_not_fill_memory() -> None:
    log = AccessLog(Recorder(), None, program="x", segments=cast("SegmentWriter", Lines()))
    tracemalloc.start()
    try:
        for number in range(100):
            sent = request(path=f"/time/{number:0200000}")
            log.allowed(claims(jti=f"jti-{number}"), SERVICE, sent)
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()
