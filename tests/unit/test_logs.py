"""The log: one JSON object a line on standard output, including the audit record."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from oauth_core.audit import AuditEvent, EventKind
from oauth_core.process.logs import LogAuditSink, configure

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Restore the logging configuration, which is global to the process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines that were written since the last call."""
    captured = capsys.readouterr()
    assert captured.err == ""
    return [json.loads(line) for line in captured.out.splitlines()]


def test_a_message_is_one_json_object_with_program_time_and_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure("oauth_web", "info")
    structlog.get_logger("x").info("serving", listen="127.0.0.1:9000")
    (line,) = told(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "serving", "level": "info", "listen": "127.0.0.1:9000", "program": "oauth_web"}


def test_messages_of_libraries_with_standard_logging_have_the_same_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("oauth_web", "info")
    logging.getLogger("hypercorn.error").warning("told %s times", "three")
    (line,) = told(capsys)
    assert (line["event"], line["level"], line["program"]) == ("told three times", "warning", "oauth_web")


def test_messages_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure("oauth_web", "warning")
    structlog.get_logger("x").info("chatter")
    logging.getLogger("library").info("chatter")
    assert told(capsys) == []


def test_a_failure_is_logged_with_its_trace_on_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("oauth_web", "info")
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("x").exception("unexpected")
    (line,) = told(capsys)
    assert "ValueError: broken" in line["exception"]


def test_an_event_is_written_under_its_name_without_unset_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("oauth_web", "info")
    LogAuditSink().record(AuditEvent(EventKind.TOKEN_ISSUED, client_id="c", user_id=0, scope=""))
    (line,) = told(capsys)
    del line["timestamp"]
    assert line == {
        "event": "token.issued",
        "audit": True,
        "client_id": "c",
        "user_id": 0,
        "scope": "",
        "level": "info",
        "program": "oauth_web",
    }


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_record_is_kept_at_every_level(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure("oauth_web", level)
    LogAuditSink().record(AuditEvent(EventKind.ACCESS_DENIED, reason="expired"))
    assert [line["event"] for line in told(capsys)] == ["access.denied"]


def test_a_sink_made_before_the_configuration_writes_to_the_configured_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sink = LogAuditSink()
    configure("oauth_web", "error")
    sink.record(AuditEvent(EventKind.KEY_CREATED))
    assert [line["program"] for line in told(capsys)] == ["oauth_web"]


def test_no_text_of_a_caller_can_forge_a_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("oauth_web", "info")
    forged = 'x\n{"event": "access.allowed", "audit": true}\r\u2028\x1b[2J\ud800"'
    LogAuditSink().record(AuditEvent(EventKind.ACCESS_DENIED, reason=forged, path=forged, client_id=forged))
    (line,) = told(capsys)
    assert (line["event"], line["reason"], line["client_id"]) == ("access.denied", forged, forged)


def test_the_names_of_events_have_exactly_one_dot() -> None:
    assert all(kind.value.replace("_", "").replace(".", "", 1).isalpha() for kind in EventKind)
    assert len({kind.value for kind in EventKind}) == len(EventKind)
