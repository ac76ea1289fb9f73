"""JSON-RPC 2.0 errors of the gateway, and the id of a refused request.

MCP clients show the text of such an error to their user and continue. They show no other body, and some then end
their session.
"""

from __future__ import annotations

import json
import re

RequestId = str | int

_LONGEST_ID = 256
_LARGEST_ID = 1 << 64
_BLANKS = " \t\r\n"
_USUAL_START = re.compile(rb'\{"jsonrpc": ?"2\.0", ?"id": ?(0|[1-9][0-9]{0,15})[,}]')
_USUAL_END = re.compile(rb',"id":(0|[1-9][0-9]{0,15})\}\Z')
_LONGEST_END = 24
"""The places where clients write a number as id: second, or last."""
_DECODER = json.JSONDecoder()


def error_body(code: int, error: str, message: str, request_id: RequestId | None = None) -> str:
    """An error response. `error` is an OAuth code (RFC 6750 section 3.1), for programs; `message` is for people.

    The id is null when it is not known (JSON-RPC 2.0 section 5).
    """
    data = {"error": error, "error_description": message}
    answer = {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message, "data": data}}
    return json.dumps(answer)


def id_text(request_id: RequestId) -> str:
    """`request_id` in its JSON form: ASCII, with every quote and control character escaped.

    An id from `id_of` takes 3 KiB at most.
    """
    return str(request_id) if type(request_id) is int else json.dumps(request_id)


def id_of(body: bytes) -> RequestId | None:
    """The id of the request in `body`, which may be faulty or truncated; `None` when there is none.

    It is used only in the answer, not in any decision.
    """
    usual = _USUAL_START.match(body)
    if usual is not None:
        return int(usual[1])
    try:
        return _id_in(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):  # truncated, or not JSON
        return None


def id_of_message(body: bytes) -> RequestId | None:
    """The same for a body that `mcp_request` accepts: it is complete, and has one member `id` at most."""
    # The last brace of the body is that of the message, so what comes before it is a member of the message.
    usual = _USUAL_END.search(body, max(0, len(body) - _LONGEST_END))
    return id_of(body) if usual is None else int(usual[1])


def _id_in(text: str) -> RequestId | None:
    place = _after_blanks(text, 0)
    if text[place : place + 1] != "{":
        return None
    while True:
        name, place = _DECODER.raw_decode(text, _after_blanks(text, place + 1))
        place = _after_blanks(text, place)
        if not isinstance(name, str) or text[place : place + 1] != ":":
            return None
        value, place = _DECODER.raw_decode(text, _after_blanks(text, place + 1))
        place = _after_blanks(text, place)
        if text[place : place + 1] not in {",", "}"}:
            return None
        if name == "id":
            return value if _is_id(value) else None
        if text[place] == "}":
            return None


def _after_blanks(text: str, place: int) -> int:
    while text[place : place + 1] and text[place] in _BLANKS:
        place += 1
    return place


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        # Half of a surrogate pair cannot be encoded again.
        return len(value) <= _LONGEST_ID and not any("\ud800" <= char <= "\udfff" for char in value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_ID
