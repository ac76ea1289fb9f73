"""The page and the schema of audit events match the code."""

from __future__ import annotations

import json
from typing import Any

from oauth_core.audit import AuditEvent, EventKind, Outcome, members, stored
from tests.project.docs import audit_reference


def test_the_page_and_the_schema_are_up_to_date() -> None:
    hint = "run python -m tests.project.docs.audit_reference"
    assert audit_reference.PAGE.read_text(encoding="utf-8") == audit_reference.page(), hint
    assert audit_reference.SCHEMA.read_text(encoding="utf-8") == audit_reference.schema(), hint


def test_the_schema_has_every_member_of_a_stored_event() -> None:
    schema = json.loads(audit_reference.SCHEMA.read_text(encoding="utf-8"))
    filled: dict[str, Any] = dict.fromkeys(audit_reference.meanings(), "x")
    event = AuditEvent(EventKind.ACCESS_DENIED, **filled)
    line = json.loads(stored(event.kind, event.outcome, "2026-11-30T06:32:31.000001Z", members(event)))
    assert list(line) == list(schema["properties"])


def test_every_kind_has_a_sentence_and_no_kind_is_only_an_intent() -> None:
    for kind in EventKind:
        assert kind.meaning.endswith("."), kind
        assert kind.outcome is not Outcome.INTENT, kind
