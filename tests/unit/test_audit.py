"""Audit events: one constructor fills in the common fields."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oauth_core
from oauth_core.audit import (
    FIELDS,
    LONGEST_LOGGED,
    LONGEST_REASON,
    AuditEvent,
    AuditRecorder,
    EventKind,
    Origin,
    Outcome,
    members,
    stored,
    trace_id_of,
)
from oauth_core.model import Grant, User
from tests.unit.forged_tokens import CLAIMS

USER = User(github_id=583231, login="octocat")
GRANT = Grant("grant-1", "client-1", ("mcp.time",), ("https://time.example/mcp",), 1, 2, user=USER)


class Kept:
    """Keeps the recorded events."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_a_grant_fills_in_its_id_its_client_and_its_person(kept: Kept) -> None:
    AuditRecorder(kept).record(EventKind.GRANT_REVOKED, reason="why", grant=GRANT)
    assert kept.events == [
        AuditEvent(
            EventKind.GRANT_REVOKED,
            reason="why",
            client_id="client-1",
            user="octocat",
            user_id=583231,
            provider="github",
            grant_id="grant-1",
        )
    ]


def test_claims_fill_in_token_client_and_person(kept: Kept) -> None:
    AuditRecorder(kept).record(EventKind.ACCESS_DENIED, claims=CLAIMS)
    (event,) = kept.events
    assert (event.jti, event.client_id) == (CLAIMS.jti, CLAIMS.client_id)
    assert (event.user, event.user_id) == (CLAIMS.github_user, CLAIMS.github_id)


def test_explicit_values_override_those_of_the_grant(kept: Kept) -> None:
    other = User(github_id=7, login="")
    AuditRecorder(kept).record(EventKind.GRANT_REVOKED, grant=GRANT, client_id="sibling", user=other)
    (event,) = kept.events
    assert (event.client_id, event.grant_id, event.user, event.user_id) == ("sibling", "grant-1", None, 7)


def test_the_source_is_that_of_the_request_unless_it_is_given(kept: Kept) -> None:
    recorder = AuditRecorder(kept, origin=lambda: Origin("203.0.113.7"))
    recorder.record(EventKind.CLIENT_REGISTERED)
    recorder.record(EventKind.CLIENT_REGISTERED, origin=Origin("198.51.100.1"))
    AuditRecorder(kept).record(EventKind.KEY_CREATED)
    assert [event.source for event in kept.events] == ["203.0.113.7", "198.51.100.1", None]


_OF_CALLERS = ("client_id", "grant_id", "jti", "key", "method", "path", "call", "mcp_method", "mcp_name")


@pytest.mark.parametrize("field", _OF_CALLERS)
def test_text_of_a_caller_is_truncated(kept: Kept, field: str) -> None:
    AuditRecorder(kept).record(EventKind.ACCESS_DENIED, **{field: "x" * 5000})  # type: ignore[arg-type]
    (event,) = kept.events
    assert getattr(event, field) == "x" * LONGEST_LOGGED


def test_texts_of_the_request_and_reasons_are_truncated(kept: Kept) -> None:
    long = "x" * 5000
    AuditRecorder(kept).record(
        EventKind.ACCESS_DENIED, reason=long, scope=long, origin=Origin(long, long, long, long)
    )
    (event,) = kept.events
    assert {event.source, event.peer, event.user_agent, event.request_id} == {"x" * LONGEST_LOGGED}
    assert {event.reason, event.scope} == {"x" * LONGEST_REASON}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        'x"-0af7651916cd43dd8448eb211c80319c"b7ad6b7169203331-01',
    ],
)
def test_only_a_valid_trace_context_gives_a_trace_id(header: str) -> None:
    assert trace_id_of(header) is None


def test_the_trace_id_is_the_second_part_of_the_header() -> None:
    header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert trace_id_of(header) == "0af7651916cd43dd8448eb211c80319c"


@given(
    st.builds(
        AuditEvent,
        st.sampled_from(EventKind),
        reason=st.none() | st.text(),
        user_id=st.none() | st.integers(min_value=0),
        mcp_claimed=st.none() | st.booleans(),
        mcp_name=st.none() | st.text(),
        differs=st.sampled_from([None, Outcome.INTENT, Outcome.FAILURE]),
    )
)
def test_a_stored_event_is_one_line_of_ascii_with_the_fields_that_apply(event: AuditEvent) -> None:
    line = stored(event.kind, event.outcome, "2026-11-30T06:32:31.000001Z", members(event))
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert list(found)[:4] == ["v", "time", "event", "outcome"]
    assert found.pop("v") == 1
    assert found.pop("event") == event.kind
    assert found.pop("outcome") == (event.differs or event.kind.outcome)
    del found["time"]
    assert found == {name: value for name in FIELDS if (value := getattr(event, name)) is not None}


def test_events_are_counted_by_kind(kept: Kept) -> None:
    recorder = AuditRecorder(kept)
    for kind in (EventKind.KEY_CREATED, EventKind.KEY_RETIRED, EventKind.KEY_CREATED):
        recorder.record(kind)
    assert recorder.counts == {EventKind.KEY_CREATED: 2, EventKind.KEY_RETIRED: 1}


def test_only_the_audit_module_builds_events() -> None:
    root = Path(oauth_core.__file__).parent.parent
    builders = {
        str(path.relative_to(root))
        for package in ("oauth_core", "oauth_web", "ext_authz", "portcullis")
        for path in (root / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "AuditEvent"
    }
    assert builders == {"oauth_core/audit.py"}
