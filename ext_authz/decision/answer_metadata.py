"""The metadata that a check leaves for the filter on the answer (`ext_authz.answers`). No caller can set them.

They also switch the filter on. Without them Envoy opens no stream for the answer, so other requests cost nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from ext_authz.decision.envoy_messages import LAST_EVENT_ID, header_of, overwrite
from ext_authz.generated import envoy_ext_authz_pb2 as pb
from oauth_core.policy.access import held_permissions
from oauth_core.policy.mcp_request import Call, Session
from oauth_core.policy.session_binding import subject_of

if TYPE_CHECKING:
    from ext_authz.decision.envoy_messages import IncomingRequest, ParsedRequest
    from oauth_core.model import Service
    from oauth_core.policy.decision import Verdict

LISTS = "portcullis.lists"
"""Makes Envoy send the whole answer to the filter."""

SESSION = "portcullis.session"
"""Makes Envoy send the headers of the answer to the filter, if one of them is `Mcp-Session-Id`."""

LIST_METHODS = frozenset({"tools/list", "prompts/list", "resources/list", "resources/templates/list"})

_UNRESUMED = pb.CheckResponse(ok_response=pb.OkHttpResponse(headers_to_remove=[LAST_EVENT_ID])).SerializeToString()
"""Only GET resumes a stream. A service that resumes for POST could send a list in answer to another request."""

_SESSION_ID = "mcp-session-id"
_WITHOUT_SESSIONS = "2026-07-28"
"""The first revision of MCP without sessions."""

_Strings = tuple[str, ...]


def for_answer(
    service: Service, verdict: Verdict, request: IncomingRequest, parsed: ParsedRequest | None
) -> bytes:
    """Return bytes to append to an answer that allows `request`; none if no filter is needed.

    `parsed` is its message, where rules read the body.
    """
    unresumed = b""
    if service.rules is not None and service.filter_lists:
        # A service that ignores case answers other spellings with a list too, where `otherwise` lets them pass.
        method = parsed.method.lower() if isinstance(parsed, Call) else None
        method = method if method in LIST_METHODS else None
        has_last_event = _header(request, LAST_EVENT_ID) is not None
        is_resumed = has_last_event and parsed is Session.STREAM
        if method is not None or is_resumed:
            held = tuple(sorted(held_permissions(service, verdict.rights)))
            return _for_lists(held, method, is_resumed=is_resumed)
        if has_last_event:
            unresumed = _UNRESUMED
    if service.bind_sessions and _may_begin_session(request, parsed):
        return unresumed + _for_session(subject_of(verdict.claims))
    return unresumed


def _may_begin_session(request: IncomingRequest, parsed: ParsedRequest | None) -> bool:
    """Return whether the answer may have the id of a new session.

    If it has one though it may not, the client gets it as it is, and cannot use it.
    """
    if request.method != "POST" or (isinstance(parsed, Call) and parsed.method != "initialize"):
        return False
    return (
        _header(request, _SESSION_ID) is None
        and (_header(request, "mcp-protocol-version") or "") < _WITHOUT_SESSIONS
    )


def _header(request: IncomingRequest, name: str) -> str | None:
    if request.is_raw and request.http is not None:
        return header_of(request.http, name, is_raw=True)
    return request.headers.get(name)


@lru_cache(maxsize=4096)
def _for_lists(held: _Strings, method: str | None, *, is_resumed: bool) -> bytes:
    fields = {
        "held": Value(list_value=ListValue(values=[Value(string_value=name) for name in held])),
        "resumed": Value(bool_value=is_resumed),
    }
    if method is not None:
        fields["method"] = Value(string_value=method)
    return pb.CheckResponse(
        # A service may compress an answer to a request without this header too (RFC 9110 section 12.5.3).
        ok_response=pb.OkHttpResponse(headers=[overwrite("accept-encoding", "identity")]),
        dynamic_metadata=Struct(fields={LISTS: Value(struct_value=Struct(fields=fields))}),
    ).SerializeToString()


@lru_cache(maxsize=4096)
def _for_session(subject: str) -> bytes:
    return pb.CheckResponse(
        dynamic_metadata=Struct(fields={SESSION: Value(string_value=subject)})
    ).SerializeToString()
