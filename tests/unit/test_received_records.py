"""The records that a sink has are read from any line, and every other line is refused."""

from __future__ import annotations

import io
import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portcullis.sinks import received
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


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_that_is_too_long_is_refused_and_the_others_are_read(
    monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    record = Record(RecordKind.ENTRY, "tree", "an entry", index=1)
    short = record.encode()
    monkeypatch.setattr(received, "LONGEST_LINE", len(short))
    # Each one begins as a record does, and the last one is cut at the end of the record.
    too_long = [short[:-1] + b" }", b" " * (3 * len(short)) + short, short + b"\r" * 5 + b"x"]
    file = io.BytesIO(b"\n".join([short, too_long[0], short + b"\r", *too_long[1:]]) + end)
    found = list(received.lines_of(file))
    assert [line == short for line in found] == [True, False, True, False, False]
    assert max(map(len, found)) <= len(short) + 2
    for line in found:
        if line == short:
            assert records_in(line) == [record]
        else:
            with pytest.raises(UnreadableLineError, match="too long"):
                records_in(line)


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
