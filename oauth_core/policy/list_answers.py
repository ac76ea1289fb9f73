"""The filter on answers with lists: it removes the tools, prompts and resources that the caller may not use.

It reads an answer as JSON or as an event stream (WHATWG HTML, "Server-sent events"), as strictly as `mcp_request`
reads requests. It refuses a text that two programs could read differently, because the client could see an entry
in it that the filter did not see. All but the hidden entries stays byte for byte as the service wrote it. The
filter finds lists by the shape of a result, so it need not know which request an answer is for.

The filter is no wall around a service: a service can name a hidden tool in the description of another one. The
check of each call protects the tool itself.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from oauth_core import strict_json
from oauth_core.policy.access import is_enough
from oauth_core.policy.jsonrpc_errors import error_body, id_of
from oauth_core.policy.jsonrpc_limits import (
    ANSWER_BYTES,
    DEEPEST_IN_ANSWER,
    LONGEST_INTEGER,
    LONGEST_NAME,
    MOST_ENTRIES,
)
from oauth_core.policy.mcp_request import Call, NameKind, call_of
from oauth_core.policy.tool_rules import NEVER_ALLOWED, required_for
from oauth_core.refusals import DenyReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Set

    from oauth_core.model import Service
    from oauth_core.policy.jsonrpc_errors import RequestId
    from oauth_core.policy.tool_rules import RequiredPermissions

    IsShown = Callable[[NameKind, str], bool]
    """Whether the caller may use the tool or prompt of this name, or the resource of this URI or template."""

_ENTRIES = {
    "tools": (NameKind.TOOL, "name"),
    "prompts": (NameKind.PROMPT, "name"),
    "resources": (NameKind.RESOURCE, "uri"),
    "resourceTemplates": (NameKind.RESOURCE, "uriTemplate"),
}
"""The members of a result that are lists: the kind of their entries, and the member with the name of an entry."""

_LISTS = frozenset(_ENTRIES)
_LONGEST_FOLDED = 128
"""Characters of a name that could be folded into one that MCP defines."""
_ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_FIELDS = frozenset({"data", "event", "id", "retry"})
_FIELD = re.compile(r"[A-Za-z0-9_.-]*\Z")
"""The name of a field that a program may ignore: so it is no mark of byte order, and no piece of JSON."""
_CHARSET = re.compile(r'\s*charset\s*=\s*("?)utf-?8\1\s*\Z', re.IGNORECASE)
_BLANKS = re.compile(r"[ \t\r\n]*")
_IDLE = re.compile(rb"(?:(?::[^\r\n]*)?\r?\n)+")
"""Comments and empty lines between events."""
_END_OF_EVENT = re.compile(rb"\n\r?\n")
_LINE_BREAKS = re.compile("[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""Characters that end a line for some programs, beside the line feed. In the standard it is the first alone."""
_ESCAPES = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""Those that a JSON text may contain, and their escapes, which mean the same."""
_IN_JSON = re.compile("[\x85\u2028\u2029]")
_JSON = strict_json.Reader(deepest=DEEPEST_IN_ANSWER, longest_integer=LONGEST_INTEGER)
_PIECES = json.JSONDecoder()
"""Finds where a value ends, in a text that `_JSON` has read."""


class AnswerFaultError(ValueError):
    """The answer cannot be filtered, for this `reason`."""

    def __init__(self, reason: DenyReason) -> None:
        super().__init__(str(reason))
        self.reason = reason


class ListAnswer(Protocol):
    """The filter on one answer. `fault` is why it was refused, if it was.

    No method raises an error. A refused answer ends with a JSON-RPC error, after which the filter returns nothing.
    """

    fault: DenyReason | None

    @property
    def incomplete(self) -> int:
        """Bytes that the filter keeps until more of the answer comes."""

    def add(self, data: bytes) -> bytes:
        """Return what the caller may see so far, after the service sent `data`."""

    def end(self) -> bytes:
        """Return the rest, after the service ended the answer."""


def names_shown(service: Service, held: Set[str]) -> IsShown:
    """The predicate for a caller with the permissions `held` at `service`: whether a call with a name is allowed.

    A template is shown if its text, taken as a URI, may be read.
    """
    needs = _needs_of(service)
    return lambda kind, name: is_enough(needs.of(kind, name), held)


class _Needs:
    """The permissions that names of one service need: the same lists come again and again, for all callers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: dict[tuple[NameKind, str], RequiredPermissions] = {}

    def of(self, kind: NameKind, name: str) -> RequiredPermissions:
        """Return what a call with this name needs. A call that would be refused needs what no caller has."""
        found = self._known.get((kind, name))
        if found is None:
            call = call_of(kind, name)
            found = required_for(self._service, call) if isinstance(call, Call) else NEVER_ALLOWED
            if len(self._known) >= MOST_ENTRIES:
                self._known.clear()
            if len(name) <= LONGEST_NAME:
                self._known[kind, name] = found
        return found


