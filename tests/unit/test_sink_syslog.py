"""Syslog messages for a sink, read by a parser from PyPI that shares no code with ours."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from syslogcef.parsers import ParsedEvent, parse_rfc5424

from portcullis.sinks.records import Record, RecordKind
from portcullis.sinks.syslog import framed, message_of

NODES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,252}", fullmatch=True)
# The parser treats some other spaces and line breaks as the end of a message.
TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)


def record(**fields: object) -> Record:
    given_: dict[str, object] = {"kind": RecordKind.EVENT, "tree": "node-1/audit+0a1b2c3d", "text": "{}"}
    place = {"node": "node-1", "writer": "oauth_web", "boot": "20261130T060000Z-0123abcd", "sequence": 7}
    return Record(**{**given_, **place, **fields})  # type: ignore[arg-type]


def parsed(message: bytes) -> ParsedEvent:
    """The message as the other parser reads it."""
    found = parse_rfc5424(message.decode())
    assert found is not None
    return found


def data_of(message: ParsedEvent, number: int = 32473) -> dict[str, str]:
    """The parameters of our element of structured data, which must be the only one."""
    names = {name.removeprefix(f"portcullis@{number}."): value for name, value in message.sd.items()}
    assert names.keys() <= {"record", "tree", "node", "writer", "boot", "sequence", "index", "size", "entry"}
    return names


@given(node=NODES, line=st.dictionaries(st.text(), st.text() | st.integers()), sequence=st.integers(1, 10**18))
def test_the_line_of_an_event_and_its_place_are_read_as_they_were(
    node: str, line: dict[str, object], sequence: int
) -> None:
    text = json.dumps(line, separators=(",", ":"))
    message = parsed(message_of(record(node=node, text=text, sequence=sequence), 32473))
    assert message.msg == text
    assert message.host == node
    assert {"node": node, "writer": "oauth_web", "sequence": str(sequence)}.items() <= data_of(message).items()


@given(name=TEXTS, tree=TEXTS)
def test_no_text_breaks_out_of_its_place(name: str, tree: str) -> None:
    line = json.dumps({"event": name, "outcome": "denied", "time": "2026-11-30T06:00:01.000000Z"})
    message = parsed(message_of(record(text=line, tree=tree), 55555))
    assert data_of(message, 55555)["tree"] == tree
    assert message.msg == line
    assert len(message.msgid or "") <= 32


def test_facility_severity_and_time_are_those_of_the_event() -> None:
    for outcome, severity in (("allowed", 6), ("success", 5), ("denied", 4), ("failure", 3), ("intent", 7)):
        line = {"v": 1, "time": "2026-11-30T06:00:01.250000Z", "event": "access.denied", "outcome": outcome}
        message = message_of(record(text=json.dumps(line)), 32473)
        assert message.startswith(f"<{13 * 8 + severity}>1 2026-11-30T06:00:01.250000Z ".encode())
        found = parsed(message)
        assert (found.facility, found.severity, found.msgid) == (13, severity, "access.denied")
        assert (found.app, found.pid) == ("portcullis", "oauth_web")


def test_the_note_of_a_checkpoint_is_one_line() -> None:
    note = "origin\n1\nroot=\n\n\N{EM DASH} origin sig=\n"
    made = message_of(record(kind=RecordKind.CHECKPOINT, text=note, index=1, node="", writer="", boot=""), 32473)
    assert b"\n" not in made
    assert json.loads(parsed(made).msg) == note


@given(st.text())
def test_a_forged_line_is_a_message_too(text: str) -> None:
    line = text.encode("utf-8", "replace").decode()
    made = message_of(record(text=line), 32473)
    assert made.endswith(f"] {line}".encode())
    assert framed(made) == str(len(made)).encode() + b" " + made
