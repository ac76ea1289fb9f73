"""Reads what an MCP request asks for, from its body, so that no service can read it in another way.

Two JSON readers can read some texts differently, and those texts are refused here: a service may be written in any
language, and some readers are lenient about repeated members, the case of names, stray bytes or data after the
value. The headers `Mcp-Method` and `Mcp-Name` are not trusted, but if present they must agree with the body,
because programs between may act on them.

`jsonrpc_limits` has the limits of a body.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from oauth_core import strict_json
from oauth_core.display_text import has_short_runs_of_marks, has_something_to_see, is_displayable
from oauth_core.policy.argument_rules import ANY_ARGUMENTS
from oauth_core.policy.jsonrpc_limits import (
    DEEPEST,
    LONGEST_INTEGER,
    LONGEST_METHOD,
    LONGEST_NAME,
    MOST_URIS,
    MOST_WAYS_TOGETHER,
)
from oauth_core.policy.resource_uris import canonical, ways_to_read
from oauth_core.refusals import DenyFault, DenyReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oauth_core.policy.argument_rules import AnyArguments

_ID_TYPES = (int, str)
"""Not a boolean, which is an `int` too."""
_ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_LONGEST_FOLDED = 128
"""Characters of a name that could be folded into one that MCP defines."""
_METHOD = re.compile(rf"[!#-\[\]-~]{{1,{LONGEST_METHOD}}}\Z")
"""Visible ASCII: some programs trim blanks or fold other letters, and would read the name of another method."""
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*+"'
_PARAMETER = re.compile(rf"[ \t]*+;[ \t]*+(?:({_TOKEN})=({_TOKEN}|{_QUOTED}))?+")
"""A parameter of a media type (RFC 9110 section 5.6.6), which may be empty."""

_MEDIA_TYPE = re.compile(rf"(application/json)((?:{_PARAMETER.pattern})*+)[ \t]*+\Z", re.IGNORECASE)
_UTF_8 = frozenset({"utf-8", '"utf-8"', "utf8", '"utf8"'})
_ENCODED_WORD = re.compile(r"=\?base64\?([A-Za-z0-9+/=]*)\?=\Z")
_JSON = strict_json.Reader(deepest=DEEPEST, longest_integer=LONGEST_INTEGER)
_JSON_WITH_ARGUMENTS = strict_json.Reader(deepest=DEEPEST, longest_integer=LONGEST_INTEGER, keeps_text=True)

_WITH_ARGUMENTS = frozenset({"tools/call", "prompts/get"})

_USUAL_MEMBERS = frozenset(
    {"_meta", "argument", "arguments", "context", "cursor", "name", "ref", "task", "type", "uri"}
)
"""Members of which no program reads one as another."""

LISTEN = "subscriptions/listen"
"""Opens a stream of notifications with a POST (revision 2026-07-28)."""


class NameKind(Enum):
    """The kind of the name in a request."""

    TOOL = "tool"
    PROMPT = "prompt"
    RESOURCE = "resource"


class CallFault(DenyFault):
    """Why a request cannot be read."""

    MISSING = DenyReason.BODY_MISSING
    """The caller sent no body."""
    NOT_SENT = DenyReason.BODY_NOT_SENT
    """The caller sent a body, and Envoy did not pass it to the check: `with_request_body` is not configured."""
    PARTIAL = DenyReason.BODY_PARTIAL
    ENCODED = DenyReason.BODY_ENCODED
    NOT_JSON = DenyReason.BODY_NOT_JSON
    """Its `Content-Type` is another type."""
    UNREADABLE = DenyReason.BODY_UNREADABLE
    """Not JSON with one meaning."""
    BATCH = DenyReason.BODY_BATCH
    NOT_A_MESSAGE = DenyReason.BODY_NOT_A_MESSAGE
    """JSON, but no JSON-RPC 2.0 message as MCP defines it."""
    INVALID_PARAMS = DenyReason.PARAMS_INVALID
    """A message whose `params` MCP does not define for its method, or that a service could read in another way."""
    AMBIGUOUS_NAME = DenyReason.AMBIGUOUS_NAME
    """A name that a service could read as another name."""
    AMBIGUOUS_ARGUMENTS = DenyReason.AMBIGUOUS_ARGUMENTS
    """Arguments that a service could read as others, where rules depend on them."""
    HEADER_MISMATCH = DenyReason.HEADER_MISMATCH
    WRONG_METHOD = DenyReason.WRONG_HTTP_METHOD


class Session(Enum):
    """Requests that call no method: for the stream of a session, for its end, and answers to the server."""

    STREAM = "stream"
    END = "end"
    ANSWER = "answer"


class Call(NamedTuple):
    """A request or notification: its method, and the names that it uses.

    `kind` is set where the method takes a name; there `name` is `None` when the request leaves it out, an error
    that the service answers. `uris` are the resources in a `subscriptions/listen`, or in a reference of an unknown
    kind. `names_more` is true if it contains another name, for which no rule exists. `arguments` are those of a
    `tools/call` or `prompts/get` at a service whose rules depend on them, and `None` everywhere else. With
    `ANY_ARGUMENTS` the call stands for all calls of this name: a list shows what some arguments would allow.
    """

    method: str
    kind: NameKind | None = None
    name: str | None = None
    uris: tuple[str, ...] = ()
    names_more: bool = False
    arguments: Mapping[str, object] | AnyArguments | None = None


class Message(NamedTuple):
    """The HTTP request as the check received it. Header names are lower case; `body` is what was sent."""

    http_method: str
    headers: Mapping[str, str]
    body: bytes
    is_partial: bool = False


def parse_request(message: Message, *, with_arguments: bool = False) -> Session | Call | CallFault:
    """Parse `message` into a session request or an MCP call; returns a `CallFault` if it is not valid.

    `with_arguments` keeps the arguments of calls, for services whose rules depend on them.
    """
    headers = message.headers
    match message.http_method:
        case "POST":
            return _fault_of_form(message) or _read_body(message.body, headers, with_arguments=with_arguments)
        case "GET" | "HEAD" | "DELETE":
            # A service that reads a body here too would read data that the check does not.
            if message.body or message.is_partial or headers.get("content-length", "0") != "0":
                return CallFault.WRONG_METHOD
            return Session.END if message.http_method == "DELETE" else Session.STREAM
        case _:
            return CallFault.WRONG_METHOD


def _fault_of_form(message: Message) -> CallFault | None:
    if message.is_partial:
        return CallFault.PARTIAL
    encoding = message.headers.get("content-encoding")
    if encoding is not None and encoding.lower() != "identity":
        return CallFault.ENCODED
    if not message.body:
        sent = "transfer-encoding" in message.headers or message.headers.get("content-length", "0").strip("0")
        return CallFault.NOT_SENT if sent else CallFault.MISSING
    content_type = message.headers.get("content-type", "")
    if content_type != "application/json" and not _is_json(content_type):
        return CallFault.NOT_JSON
    length = message.headers.get("content-length")
    return CallFault.PARTIAL if length is not None and length != str(len(message.body)) else None


def _is_json(content_type: str) -> bool:
    """Whether a body of this type is JSON in UTF-8 (RFC 9110 section 8.3.1, RFC 8259 section 8.1).

    Other parameters mean nothing to JSON. None may look like another `charset` to a program that splits the value
    at each semicolon: it would decode the same bytes to another text.
    """
    found = _MEDIA_TYPE.match(content_type)
    if found is None:
        return False
    for name, value in _PARAMETER.findall(found[2].lower()):
        if name == "charset":
            if value not in _UTF_8:
                return False
        elif "charset" in name or "charset" in value:
            return False
    return True


def _read_body(body: bytes, headers: Mapping[str, str], *, with_arguments: bool) -> Session | Call | CallFault:
    try:
        value = (_JSON_WITH_ARGUMENTS if with_arguments else _JSON).parse(body)
    except strict_json.TextError:
        return CallFault.NOT_A_MESSAGE  # it is JSON (RFC 8259 section 8.2), but not one that all programs can read
    except ValueError:
        return CallFault.UNREADABLE
    if isinstance(value, list):
        return CallFault.BATCH
    if not isinstance(value, dict) or not _ENVELOPE.issuperset(value) or value.get("jsonrpc") != "2.0":
        return CallFault.NOT_A_MESSAGE
    if "id" in value and type(value["id"]) not in _ID_TYPES:
        return CallFault.NOT_A_MESSAGE
    if "method" not in value:
        return _read_answer(value, headers)
    if "result" in value or "error" in value:
        return CallFault.NOT_A_MESSAGE
    call = _read_call(value)
    if with_arguments and isinstance(call, Call):
        call = _with_arguments(call, value)
    if isinstance(call, CallFault):
        return call
    return call if _agrees(call, value, headers) else CallFault.HEADER_MISMATCH


def _read_answer(value: dict[str, object], headers: Mapping[str, str]) -> Session | CallFault:
    if "params" in value or ("result" in value) == ("error" in value):
        return CallFault.NOT_A_MESSAGE
    if "mcp-method" in headers or "mcp-name" in headers:
        return CallFault.HEADER_MISMATCH
    return Session.ANSWER


def _read_call(value: dict[str, object]) -> Call | CallFault:
    method, params = value["method"], value.get("params", {})
    # Some services read null as no params, and others refuse it: JSON-RPC 2.0 section 4.2 has no such value.
    if not isinstance(method, str) or not _METHOD.match(method) or not isinstance(params, dict | list):
        return CallFault.NOT_A_MESSAGE
    if not isinstance(params, dict):
        return CallFault.INVALID_PARAMS  # JSON-RPC allows a list, and MCP names its params
    match method:
        case "tools/call":
            return _named(method, NameKind.TOOL, params, "name")
        case "prompts/get":
            return _named(method, NameKind.PROMPT, params, "name")
        case "resources/read" | "resources/subscribe" | "resources/unsubscribe":
            return _named(method, NameKind.RESOURCE, params, "uri")
        case "completion/complete":
            return _read_reference(method, params)
        case "subscriptions/listen":
            return _read_subscription(method, params)
        case _:
            return Call(method)


def _with_arguments(call: Call, value: dict[str, object]) -> Call | CallFault:
    """`call` with its arguments, if its method takes some."""
    if call.method not in _WITH_ARGUMENTS:
        return call
    params = value.get("params")
    params = params if isinstance(params, dict) else {}
    arguments = params.get("arguments")
    arguments = {} if arguments is None else arguments  # as when they are left out
    if not _is_spelled_once(params, "arguments") or not isinstance(arguments, dict):
        return CallFault.AMBIGUOUS_ARGUMENTS  # some languages read a list as an object
    return call._replace(arguments=arguments)


def _read_reference(method: str, params: dict[str, object]) -> Call | CallFault:
    """The subject of a completion: a prompt or a (template of a) resource."""
    reference = params.get("ref")
    if not _is_spelled_once(params, "ref"):
        return CallFault.INVALID_PARAMS
    if reference is None:
        return Call(method, NameKind.PROMPT)
    if not isinstance(reference, dict):
        return CallFault.INVALID_PARAMS
    if not _is_spelled_once(reference, "type"):
        return CallFault.INVALID_PARAMS
    match reference.get("type"):
        case "ref/prompt":
            return _named(method, NameKind.PROMPT, reference, "name")
        case "ref/resource":
            return _named(method, NameKind.RESOURCE, reference, "uri")
        case _:
            return _of_unknown_kind(method, reference)


def _of_unknown_kind(method: str, reference: dict[str, object]) -> Call | CallFault:
    """A reference of a kind that MCP does not define, an error that the service answers.

    A lenient service may use its name or its URI anyway, so each is evaluated as if it were of its kind. For other
    members there is no rule.
    """
    prompt = _named(method, NameKind.PROMPT, reference, "name")
    resource = _named(method, NameKind.RESOURCE, reference, "uri")
    if isinstance(prompt, CallFault) or isinstance(resource, CallFault):
        return CallFault.INVALID_PARAMS
    uris = () if resource.name is None else (resource.name,)
    return Call(method, NameKind.PROMPT, prompt.name, uris, names_more=bool(reference.keys() - {"type"}))


def _named(method: str, kind: NameKind, members: dict[str, object], member: str) -> Call | CallFault:
    name = members.get(member)
    if not _is_spelled_once(members, member):
        return CallFault.INVALID_PARAMS
    if member not in members:
        return Call(method, kind)
    if not isinstance(name, str):  # some languages convert a list or a number to text
        return CallFault.INVALID_PARAMS
    if not 0 < len(name) <= LONGEST_NAME or not _is_plain(kind, name):
        return CallFault.AMBIGUOUS_NAME
    return Call(method, kind, name)


def call_of(kind: NameKind, name: str) -> Call | CallFault:
    """The call that uses the tool, prompt or resource `name`, as `parse_request` reads it, with any arguments."""
    if kind is NameKind.RESOURCE:
        return _named("resources/read", kind, {"uri": name}, "uri")
    method = "tools/call" if kind is NameKind.TOOL else "prompts/get"
    call = _named(method, kind, {"name": name}, "name")
    return call._replace(arguments=ANY_ARGUMENTS) if isinstance(call, Call) else call


def _read_subscription(method: str, params: dict[str, object]) -> Call | CallFault:
    """The subject of a stream of notifications. Extensions add members, and these may contain names too."""
    wanted = params.get("notifications")
    wanted = {} if wanted is None else wanted
    if not _is_spelled_once(params, "notifications") or not isinstance(wanted, dict):
        return CallFault.INVALID_PARAMS
    uris = wanted.get("resourceSubscriptions") or []
    if not _is_spelled_once(wanted, "resourceSubscriptions") or not isinstance(uris, list):
        return CallFault.INVALID_PARAMS
    if len(uris) > MOST_URIS or not all(isinstance(uri, str) for uri in uris):
        return CallFault.INVALID_PARAMS
    forms = [canonical(uri) for uri in uris]
    if (
        sum(MOST_WAYS_TOGETHER if form is None else ways_to_read(form) for form in forms) > MOST_WAYS_TOGETHER
        or None in forms
    ):
        return CallFault.AMBIGUOUS_NAME
    others = [value for name, value in wanted.items() if name != "resourceSubscriptions"]
    others += [value for name, value in params.items() if name not in {"notifications", "_meta"}]
    names_more = any(not isinstance(value, bool | None) for value in others)
    return Call(method, uris=tuple(dict.fromkeys(uris)), names_more=names_more)


def _is_spelled_once(members: dict[str, object], member: str) -> bool:
    """Whether no other member could be read as `member`: Go ignores case, and C stops at a NUL."""
    if members.keys() <= _USUAL_MEMBERS:
        return True
    wanted = member.lower()
    return not any(name != member and _folded(name.partition("\0")[0].strip()) == wanted for name in members)


def _folded(name: str) -> str:
    if name.isascii():
        return name.lower()
    # Folding a long run of combining marks takes quadratic time, and makes no short name of a long one.
    return unicodedata.normalize("NFKC", name).casefold().strip() if len(name) <= _LONGEST_FOLDED else name


def _is_plain(kind: NameKind, name: str) -> bool:
    if kind is NameKind.RESOURCE:
        return canonical(name) is not None
    if name.isascii():
        return name.isprintable() and name == name.strip()
    is_shown = is_displayable(name) and has_something_to_see(name) and has_short_runs_of_marks(name)
    return is_shown and name == name.strip() and unicodedata.normalize("NFKC", name) == name


def _agrees(call: Call, value: dict[str, object], headers: Mapping[str, str]) -> bool:
    """Whether the headers with method and name agree with the body."""
    if headers.get("mcp-method", call.method) != call.method:
        return False
    header = headers.get("mcp-name")
    if header is None:
        return True
    name = call.name
    params = value.get("params")
    if name is None and call.method.startswith("tasks/") and isinstance(params, dict):
        task = params.get("taskId")
        name = task if isinstance(task, str) and _is_spelled_once(params, "taskId") else None
    return name is not None and decoded_name(header) == name


def read_arguments(text: str) -> Mapping[str, object]:
    """The arguments in `text`, an object of JSON, as a call has them. Raises `ValueError` if it is not valid."""
    value = _JSON_WITH_ARGUMENTS.parse(text.encode("utf-8", "surrogatepass"))
    if not isinstance(value, dict):
        raise ValueError("arguments are an object of JSON")  # noqa: TRY004 - the value, not the type, is wrong
    return value


def decoded_name(header: str) -> str | None:
    """The text of `Mcp-Name`, which is base64 between `=?base64?` and `?=` when it is not plain ASCII."""
    encoded = _ENCODED_WORD.match(header)
    if encoded is None:
        return header
    try:
        return base64.b64decode(encoded[1], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
