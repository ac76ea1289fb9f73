"""The wire: Envoy's message to our request, our decision to Envoy's message, and nothing else knows either.

It is also the only place where identity headers are removed and set. Three rules hold there. A name we set is
overwritten, so what the caller sent under it is gone. A name we have no value for is removed. And a name that
a server behind us could read as one of ours (`X_User_Id` becomes `HTTP_X_USER_ID` in CGI and WSGI, and so does
`X-User-Id`) is removed too. Envoy applies removals last, so a name is never in both lists.
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
from oauth_core.limits.rate_limits import read_address
from oauth_core.policy.mcp_request import Message
from oauth_core.settings.identity_headers import IdentityHeaders

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from oauth_core.model import AccessClaims
    from oauth_core.policy.refusals import Refusal

ROUTE_SERVICE = "portcullis.service"
"""Context extension by which a route says which service it leads to."""

PARTIAL_BODY = "x-envoy-auth-partial-body"
"""Envoy says with it whether the body that it sent to the check is only the beginning."""

AUTHORIZATION = "authorization"
METADATA = "portcullis"
"""Where Envoy's access log and rate limits find what was decided: below `envoy.filters.http.ext_authz`."""

REQUEST_ID = "portcullis.request_id"
"""Beside it: the id of the JSON-RPC request, as JSON."""

LIFE = "x-envoy-upstream-rq-timeout-ms"
"""Makes Envoy end a response that still goes on when so many milliseconds are over."""
_LIFE_UNSAID = b"00000000"
_LONGEST_LIFE = 86_400

_SEPARATORS = re.compile(r"[^a-z0-9]")
# Printable ASCII but for the space, whose ends HTTP trims, and the percent sign, which starts an escape.
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")

_GRPC_CODES = {
    400: code_pb2.INVALID_ARGUMENT,
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    405: code_pb2.INVALID_ARGUMENT,
    413: code_pb2.RESOURCE_EXHAUSTED,
    415: code_pb2.INVALID_ARGUMENT,
    503: code_pb2.UNAVAILABLE,
}


class Names:
    """The header names that name the caller to a service. A caller that sets one of them could be any person."""

    def __init__(self, headers: IdentityHeaders, *, trusted_proxies: int = 0) -> None:
        """`trusted_proxies` stand before Envoy and name the caller in `X-Forwarded-For`."""
        self.headers = headers
        self.trusted_proxies = trusted_proxies
        self.guarded = headers.guarded
        self.ours = frozenset({AUTHORIZATION, *self.guarded})
        self.lengths = frozenset(map(len, self.ours))

    def is_lookalike(self, name: str) -> bool:
        """Whether `name` is none of ours, but could be read as one."""
        return name not in self.ours and _SEPARATORS.sub("-", name.lower()) in self.ours


USUAL_NAMES = Names(IdentityHeaders())


@lru_cache(maxsize=4096)
def _life(seconds: int) -> bytes:
    """So many seconds in milliseconds, in as many bytes as `_LIFE_UNSAID`."""
    return b"%08d" % (max(1, min(seconds, _LONGEST_LIFE)) * 1000)


class AllowResponse(NamedTuple):
    """An encoded `CheckResponse` that lets a request through, in two parts around how long it may take."""

    before: bytes
    after: bytes

    def lasting(self, seconds: int) -> bytes:
        """The whole, for a response that must end after so many seconds, one at least and a day at most."""
        return self.before + _life(seconds) + self.after


_NONE: Mapping[str, str] = {}


class IncomingRequest(NamedTuple):
    """What a decision needs to know about an HTTP request.

    `path` has no query. `authorization` holds every value that came under that name, and `lookalikes` the names,
    as sent, of headers that could be mistaken for ours. `routed_as` is what the route says of itself. `http` is
    the request as it came, for those few of which the body matters; `peer` is the caller's end of the connection,
    for those whose token is bound to a certificate. `extensions` are what the route says to the check.
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


def decode(message: bytes, names: Names = USUAL_NAMES) -> IncomingRequest | None:
    """The request inside the bytes of a `CheckRequest`; `None` when they are not one about an HTTP request."""
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
    authorization, lookalikes = _credentials(http, names)
    extensions = attributes.context_extensions
    return IncomingRequest(
        method,
        host,
        path,
        f"{query}&{http.query}" if http.query else query,
        authorization,
        lookalikes,
        extensions.get(ROUTE_SERVICE),
        _source(http, peer, names.trusted_proxies),
        http.id or None,
        http,
        peer,
        extensions,
    )


def message_of(request: IncomingRequest) -> Message:
    """What `request` carries, for those that must know what it asks.

    Only `raw_body` counts: in `body` Envoy replaces what is not UTF-8, so we would read what was not sent.
    """
    if request.http is None:
        return Message(request.method, {}, b"")
    headers = dict(request.http.headers)
    for header in request.http.header_map.headers:
        # As Envoy joins them in the other field: two values make one that agrees with nothing.
        value = header.raw_value.decode("latin-1") if header.raw_value else header.value
        headers[header.key] = f"{headers[header.key]},{value}" if header.key in headers else value
    partial = headers.get(PARTIAL_BODY, "false") != "false"
    return Message(request.method, headers, request.http.raw_body, partial)


def encode_allowed(
    claims: AccessClaims,
    service: str,
    lookalikes: Iterable[str] = (),
    names: Names = USUAL_NAMES,
    assertion: str = "",
) -> AllowResponse:
    """A `CheckResponse` that lets the request through as the one `claims` describe, without its token.

    `assertion` is the signed form of the identity (`oauth_core.tokens.service_assertions`), if the service wants
    it.
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
    # Envoy ignores an empty value, and the caller's own would stay: there it must be removed instead.
    removed += [name for name in names.guarded if name not in present]
    # Envoy lower-cases what it removes: an upper-case spelling of our own name would remove what we set.
    removed += [name for name in lookalikes if name.lower() not in names.ours]
    encoded = pb.CheckResponse(
        status=Status(code=code_pb2.OK),
        ok_response=pb.OkHttpResponse(
            # The life comes first, so that its place is found whatever the others say.
            headers=[
                _overwrite(LIFE, _LIFE_UNSAID.decode()),
                *(_overwrite(name, value) for name, value in present.items()),
            ],
            headers_to_remove=removed,
        ),
        dynamic_metadata=_metadata("allowed", None, claims, service),
    ).SerializeToString()
    before, _, after = encoded.partition(_LIFE_UNSAID)
    return AllowResponse(before, after)