_needs_of = lru_cache(maxsize=64)(_Needs)


def open_answer(
    content_type: str | None,
    content_encoding: str | None,
    is_shown: IsShown,
    request_id: RequestId | None = None,
    *,
    resumed: bool = False,
) -> ListAnswer:
    """The filter for an answer with these header values. It is refused at once if the filter cannot read its type.

    `request_id` is repeated in an error, if it is known. `resumed` is for a stream that a client opened again: it
    has answers to any number of requests, and any other stream has one.
    """
    kind, _, parameters = (content_type or "").partition(";")
    if (content_encoding or "identity").strip().lower() == "identity" and _is_utf_8(parameters):
        match kind.strip().lower():
            case "application/json":
                return _JsonAnswer(is_shown, request_id)
            case "text/event-stream":
                return _EventStream(is_shown, request_id, is_resumed=resumed)
    return _JsonAnswer(is_shown, request_id, fault=DenyReason.LIST_UNREADABLE)


def _is_utf_8(parameters: str) -> bool:
    """Whether no parameter of a media type says, or may look as if it said, that the text is not in UTF-8."""
    return all(_CHARSET.match(one) for one in parameters.split(";") if "charset" in one.lower())


class _JsonAnswer:
    """An answer that is one JSON text. The filter knows nothing before its end."""

    def __init__(
        self, is_shown: IsShown, request_id: RequestId | None, *, fault: DenyReason | None = None
    ) -> None:
        self.fault = fault
        self._is_shown = is_shown
        self._request_id = request_id
        self._body = bytearray()
        self._has_ended = False

    @property
    def incomplete(self) -> int:
        """The bytes so far."""
        return len(self._body)

    def add(self, data: bytes) -> bytes:
        """Keep `data`, unless the answer is too large."""
        if self.fault is None:
            self._body += data
            if len(self._body) > ANSWER_BYTES:
                self.fault = DenyReason.LIST_TOO_LARGE
                self._body.clear()
        return b""

    def end(self) -> bytes:
        """Return the filtered text, or the JSON-RPC error."""
        if self._has_ended:
            return b""
        self._has_ended = True
        if self.fault is None and not self._body:
            return b""
        try:
            return self._filtered(bytes(self._body))
        except AnswerFaultError as error:
            self.fault = error.reason
            return _error_text(error.reason, self._request_id).encode()

    def _filtered(self, body: bytes) -> bytes:
        if self.fault is not None:
            raise AnswerFaultError(self.fault)
        message = _read(body)
        if not _is_answer(message):
            raise AnswerFaultError(DenyReason.LIST_UNREADABLE)
        filtered = _without_hidden(body.decode(), message, self._is_shown)
        return body if filtered is None else filtered.encode()


