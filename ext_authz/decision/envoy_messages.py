"""The messages of Envoy: decoding its requests and encoding the decisions. No other module depends on the format.

Only this module removes and sets identity headers. Three rules apply. A name that this gateway sets is
overwritten, so the caller's value is gone. A name without a value is removed. A name that a service could read as
an identity header (`X_User_Id` becomes `HTTP_X_USER_ID` in CGI and WSGI, and so does `X-User-Id`) is removed too.
Envoy applies removals last, so a name is never in both lists.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from ext_authz.generated import envoy_ext_authz_pb2 as pb
from oauth_core.audit import LONGEST_LOGGED, Origin, trace_id_of
from oauth_core.display_text import is_displayable
from oauth_core.limits.rate_limits import read_address
from oauth_core.policy.mcp_request import Call, Message, decoded_name
from oauth_core.settings.identity_headers import IdentityHeaders

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from oauth_core.model import AccessClaims
    from oauth_core.policy.deny_response import DenyResponse
    from oauth_core.policy.mcp_request import CallFault, Session
    from oauth_core.policy.session_binding import OpenedSession

    ParsedRequest = Session | Call | CallFault

ROUTE_SERVICE = "portcullis.service"
"""Context extension with the service of a route."""

BODY_BYTES = "portcullis.body_bytes"
"""Context extension of a service with rules: its last check gets the body, which may have this many bytes."""

PARTIAL_BODY = "x-envoy-auth-partial-body"
"""Envoy's header that marks the body sent to the check as only the beginning."""

AUTHORIZATION = "authorization"
METADATA = "portcullis"
"""Where Envoy's access log and rate limits find the decision: below `envoy.filters.http.ext_authz`."""

REQUEST_ID = "portcullis.request_id"
"""Beside it: the id of the JSON-RPC request, as JSON."""

SESSION_ID = "mcp-session-id"
"""The session of a request, in both directions (MCP, streamable HTTP)."""

LAST_EVENT_ID = "last-event-id"
"""The last event that a client got of the stream that it opens again (WHATWG HTML, "Server-sent events")."""

MCP_METHOD, MCP_NAME, MCP_CLAIMED = "portcullis.mcp_method", "portcullis.mcp_name", "portcullis.mcp_claimed"
"""Beside it: the MCP method and name of the request, and whether only the caller's headers say so."""

REQUEST_ID_HEADER = "x-request-id"
"""Made by Envoy for each request, and written in its access log."""

LIFE = "x-envoy-upstream-rq-timeout-ms"
"""Makes Envoy end a response that still runs after this many milliseconds."""
_LIFE_UNSAID = b"00000000"
_LONGEST_LIFE = 86_400

_SEPARATORS = re.compile(r"[^a-z0-9]")
# Printable ASCII without the space, which HTTP trims at both ends, and the percent sign, which starts an escape.
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")

_USUAL_LENGTH = "content-length"
"""In every request with a body, as long as a name of ours, and not like any of them."""

_GRPC_CODES = {
    400: code_pb2.INVALID_ARGUMENT,
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    405: code_pb2.INVALID_ARGUMENT,
    413: code_pb2.RESOURCE_EXHAUSTED,
    415: code_pb2.INVALID_ARGUMENT,
    502: code_pb2.UNAVAILABLE,
    429: code_pb2.RESOURCE_EXHAUSTED,
    503: code_pb2.UNAVAILABLE,
    504: code_pb2.DEADLINE_EXCEEDED,
}


class Names:
    """The names of the identity headers. A caller that sets one of them could claim to be any person."""

    def __init__(self, headers: IdentityHeaders, *, trusted_proxies: int = 0) -> None:
        """`trusted_proxies` proxies stand before Envoy and add the caller's address to `X-Forwarded-For`."""
        self.headers = headers
        self.trusted_proxies = trusted_proxies
        self.guarded = headers.guarded
        # A service may read `mcp_session_id` as the session too, and the check reads only the name with hyphens.
        self.ours = frozenset({AUTHORIZATION, SESSION_ID, LAST_EVENT_ID, *self.guarded})
        self.lengths = frozenset(map(len, self.ours))

    def is_lookalike(self, name: str) -> bool:
        """Return whether `name` is no identity header, but could be read as one."""
        return name not in self.ours and name != _USUAL_LENGTH and _SEPARATORS.sub("-", name.lower()) in self.ours