def encode_continued(decision: str) -> bytes:
    """A `CheckResponse` that lets the request go on to the next check as it is; `decision` says to which."""
    return pb.CheckResponse(
        status=Status(code=code_pb2.OK),
        ok_response=pb.OkHttpResponse(),
        dynamic_metadata=_metadata(decision, None, None, None),
    ).SerializeToString()


def encode_request_id(text: str) -> bytes:
    """Metadata with the id of the request, for what Envoy answers later by itself: bytes to put after an answer.

    `text` is JSON, since Envoy puts it into a body as it is. It has a key of its own beside `METADATA`, because
    Envoy merges the metadata of several answers key by key.
    """
    return pb.CheckResponse(
        dynamic_metadata=Struct(fields={REQUEST_ID: Value(string_value=text)})
    ).SerializeToString()


def encode_refused(refusal: Refusal) -> bytes:
    """A `CheckResponse` that makes Envoy answer the caller with `refusal`; `encode_metadata` may follow it.

    Always a denial, also for our own failures: Envoy lets an `error_response` through when it is told to.
    """
    return pb.CheckResponse(
        status=Status(code=_GRPC_CODES[refusal.status]),
        denied_response=pb.DeniedHttpResponse(
            status=pb.HttpStatus(code=pb.StatusCode.Name(refusal.status)),
            headers=[_overwrite(name, value) for name, value in refusal.headers],
            body=refusal.body,
        ),
    ).SerializeToString()


def encode_metadata(reason: str, claims: AccessClaims | None, service: str | None) -> bytes:
    """What a refusal tells Envoy's access log: bytes to put after those of `encode_refused`.

    The encodings of two messages, one after the other, are the encoding of both in one.
    """
    if claims is None:
        return _nobodys_metadata(reason, service)
    return pb.CheckResponse(dynamic_metadata=_metadata("denied", reason, claims, service)).SerializeToString()


@lru_cache(maxsize=1024)
def _nobodys_metadata(reason: str, service: str | None) -> bytes:
    """Few are distinct, and a flood asks for them again and again."""
    return pb.CheckResponse(dynamic_metadata=_metadata("denied", reason, None, service)).SerializeToString()


def _metadata(decision: str, reason: str | None, claims: AccessClaims | None, service: str | None) -> Struct:
    texts = {"decision": decision, "reason": reason, "service": service}
    if claims is not None:
        texts |= {"user": claims.github_user, "user_id": claims.sub, "client_id": claims.client_id}
    fields = {name: Value(string_value=text) for name, text in texts.items() if text}
    return Struct(fields={METADATA: Value(struct_value=Struct(fields=fields))})


def _credentials(http: pb.AttributeContext.HttpRequest, names: Names) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Every value named `authorization`, and every name that could be mistaken for one of ours.

    Envoy uses one of two fields, as it is configured. If both are used, both count.
    """
    headers = http.headers
    # Most headers are of no interest: a value is made a Python object only where it is wanted.
    lookalikes = [name for name in headers if len(name) in names.lengths and names.is_lookalike(name)]
    credentials = headers.get(AUTHORIZATION)
    authorization = [] if credentials is None else [credentials]
    if http.HasField("header_map"):
        for header in http.header_map.headers:
            name = header.key
            if name == AUTHORIZATION:
                # Latin-1 gives every byte a character, and none that a token may contain changes.
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
) -> str | None:
    """The caller's address: what Envoy says, or behind proxies what they say in words that Envoy does not read.

    Envoy takes an address with a port in `X-Forwarded-For`, as some clouds write it, for none and names the proxy.
    It has added that proxy at the end of the header.
    """
    if trusted_proxies:
        entries = http.headers.get("x-forwarded-for", "").split(",")
        named = read_address(entries[-1 - trusted_proxies]) if len(entries) > trusted_proxies else None
        if named is not None:
            return str(named)
    return _address(peer.address)


def _header_text(value: str) -> str:
    """`value` as it can stand in a header: what is not plain is percent-encoded, so no two values look alike."""
    return quote(value, safe=_PLAIN)


def _group_text(group: str) -> str:
    """As `_header_text`, and no comma, which parts one group from the next."""
    return _header_text(group).replace(",", "%2C")


def _overwrite(name: str, value: str) -> pb.HeaderValueOption:
    return pb.HeaderValueOption(
        header=pb.HeaderValue(key=name, value=value),
        append_action=pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
