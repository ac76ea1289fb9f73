"""Reads the records that a sink has: lines of JSON of NATS or a webhook, of OTLP, or messages of syslog.

Any mix of them can be read, in any order. Everything here was on other machines, so it is not trusted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO

from portcullis.sinks.records import Record, RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes of a line: a request of OTLP has a whole batch."""
_MOST_INDEX = 2**62
_PREFIX = "portcullis."


class UnreadableLineError(ValueError):
    """A line has no record. The message says why, and does not repeat the line."""


def records_in(line: bytes) -> list[Record]:
    """Return the records of a line. Raises `UnreadableLineError`."""
    if len(line) > LONGEST_LINE:
        raise UnreadableLineError("it is too long")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise UnreadableLineError("it is not UTF-8") from None
    try:
        if text.startswith("<"):
            return [_of_syslog(text)]
        content = json.loads(text)
        if not isinstance(content, dict):
            raise UnreadableLineError("it is no object")
        if "resourceLogs" in content:
            return list(_of_otlp(content))
        if content.get("type") == "audit.records":
            return [_of_document(one) for one in content["data"]["records"]]
        return [_of_document(content)]
    except UnreadableLineError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise UnreadableLineError("it is no record in a known form") from None


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file that are not empty, without their ends.

    Of a line that is too long it yields the beginning, which is too long too: no file fills the memory.
    """
    most = LONGEST_LINE + len(b"\r\n")
    while line := file.readline(most):
        end = line
        while end and not end.endswith(b"\n"):
            end = file.readline(most)
        is_cut = len(line) == most and not line.endswith(b"\n")
        if found := line if is_cut else line.rstrip(b"\r\n"):
            yield found


def _of_document(found: dict[str, Any]) -> Record:
    """A record as we encode it (`Record.document`)."""
    kind = RecordKind(found["kind"])
    tree = _text(found["tree"])
    if kind is RecordKind.EVENT:
        node, writer, boot = (_text(found[name]) for name in ("node", "writer", "boot"))
        entry = None if found.get("entry") is None else _text(found["entry"])
        index = None if entry is None else _number(found["index"])
        sequence = _number(found["sequence"])
        return Record(kind, tree, _text(found["line"]), node, writer, boot, sequence, index, entry)
    if kind is RecordKind.CHECKPOINT:
        return Record(kind, tree, _text(found["note"]), index=_number(found["size"]))
    index = _number(found["index"])
    if kind is RecordKind.ENTRY:
        return Record(kind, tree, _text(found["entry"]), index=index)
    part, parts = _number(found["part"]), _number(found["parts"])
    return Record(kind, tree, _text(found["data"]), index=index, part=part, parts=parts)


def _of_otlp(request: dict[str, Any]) -> Iterator[Record]:
    """The records of a request of OTLP, in its form of JSON. Other programs' records are left out."""
    for resource in request["resourceLogs"]:
        for scope in resource["scopeLogs"]:
            for found in scope["logRecords"]:
                values = {one["key"]: one["value"] for one in found["attributes"]}
                if f"{_PREFIX}record" in values:
                    yield _of_attributes(found["body"]["stringValue"], values)


def _of_attributes(text: str, values: dict[str, Any]) -> Record:
    def value(name: str) -> Any:
        found = values.get(_PREFIX + name, {})
        return found.get("stringValue", found.get("intValue"))

    return _of_parts(text, value)


def _of_syslog(message: str) -> Record:
    """A message as `syslog.message_of` makes it: a header, one element of structured data, and a text."""
    head, bracket, rest = message.partition(" [portcullis@")
    if not bracket or head.count(" ") != _HEADER_SPACES:
        raise UnreadableLineError("it is no message of ours")
    place, values = rest.index(" "), dict[str, str]()
    while rest[place] == " ":
        name, _, rest = rest[place + 1 :].partition('="')
        value, place = _parameter(rest)
        values[name] = value
    if rest[place] != "]":
        raise UnreadableLineError("its structured data does not end")
    text = rest[place + 2 :]
    if values.get("record") == RecordKind.CHECKPOINT.value:
        text = _text(json.loads(text))
    return _of_parts(text, values.get)


def _parameter(rest: str) -> tuple[str, int]:
    """The value at the beginning of `rest`, and the place behind its quotation mark (RFC 5424 section 6.3.3)."""
    value: list[str] = []
    place = 0
    while (character := rest[place]) != '"':
        if character == "\\" and rest[place + 1] in '"\\]':
            place += 1
            character = rest[place]
        value.append(character)
        place += 1
    return "".join(value), place + 1


_HEADER_SPACES = 5


def _of_parts(text: object, value: Any) -> Record:
    """A record of its text, and a function that returns its other parts by name."""
    kind, tree = RecordKind(value("record")), _text(value("tree"))
    number = value("size") if kind is RecordKind.CHECKPOINT else value("index")
    index = None if number is None else _number(number)
    if kind is RecordKind.EVENT:
        node, writer, boot = (_text(value(name)) for name in ("node", "writer", "boot"))
        entry = None if value("entry") is None else _text(value("entry"))
        index = None if entry is None else _number(number)
        return Record(kind, tree, _text(text), node, writer, boot, _number(value("sequence")), index, entry)
    if index is None:
        raise UnreadableLineError("it has no place in the tree")
    if kind is RecordKind.FRAME:
        part, parts = _number(value("part")), _number(value("parts"))
        return Record(kind, tree, _text(text), index=index, part=part, parts=parts)
    return Record(kind, tree, _text(text), index=index)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise UnreadableLineError("a part of the record is no text")
    value.encode()  # half of a character is no text: it raises a ValueError
    return value


def _number(value: object) -> int:
    """A number; OTLP and syslog write it as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len(str(_MOST_INDEX)):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_INDEX:
        raise UnreadableLineError("a part of the record is no number")
    return value
