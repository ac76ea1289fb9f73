"""The records that a sink has are read from any line, and every other line is refused."""

from __future__ import annotations

import json
from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from portcullis.sinks.received import UnreadableLineError, records_in
from portcullis.sinks.records import Record, RecordKind
from portcullis.sinks.syslog import message_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}", fullmatch=True)
NUMBERS = st.integers(0, 10**18)
EVENTS = st.builds(
    Record, st.just(RecordKind.EVENT), TEXTS, TEXTS, NAMES, NAMES, NAMES, NUMBERS, st.just(None), st.just(None)
)
ENDS = st.builds(Record, st.just(RecordKind.EVENT), TEXTS, TEXTS, NAMES, NAMES, NAMES, NUMBERS, NUMBERS, TEXTS)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["kind", "tree", "key", "value"]), inner),
)


@given(EVENTS | ENDS)
def test_a_record_is_read_as_it_was_from_json_and_from_syslog(record: Record) -> None:
    assert records_in(record.encode()) == [record]
    assert records_in(message_of(record, 32473)) == [record]


@given(st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b'{"kind": "entry", "tree": "t", "index": 1e400, "entry": ""}')
@example(b'{"kind": "entry", "tree": "\\ud800", "index": 1, "entry": ""}')
@example(b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"attributes": [{"key": "portcullis.record"}]}]}]}]}')
@example(b'<110>1 - - - - - [portcullis@1 record="event" tree="')
@example(b'<110>1 - - - - - [portcullis@1 record="checkpoint" tree="t" size="1"] "\\ud800"')
@example(b'{"kind": "entry", "tree": "t", "index": ' + b"9" * 10_000 + b', "entry": ""}')
def test_no_line_ends_the_reading(line: bytes) -> None:
    with suppress(UnreadableLineError):
        records_in(line)