USUAL_NAMES = Names(IdentityHeaders())


@lru_cache(maxsize=4096)
def _life(seconds: int) -> bytes:
    """Return the seconds in milliseconds, in as many bytes as `_LIFE_UNSAID`."""
    return b"%08d" % (max(1, min(seconds, _LONGEST_LIFE)) * 1000)


class AllowResponse(NamedTuple):
    """An encoded `CheckResponse` that allows a request, in two parts around the maximum time of the answer."""

    before: bytes
    after: bytes

    def lasting(self, seconds: int) -> bytes:
        """Return the whole message for an answer that must end after `seconds`, one at least and a day at most."""
        return self.before + _life(seconds) + self.after


_NONE: Mapping[str, str] = {}


class IncomingRequest(NamedTuple):
    """The parts of an HTTP request that a decision depends on.

    `path` has no query. `authorization` holds every value under that name, and `lookalikes` the names, as sent, of
    headers that could be mistaken for identity headers. `routed_as` is the service of the route. `http` is the
    request as received, for the few requests whose body matters; `peer` is the caller's end of the connection, for
    tokens that are bound to a certificate. `extensions` are the context extensions of the route. `proxy` is the
    other end of the connection to Envoy, if `source` is from a header. With `is_raw` Envoy sent the headers as
    bytes. `headers` are the others, as in `http`, where each access to them takes time.
    """

    method: str
    host: str
    path: str
    query: str
    authorization: tuple[str, ...]
    lookalikes: tuple[str, ...]
    routed_as: str | None
    source: str | None
    request_id: str | None
    http: pb.AttributeContext.HttpRequest | None = None
    peer: pb.AttributeContext.Peer | None = None
    extensions: Mapping[str, str] = _NONE
    proxy: str | None = None
    is_raw: bool = False
    headers: Mapping[str, str] = _NONE


def decode(message: bytes, names: Names = USUAL_NAMES) -> IncomingRequest | None:
    """Return the request in the bytes of a `CheckRequest`; `None` when they are not one about an HTTP request."""
    try:
        attributes = pb.CheckRequest.FromString(message).attributes
    except DecodeError:
        return None
    http = attributes.request.http
    method, host, target = http.method, http.host, http.path
    if not (method and host and target.startswith("/")):
        return None
    path, _, query = target.partition("?")
    peer = attributes.source
    is_raw = http.HasField("header_map")
    authorization, lookalikes = _credentials(http, names, is_raw=is_raw)
    source, proxy = _source(http, peer, names.trusted_proxies)
    extensions = attributes.context_extensions
    return IncomingRequest(
        method,
        host,
        path,
        f"{query}&{http.query}" if http.query else query,
        authorization,
        lookalikes,
        extensions.get(ROUTE_SERVICE),
        source,
        # Not `http.id`, which Envoy logs nowhere.
        header_of(http, REQUEST_ID_HEADER, is_raw=is_raw),
        http,
        peer,
        extensions,
        proxy,
        is_raw,
        http.headers,
    )


def message_of(request: IncomingRequest) -> Message:
    """Return the message in `request`, for decisions that depend on its method and name.

    Only `raw_body` counts: in `body` Envoy replaces bytes that are not UTF-8, so it can differ from the sent body.
    One that is longer than the route allows counts as a part of a body, which no check reads.
    """
    if request.http is None:
        return Message(request.method, {}, b"")
    headers = _headers_of(request.http) if request.is_raw else request.headers
    body, most = request.http.raw_body, request.extensions.get(BODY_BYTES, "")
    is_partial = headers.get(PARTIAL_BODY, "false") != "false" or (most.isdecimal() and len(body) > int(most))
    return Message(request.method, headers, body, is_partial)