class _EventStream:
    """An event stream. An event passes when it is complete, and what is between events at once."""

    def __init__(self, is_shown: IsShown, request_id: RequestId | None, *, is_resumed: bool) -> None:
        self.fault: DenyReason | None = None
        self._is_shown = is_shown
        self._request_id = request_id
        self._is_resumed = is_resumed
        self._has_answer = False
        self._buffer = bytearray()
        self._searched = 0

    @property
    def incomplete(self) -> int:
        """The bytes of the event that has not ended."""
        return len(self._buffer)

    def add(self, data: bytes) -> bytes:
        """Return the events that `data` completes."""
        if self.fault is not None:
            return b""
        self._buffer += data
        passed: list[bytes] = []
        try:
            for event in self._complete_events():
                passed.append(event)
            if len(self._buffer) > ANSWER_BYTES:
                raise AnswerFaultError(DenyReason.LIST_TOO_LARGE)
        except AnswerFaultError as error:
            passed.append(self._refuse(error.reason))
        return b"".join(passed)

    def end(self) -> bytes:
        """Return the rest. Some programs read an event without an end too."""
        if self.fault is not None or not self._buffer:
            return b""
        rest = bytes(self._buffer)
        self._buffer.clear()
        try:
            return self._filter_event(rest)
        except AnswerFaultError as error:
            return self._refuse(error.reason)

    def _complete_events(self) -> Iterator[bytes]:
        buffer, start, searched = self._buffer, 0, self._searched
        if buffer.find(b"\n", searched) < 0:
            # Each byte is searched once, however small the pieces are in which a long line comes.
            self._searched = max(0, len(buffer) - 2)
            return
        try:
            while True:
                idle = _IDLE.match(buffer, start)
                if idle is not None:
                    _check_idle(idle[0])
                    yield idle[0]
                    start = idle.end()
                end = _END_OF_EVENT.search(buffer, max(start, searched))
                if end is None:
                    # The end may be in two pieces: `\n`, or `\n\r`, is the last that came.
                    self._searched = max(0, len(buffer) - start - 2)
                    return
                event = bytes(buffer[start : end.end()])
                start = end.end()
                yield self._filter_event(event)
        finally:
            # A match has a hold on the buffer, which then cannot change its size.
            idle = end = None
            del buffer[:start]

    def _filter_event(self, event: bytes) -> bytes:
        try:
            lines = event.decode().split("\n")
        except UnicodeDecodeError:
            raise AnswerFaultError(DenyReason.LIST_UNREADABLE) from None
        data = [value for line in lines if (value := _data_of(line.removesuffix("\r"))) is not None]
        text = "\n".join(data)
        if not text.strip(" \t\n"):
            return event
        try:
            filtered = self._filter_message(text)
        except AnswerFaultError:
            if self._request_id is None:
                self._request_id = id_of(text.encode())
            raise
        return event if filtered is None else _with_data(lines, filtered).encode()

    def _filter_message(self, text: str) -> str | None:
        """Return the text of a message without what is hidden; `None` if it stays as it is."""
        message = _read(text.encode())
        if _is_answer(message):
            if self._has_answer and not self._is_resumed:
                raise AnswerFaultError(DenyReason.LIST_UNREADABLE)
            self._has_answer = True
        filtered = _without_hidden(text, message, self._is_shown)
        if _IN_JSON.search(text):
            return (text if filtered is None else filtered).translate(_ESCAPES)
        return filtered

    def _refuse(self, reason: DenyReason) -> bytes:
        self.fault = reason
        self._buffer.clear()
        return f"event: message\ndata: {_error_text(reason, self._request_id)}\n\n".encode()


def _check_idle(lines: bytes) -> None:
    """Raise `AnswerFaultError` if a program could find an event in these comments."""
    try:
        text = lines.decode()
    except UnicodeDecodeError:
        raise AnswerFaultError(DenyReason.LIST_UNREADABLE) from None
    if _LINE_BREAKS.search(text.replace("\r\n", "\n")):
        raise AnswerFaultError(DenyReason.LIST_UNREADABLE)


def _data_of(line: str) -> str | None:
    """Return the value of a line with data; `None` for other lines. Raises `AnswerFaultError`."""
    name, _, value = line.partition(":")
    if name == "data":
        # A line break in JSON is refused with the JSON, unless JSON may contain it: then it is escaped later.
        if "\r" in value:
            raise AnswerFaultError(DenyReason.LIST_UNREADABLE)
        return value.removeprefix(" ")
    # A name with other characters may be the JSON of an answer whose type is not the one it says.
    is_ambiguous = name not in _FIELDS and (not _FIELD.match(name) or _folded(name) in _FIELDS)
    if is_ambiguous or _LINE_BREAKS.search(line):
        raise AnswerFaultError(DenyReason.LIST_UNREADABLE)
    return None


def _with_data(lines: list[str], text: str) -> str:
    """Return the lines of an event with other data, in the place of the first line with data."""
    end = "\r" if lines[0].endswith("\r") else ""
    found: list[str] = []
    new: list[str] | None = [f"data: {line}{end}" for line in text.split("\n")]
    for line in lines:
        if line.partition(":")[0].removesuffix("\r") != "data":
            found.append(line)
        elif new is not None:
            found += new
            new = None
    return "\n".join(found)


def _read(body: bytes) -> object:
    try:
        return _JSON.parse(body)
    except ValueError:
        raise AnswerFaultError(DenyReason.LIST_UNREADABLE) from None


def _is_answer(message: object) -> bool:
    """Return whether `message` answers a request. Raises `AnswerFaultError` if it is no JSON-RPC message.

    A batch is none: MCP has had no batches since revision 2025-06-18.
    """
    if (
        not isinstance(message, dict)
        or message.get("jsonrpc") != "2.0"
        or not _has_plain_names(message, _ENVELOPE)
    ):
        raise AnswerFaultError(DenyReason.LIST_UNREADABLE)
    if "method" in message:
        if "result" in message or "error" in message:
            raise AnswerFaultError(DenyReason.LIST_UNREADABLE)
        return False
    is_error = "error" in message
    if is_error == ("result" in message) or not isinstance(message["error" if is_error else "result"], dict):
        raise AnswerFaultError(DenyReason.LIST_UNREADABLE)
    request_id = message.get("id")
    is_id = isinstance(request_id, str | int | float) and not isinstance(request_id, bool)
    # An error has no id if the service could not read it (JSON-RPC 2.0 section 5).
    if not is_id and not (is_error and request_id is None):
        raise AnswerFaultError(DenyReason.LIST_UNREADABLE)
    return True