def _headers_of(http: pb.AttributeContext.HttpRequest) -> dict[str, str]:
    """Return the headers of both fields."""
    headers = dict(http.headers)
    for header in http.header_map.headers:
        # As Envoy joins them in the other field: two values become one that matches nothing.
        value = header.raw_value.decode("latin-1") if header.raw_value else header.value
        headers[header.key] = f"{headers[header.key]},{value}" if header.key in headers else value
    return headers


def header_of(http: pb.AttributeContext.HttpRequest, name: str, *, is_raw: bool) -> str | None:
    """Return the value of a header, or `None` without one. Envoy joins several values with commas.

    With `is_raw` the header may be in the field that holds bytes.
    """
    value = http.headers.get(name)
    if value is None and is_raw:
        for header in http.header_map.headers:
            if header.key == name:
                return header.raw_value.decode("latin-1") if header.raw_value else header.value
    return value


def session_of(request: IncomingRequest) -> str | None:
    """Return the id of the session that `request` names, if any. Several values become one that no session has."""
    if not request.is_raw or request.http is None:
        return request.headers.get(SESSION_ID)
    raw = [
        header.raw_value.decode("latin-1") if header.raw_value else header.value
        for header in request.http.header_map.headers
        if header.key == SESSION_ID
    ]
    joined = request.headers.get(SESSION_ID)
    values = raw if joined is None else [joined, *raw]
    return ",".join(values) if values else None


def origin_of(request: IncomingRequest) -> Origin:
    """Return where `request` is from, for the audit log."""
    return Origin._make(parts_of_origin(request))


def parts_of_origin(request: IncomingRequest) -> tuple[str | None, str | None, str | None, str | None, str | None]:
    """Return the parts of `origin_of`, for a fraction of its time."""
    if request.is_raw and request.http is not None:
        agent = header_of(request.http, "user-agent", is_raw=True)
        trace = header_of(request.http, "traceparent", is_raw=True)
    else:
        agent, trace = request.headers.get("user-agent"), request.headers.get("traceparent")
    return request.source, request.proxy, agent, request.request_id, None if trace is None else trace_id_of(trace)


_NOT_CALLED = (None, None, None)


def called(request: IncomingRequest, parsed: ParsedRequest | None) -> tuple[str | None, str | None, bool | None]:
    """Return the MCP method and name of `request`, and whether only the caller's headers say so.

    `parsed` is what was read from the body, where rules read it.
    """
    if isinstance(parsed, Call):
        return parsed.method, parsed.name, None
    if request.is_raw and request.http is not None:
        method = header_of(request.http, "mcp-method", is_raw=True)
        name = header_of(request.http, "mcp-name", is_raw=True)
    else:
        headers = request.headers
        if "mcp-method" not in headers and "mcp-name" not in headers:
            return _NOT_CALLED
        method, name = headers.get("mcp-method"), headers.get("mcp-name")
    if method is None and name is None:
        return _NOT_CALLED
    return method, name and (decoded_name(name) or name), True


def encode_called(request: IncomingRequest, parsed: ParsedRequest | None) -> bytes:
    """Return metadata with what `called` returns, for Envoy's access log: bytes to append to an answer.

    The texts are cut, and have no character that a log could take for the end of a line or show as something else.
    """
    what = called(request, parsed)
    if what is _NOT_CALLED:
        return b""
    method, name, is_claimed = what
    return _encode_called(method and method[:LONGEST_LOGGED], name and name[:LONGEST_LOGGED], is_claimed)


@lru_cache(maxsize=2048)
def _encode_called(method: str | None, name: str | None, is_claimed: bool | None) -> bytes:  # noqa: FBT001 - cached
    encoded = _CLAIMED if is_claimed else b""
    for key, text in ((MCP_METHOD, method), (MCP_NAME, name)):
        if text:
            value = _loggable(text).encode()
            encoded += _before_value(key, len(value)) + value
    return encoded


def _loggable(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if is_displayable(character) else "\ufffd" for character in text)


def encode_allowed(
    claims: AccessClaims,
    service: str,
    lookalikes: Iterable[str] = (),
    names: Names = USUAL_NAMES,
    assertion: str = "",
) -> AllowResponse:
    """Return a `CheckResponse` that allows the request with the identity of `claims`, without its token.

    `assertion` is the signed identity (`oauth_core.tokens.service_assertions`), if the service requires it.
    """
    headers = names.headers
    identity = {
        headers.user_id: _header_text(claims.sub),
        headers.user_name: _header_text(claims.github_user or ""),  # a machine client has none
        headers.client_id: _header_text(claims.client_id),
        headers.scope: " ".join(_header_text(scope) for scope in claims.scope.split(" ") if scope),
        headers.groups: ",".join(map(_group_text, claims.groups)),
        headers.assertion: assertion,
    }
    present = {name: value for name, value in identity.items() if name and value}
    removed = [AUTHORIZATION]
    # Envoy ignores an empty value, and the caller's own would stay: so the name must be removed.
    removed += [name for name in names.guarded if name not in present]
    # Envoy lower-cases the names it removes: the upper-case form of an identity header would remove our value.
    removed += [name for name in lookalikes if name.lower() not in names.ours]
    encoded = pb.CheckResponse(
        status=Status(code=code_pb2.OK),
        ok_response=pb.OkHttpResponse(
            # The time comes first, so that its position does not depend on the other values.
            headers=[
                overwrite(LIFE, _LIFE_UNSAID.decode()),
                *(overwrite(name, value) for name, value in present.items()),
            ],
            headers_to_remove=removed,
        ),
        dynamic_metadata=_metadata("allowed", None, claims, service),
    ).SerializeToString()
    before, _, after = encoded.partition(_LIFE_UNSAID)
    return AllowResponse(before, after)


def encode_continued(decision: str) -> bytes:
    """Return a `CheckResponse` that lets the request continue unchanged to the next check, named by `decision`."""
    return pb.CheckResponse(
        status=Status(code=code_pb2.OK),
        ok_response=pb.OkHttpResponse(),
        dynamic_metadata=_metadata(decision, None, None, None),
    ).SerializeToString()


def encode_request_id(text: str) -> bytes:
    """Return metadata with the id of the request, for later answers by Envoy itself: bytes to append to an answer.

    `text` is JSON, and ASCII, since Envoy puts it into a body unchanged. It has its own key beside `METADATA`,
    because Envoy merges the metadata of several answers key by key.
    """
    return _before_value(REQUEST_ID, len(text)) + text.encode()


@lru_cache(maxsize=8192)
def _before_value(key: str, length: int) -> bytes:
    """Return a message with one text of `length` bytes as metadata, without this text, which comes last."""
    value = Value(string_value="0" * length)
    message = pb.CheckResponse(dynamic_metadata=Struct(fields={key: value})).SerializeToString()
    return message[: len(message) - length]


@lru_cache(maxsize=2048)
def encode_session(session: OpenedSession) -> bytes:
    """Return the headers that translate the session between client and service: bytes to append to an answer.

    Some services repeat the id in every answer, and some clients take the id from any answer. Cached, because a
    session has many requests.
    """
    return pb.CheckResponse(
        ok_response=pb.OkHttpResponse(
            headers=[overwrite(SESSION_ID, session.session_id)],
            response_headers_to_add=[
                pb.HeaderValueOption(
                    header=pb.HeaderValue(key=SESSION_ID, value=session.sealed),
                    append_action=pb.HeaderValueOption.OVERWRITE_IF_EXISTS,
                )
            ],
        )
    ).SerializeToString()


_CLAIMED = pb.CheckResponse(
    dynamic_metadata=Struct(fields={MCP_CLAIMED: Value(bool_value=True)})
).SerializeToString()