def _without_hidden(text: str, message: object, is_shown: IsShown) -> str | None:
    """Return `text` without the hidden entries of `message`, which it contains; `None` if it has none.

    Raises `AnswerFaultError`.
    """
    result = message.get("result") if isinstance(message, dict) else None
    if not isinstance(result, dict):
        return None
    if not _has_plain_names(result, _LISTS):
        raise AnswerFaultError(DenyReason.LIST_UNREADABLE)
    shown: dict[str, list[bool]] = {}
    for member, (kind, name) in _ENTRIES.items():
        entries = result.get(member)
        if entries is None:
            # Programs in Go write an empty list as null.
            continue
        if not isinstance(entries, list):
            raise AnswerFaultError(DenyReason.LIST_UNREADABLE)
        if len(entries) + sum(map(len, shown.values())) > MOST_ENTRIES:
            raise AnswerFaultError(DenyReason.LIST_TOO_LARGE)
        shown[member] = [_is_entry_shown(entry, kind, name, is_shown) for entry in entries]
    if all(map(all, shown.values())):
        return None
    return _cut(text, shown)


def _is_entry_shown(entry: object, kind: NameKind, member: str, is_shown: IsShown) -> bool:
    """Return whether an entry of a list is shown. One without a name, or with more than one, is not."""
    if not isinstance(entry, dict) or not _has_plain_names(entry, frozenset({member})):
        return False
    name = entry.get(member)
    return isinstance(name, str) and is_shown(kind, name)


def _has_plain_names(members: dict[str, object], names: frozenset[str]) -> bool:
    """Return whether no member could be read as one of `names` without being spelled so."""
    folded = {_folded(name) for name in names}
    return not any(_folded(member) in folded for member in members.keys() - names)


def _folded(name: str) -> str:
    """Return `name` as a lenient program may read it.

    Go ignores case, C stops at a NUL, and the Python SDK reads `resource_templates` as `resourceTemplates`.
    """
    text = name.partition("\0")[0].strip()
    if not text.isascii():
        # Folding a long run of combining marks takes quadratic time, and makes no short name of a long one.
        text = unicodedata.normalize("NFKC", text) if len(text) <= _LONGEST_FOLDED else ""
    return text.casefold().strip().replace("_", "").replace("-", "")


def _cut(text: str, shown: dict[str, list[bool]]) -> str:
    """Return `text` without the entries that are not shown. The rest of it stays as it was written."""
    (result,) = (start for name, start, _ in _members(text, _skip(text, 0)) if name == "result")
    pieces: list[str] = []
    place = 0
    for member, start, end in _members(text, result):
        keep = shown.get(member, [])
        if not all(keep):
            pieces += [text[place : start + 1], _kept(text, start, keep)]
            place = end - 1
    return "".join((*pieces, text[place:]))


def _kept(text: str, start: int, keep: list[bool]) -> str:
    """Return what is between the brackets of the list at `start`, without the entries that are not kept."""
    kept: list[str] = []
    place = start + 1
    for is_kept in keep:
        entry = _skip(text, place)
        end = _PIECES.raw_decode(text, entry)[1]
        after = _skip(text, end)
        if is_kept:
            kept.append(text[place:after])
        place = after + 1
    return ",".join(kept)


def _members(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    """Yield the members of the object at `start`: the name, and where the value begins and ends."""
    place = _skip(text, start + 1)
    while text[place] != "}":
        name, place = _PIECES.raw_decode(text, place)
        value = _skip(text, _skip(text, place) + 1)
        _, end = _PIECES.raw_decode(text, value)
        yield str(name), value, end
        place = _skip(text, end)
        if text[place] == ",":
            place = _skip(text, place + 1)


def _skip(text: str, place: int) -> int:
    """Return the place of the next character that is no blank."""
    found = _BLANKS.match(text, place)
    return place if found is None else found.end()


def _error_text(reason: DenyReason, request_id: RequestId | None) -> str:
    row = reason.row
    code = row.status if row.code is None else row.code
    return error_body(code, row.error, row.description, request_id)