def encode_refused(response: DenyResponse) -> bytes:
    """Return a `CheckResponse` that makes Envoy send `response` to the caller; `encode_metadata` may follow it.

    It is always a denial, also for failures of this service: Envoy can be configured to let an `error_response`
    through.
    """
    return pb.CheckResponse(
        status=Status(code=_GRPC_CODES[response.status]),
        denied_response=pb.DeniedHttpResponse(
            status=pb.HttpStatus(code=pb.StatusCode.Name(response.status)),
            headers=[overwrite(name, value) for name, value in response.headers],
            body=response.body,
        ),
    ).SerializeToString()


def encode_metadata(reason: str, claims: AccessClaims | None, service: str | None) -> bytes:
    """Return the metadata of a refusal for Envoy's access log: bytes to append to those of `encode_refused`.

    The encodings of two messages, one after the other, are the encoding of both in one.
    """
    if claims is None:
        return _anonymous_metadata(reason, service)
    return pb.CheckResponse(dynamic_metadata=_metadata("denied", reason, claims, service)).SerializeToString()


@lru_cache(maxsize=1024)
def _anonymous_metadata(reason: str, service: str | None) -> bytes:
    """Cached, because few are distinct and a flood repeats them."""
    return pb.CheckResponse(dynamic_metadata=_metadata("denied", reason, None, service)).SerializeToString()


def _metadata(decision: str, reason: str | None, claims: AccessClaims | None, service: str | None) -> Struct:
    texts = {"decision": decision, "reason": reason, "service": service}
    if claims is not None:
        texts |= {"user": claims.github_user, "user_id": claims.sub, "client_id": claims.client_id}
    fields = {name: Value(string_value=text) for name, text in texts.items() if text}
    return Struct(fields={METADATA: Value(struct_value=Struct(fields=fields))})


def _credentials(
    http: pb.AttributeContext.HttpRequest, names: Names, *, is_raw: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return every value named `authorization`, and every name that could be mistaken for an identity header.

    Envoy uses one of two fields, depending on its configuration. If both are used, both count.
    """
    headers = http.headers
    # Most headers are not needed: a value becomes a Python object only if it is.
    lookalikes = [name for name in headers if len(name) in names.lengths and names.is_lookalike(name)]
    credentials = headers.get(AUTHORIZATION)
    authorization = [] if credentials is None else [credentials]
    if is_raw:
        for header in http.header_map.headers:
            name = header.key
            if name == AUTHORIZATION:
                # Latin-1 gives every byte a character, and changes none that a token may contain.
                authorization.append(header.raw_value.decode("latin-1") if header.raw_value else header.value)
            elif len(name) in names.lengths and names.is_lookalike(name):
                lookalikes.append(name)
    return tuple(authorization), tuple(lookalikes)


def _address(address: pb.Address) -> str | None:
    if address.HasField("socket_address"):
        return address.socket_address.address
    return address.pipe.path if address.HasField("pipe") else None


def _source(
    http: pb.AttributeContext.HttpRequest, peer: pb.AttributeContext.Peer, trusted_proxies: int
) -> tuple[str | None, str | None]:
    """Return the caller's address, and that of a proxy before Envoy, if the address is from a header.

    It is from Envoy, or behind proxies from a form of entry that Envoy does not parse: in `X-Forwarded-For` some
    clouds write an address with a port. Envoy does not accept it, and reports the proxy, which it has appended to
    the header.
    """
    if trusted_proxies:
        entries = http.headers.get("x-forwarded-for", "").split(",")
        named = read_address(entries[-1 - trusted_proxies]) if len(entries) > trusted_proxies else None
        if named is not None:
            proxy = _address(peer.address)
            return str(named), None if proxy == str(named) else proxy
    return _address(peer.address), None


def _header_text(value: str) -> str:
    """Return `value` as a header value. Other characters are percent-encoded, so no two values look alike."""
    return quote(value, safe=_PLAIN)


def _group_text(group: str) -> str:
    """Return `group` as `_header_text` does, without the comma that separates groups."""
    return _header_text(group).replace(",", "%2C")


def overwrite(name: str, value: str) -> pb.HeaderValueOption:
    """Return the header `name` with this value in place of any other."""
    return pb.HeaderValueOption(
        header=pb.HeaderValue(key=name, value=value),
        append_action=pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
