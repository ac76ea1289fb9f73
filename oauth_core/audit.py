"""Audit events: their kinds and fields, and the one form in which an event is stored (version 1).

A stored event is one line of JSON: `v`, `time`, `event` and `outcome`, then the fields of `AuditEvent` that apply.
`docs/generated/audit-events.md` and `audit-event.schema.json` are made from this module. An event has no secret:
no token, no code and no client secret, only their identifiers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from json.encoder import encode_basestring_ascii as quoted
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from oauth_core.model import AccessClaims, Grant, User

LONGEST_LOGGED = 256
"""Characters of a caller's text that are kept in the audit log."""

LONGEST_REASON = 1024
"""Characters of a reason. A reason may repeat the text of a caller, such as the fault in it."""

FORMAT = 1
"""The version of the form of stored events, their member `v`."""


class NotRecordedError(Exception):
    """An event could not be stored, so the action that it records must not happen. The message says why."""


class Outcome(StrEnum):
    """How an action ended. Each kind of event has one; `INTENT` is that of a line before the action."""

    ALLOWED = "allowed"
    DENIED = "denied"
    SUCCESS = "success"
    FAILURE = "failure"
    INTENT = "intent"


class EventKind(StrEnum):
    """Stable names: dashboards and alert rules depend on them. `outcome` and `meaning` are their row here."""

    outcome: Outcome
    meaning: str

    def __new__(cls, name: str, outcome: Outcome, meaning: str) -> EventKind:
        """The kind `name`."""
        self = str.__new__(cls, name)
        self._value_ = name
        self.outcome = outcome
        self.meaning = meaning
        return self

    CLIENT_REGISTERED = "client.registered", Outcome.SUCCESS, "A client was registered."
    CLIENT_REGISTRATION_REFUSED = (
        "client.registration_refused",
        Outcome.DENIED,
        "A registration of a client was refused.",
    )
    CLIENT_READ = "client.read", Outcome.SUCCESS, "A client read its own registration."
    CLIENT_UPDATED = "client.updated", Outcome.SUCCESS, "A client's registration was changed."
    CLIENT_DELETED = (
        "client.deleted",
        Outcome.SUCCESS,
        "A client's registration was deleted, and its grants ended.",
    )
    CLIENT_MANAGEMENT_REFUSED = (
        "client.management_refused",
        Outcome.DENIED,
        "A registration token was wrong, or does not allow what was asked.",
    )
    CLIENT_PERMISSIONS_CHANGED = (
        "client.permissions_changed",
        Outcome.SUCCESS,
        "An operator changed what the registration token of a client allows.",
    )
    INITIAL_ACCESS_TOKEN_ISSUED = (
        "initial_access_token.issued",
        Outcome.SUCCESS,
        "An initial access token, the right to register clients, was issued.",
    )
    INITIAL_ACCESS_TOKEN_REVOKED = (
        "initial_access_token.revoked",
        Outcome.SUCCESS,
        "An initial access token was revoked.",
    )
    CLIENT_AUTHENTICATION_FAILED = (
        "client.authentication_failed",
        Outcome.DENIED,
        "A client could not prove its identity.",
    )
    AUTHORIZATION_REFUSED = "authorization.refused", Outcome.DENIED, "An authorization request was refused."
    CONSENT_GIVEN = "consent.given", Outcome.SUCCESS, "A person allowed a client on the consent page."
    CONSENT_DENIED = "consent.denied", Outcome.DENIED, "A person refused a client on the consent page."
    CONSENT_REUSED = (
        "consent.reused",
        Outcome.SUCCESS,
        "A remembered consent was used in place of the consent page.",
    )
    CONSENT_FORGOTTEN = "consent.forgotten", Outcome.SUCCESS, "A person removed a remembered consent."
    MAIL_ADDRESS_CONFIRMED = (
        "mail_address.confirmed",
        Outcome.SUCCESS,
        "A person confirmed a mail address for notices.",
    )
    MAIL_ADDRESS_REMOVED = "mail_address.removed", Outcome.SUCCESS, "The mail address of a person was removed."
    IDENTITY_ASSERTED = "identity.asserted", Outcome.SUCCESS, "A trusted identity provider vouched for a person."
    SIGN_IN_SUCCEEDED = "sign_in.succeeded", Outcome.SUCCESS, "A person signed in."
    SIGN_IN_REFUSED = (
        "sign_in.refused",
        Outcome.DENIED,
        "A person may not sign in, or the answer of the provider was not accepted.",
    )
    SIGN_IN_FAILED = (
        "sign_in.failed",
        Outcome.FAILURE,
        "A sign-in ended without a person, because of the provider or the person.",
    )
    SESSION_STARTED = "session.started", Outcome.SUCCESS, "A browser session began."
    SESSION_ENDED = "session.ended", Outcome.SUCCESS, "A browser session was ended."
    ACCOUNT_FORM_REFUSED = (
        "account.form_refused",
        Outcome.DENIED,
        "A form of the account page was not from this browser's page.",
    )
    DEVICE_STARTED = "device.started", Outcome.SUCCESS, "A device asked for a user code."
    DEVICE_CODE_REFUSED = "device.code_refused", Outcome.DENIED, "A user code was wrong, or too many were tried."
    DEVICE_APPROVED = "device.approved", Outcome.SUCCESS, "A person approved a device."
    DEVICE_DENIED = "device.denied", Outcome.DENIED, "A person refused a device."
    TOKEN_ISSUED = "token.issued", Outcome.SUCCESS, "The first access token of a grant was issued."
    TOKEN_REFRESHED = "token.refreshed", Outcome.SUCCESS, "A further access token of a grant was issued."
    TOKEN_REFUSED = "token.refused", Outcome.DENIED, "A token request was refused."
    TOKEN_REVOKED = "token.revoked", Outcome.SUCCESS, "An access token was revoked."
    CODE_REPLAYED = (
        "code.replayed",
        Outcome.DENIED,
        "An authorization code was used a second time; its grant was ended.",
    )
    REFRESH_REPEATED = (
        "refresh.repeated",
        Outcome.SUCCESS,
        "A refresh token was repeated soon, and answered with the same successor.",
    )
    REFRESH_REPEATED_ELSEWHERE = (
        "refresh.repeated_elsewhere",
        Outcome.SUCCESS,
        "A refresh token was repeated from another address, and answered.",
    )
    REFRESH_REUSED = (
        "refresh.reused",
        Outcome.DENIED,
        "A refresh token was used after its successor had been used.",
    )
    GRANT_CONTINUED = (
        "grant.continued",
        Outcome.SUCCESS,
        "A client took a grant over from one that registered the same metadata.",
    )
    GRANT_REVOKED = "grant.revoked", Outcome.SUCCESS, "A grant and all its tokens were ended."
    GRANT_REGROUPED = (
        "grant.regrouped",
        Outcome.SUCCESS,
        "The groups of a grant were changed to those of its person now.",
    )
    KEY_CREATED = "key.created", Outcome.SUCCESS, "A signing key was made."
    KEY_RETIRED = "key.retired", Outcome.SUCCESS, "A signing key was removed."
    LOGIN_CHANGED_HANDS = (
        "login.changed_hands",
        Outcome.DENIED,
        "Another account has a login that is listed, and was refused.",
    )
    LOGIN_ACCEPTED = (
        "login.accepted",
        Outcome.SUCCESS,
        "An operator accepted the account that has a listed login now.",
    )
    USER_BLOCKED = "user.blocked", Outcome.SUCCESS, "An operator blocked a person, and ended all that they held."
    USER_UNBLOCKED = "user.unblocked", Outcome.SUCCESS, "An operator removed the block of a person."
    USER_REVOKED = "user.revoked", Outcome.SUCCESS, "All grants and tokens of a person were ended."
    USER_NOTIFIED = "user.notified", Outcome.SUCCESS, "A person got a notice about a sign-in from a new country."
    USER_ERASED = (
        "user.erased",
        Outcome.SUCCESS,
        "All access of a person ended, and their profile, notices and mail address were erased.",
    )
    CLIENT_REVOKED = "client.revoked", Outcome.SUCCESS, "All grants and tokens of a client were ended."
    CLIENT_DISABLED = (
        "client.disabled",
        Outcome.SUCCESS,
        "An operator disabled a client, and ended all that it held.",
    )
    CLIENT_ENABLED = "client.enabled", Outcome.SUCCESS, "An operator enabled a disabled client again."
    CLIENT_REFUSED = (
        "client.refused",
        Outcome.DENIED,
        "A disabled client asked for something, or tried to register again.",
    )
    EVERYBODY_REVOKED = "everybody.revoked", Outcome.SUCCESS, "All grants and tokens were ended."
    SERVICE_DISABLED = "service.disabled", Outcome.SUCCESS, "An operator disabled a service."
    SERVICE_ENABLED = "service.enabled", Outcome.SUCCESS, "An operator enabled a service again."
    STATE_BACKED_UP = "state.backed_up", Outcome.SUCCESS, "A backup was made."
    STATE_RESTORED = "state.restored", Outcome.SUCCESS, "A backup was restored."
    STATE_MIGRATED = "state.migrated", Outcome.SUCCESS, "The records in Redis were brought to a newer version."
    RECORDS_ADOPTED = (
        "state.records_adopted",
        Outcome.SUCCESS,
        "Records of an older version got authentication codes.",
    )
    SIGN_INS_PAUSED = "sign_ins.paused", Outcome.SUCCESS, "An operator paused sign-ins."
    SIGN_INS_RESUMED = "sign_ins.resumed", Outcome.SUCCESS, "An operator resumed sign-ins."
    POLICY_CHANGED = "policy.changed", Outcome.SUCCESS, "A changed settings file took effect."
    POLICY_REFUSED = (
        "policy.refused",
        Outcome.FAILURE,
        "A changed settings file cannot be used; the former policy stays.",
    )
    RATE_LIMITED = "rate.limited", Outcome.DENIED, "A request was refused by a limit."
    REQUEST_REFUSED = (
        "request.refused",
        Outcome.DENIED,
        "Envoy refused a request itself, before any check: too large headers, broken HTTP, or overload.",
    )
    AUDIT_INTERRUPTED = (
        "audit.interrupted",
        Outcome.FAILURE,
        "A process could not record for so long that it dropped events; the reason has their number.",
    )
    AUDIT_TREE_STARTED = (
        "audit.tree_started",
        Outcome.SUCCESS,
        "An operator put the sealed tree aside and began a new one with the key of this name.",
    )
    ALERT_SILENCED = (
        "alert.silenced",
        Outcome.SUCCESS,
        "An operator silenced the alerts of a rule for a time; `key` has the id of the silence.",
    )
    ALERT_SILENCE_ENDED = "alert.silence_ended", Outcome.SUCCESS, "An operator ended such a silence."
    ALERT_RESENT = "alert.resent", Outcome.SUCCESS, "An operator had the alert of this id (`key`) sent again."
    AUDIT_CHECKPOINT_CONFLICT = (
        "audit.checkpoint_conflict",
        Outcome.FAILURE,
        "A checkpoint of another node (`key`) contradicts the one that is kept: its record was rolled back.",
    )
    AUDIT_RECORD_REFUSED = (
        "audit.record_refused",
        Outcome.FAILURE,
        "A sink (`key`) refused a record for good; the gateway keeps it in a file, and the reason names it.",
    )
    AUDIT_PRUNED = (
        "audit.pruned",
        Outcome.SUCCESS,
        "Retention deleted old segments of the audit record; the reason names the signed notes.",
    )
    ACCESS_ALLOWED = "access.allowed", Outcome.ALLOWED, "A request to a service was allowed."
    ACCESS_DENIED = "access.denied", Outcome.DENIED, "A request to a service was refused."


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event. Fields that do not apply stay `None` and are left out of the record.

    The text after a field is its meaning in the generated pages. `differs` is the outcome if it is not that of the
    kind: `INTENT` before the action, or `FAILURE` if the action was not done.
    """

    kind: EventKind
    reason: str | None = None
    """Why: of a refusal its name in the table of refusals, else words."""
    client_id: str | None = None
    """The OAuth client."""
    user: str | None = None
    """The login of the person at that time; it can change."""
    user_id: int | None = None
    """The number of the person's account, which never changes."""
    provider: str | None = None
    """Where that account is."""
    operator: str | None = None
    """The account that ran a command, or `detection:` and the rule of an automatic response."""
    service: str | None = None
    """The name of the MCP service."""
    grant_id: str | None = None
    """The grant: one sign-in of one person with one client."""
    jti: str | None = None
    """The identifier of the access token (RFC 7519 section 4.1.7)."""
    key: str | None = None
    """The identifier of a signing key."""
    scope: str | None = None
    """The scopes of the token or consent."""
    method: str | None = None
    """The method of HTTP."""
    path: str | None = None
    """The path of the URL, without the query."""
    call: str | None = None
    """The MCP method and name of a refused request, in words."""
    mcp_method: str | None = None
    """The MCP method."""
    mcp_name: str | None = None
    """The tool, prompt or resource."""
    mcp_claimed: bool | None = None
    """True if method and name are from headers, which the caller could set to anything, not from the body."""
    source: str | None = None
    """The address of the caller."""
    peer: str | None = None
    """The other end of the connection to Envoy, if it is not `source`: a proxy."""
    user_agent: str | None = None
    """The program that the caller says it is."""
    request_id: str | None = None
    """The `x-request-id` that Envoy gave the request and logs too."""
    trace_id: str | None = None
    """The trace in the caller's `traceparent` (W3C Trace Context)."""
    policy_version: str | None = None
    """The digest of the services and roles that decided."""
    count: int | None = None
    """The number of further events of one second, refusals of unknown callers or of a limit, in place of it."""
    differs: Outcome | None = None

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return self.differs or self.kind.outcome


FIELDS = tuple(field.name for field in fields(AuditEvent) if field.name not in {"kind", "differs"})
"""The members of a stored event after `v`, `time`, `event` and `outcome`, in their order."""

_values = attrgetter(*FIELDS)


def members(event: AuditEvent) -> str:
    """Return the fields of `event` that apply, as members of a JSON object, each with a comma before it."""
    return "".join(
        f',"{name}":{_as_json(value)}'
        for name, value in zip(FIELDS, _values(event), strict=True)
        if value is not None
    )


def stored(kind: EventKind, outcome: Outcome, time: str, members: str) -> str:
    """Return the line of an event (version 1), without a line break, in ASCII.

    `time` is in RFC 3339, in UTC, to the microsecond; `members` are those that `members` returns.
    """
    return f'{{"v":{FORMAT},"time":"{time}"{stored_kind(kind, outcome)}{members}}}'


@cache
def stored_kind(kind: EventKind, outcome: Outcome) -> str:
    """Return the members of a stored event for its kind and outcome, with a comma before each."""
    return f',"event":"{kind}","outcome":"{outcome}"'


def repeated(kind: EventKind, reason: str | None, source: str | None, count: int) -> AuditEvent:
    """Return the event in place of `count` others of this kind, reason and source; `None` for any source."""
    return AuditEvent(kind, reason=reason, source=source, count=count)


def _as_json(value: str | int) -> str:
    if isinstance(value, str):
        return quoted(value)
    return ("false", "true")[value] if isinstance(value, bool) else str(value)


class AuditSink(Protocol):
    """Stores audit events. It must not block and must not raise."""

    def record(self, event: AuditEvent) -> None:
        """Store `event` with the present time."""


class Origin(NamedTuple):
    """Where a request is from, as far as that is known."""

    source: str | None = None
    peer: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    trace_id: str | None = None


def no_origin() -> Origin:
    """Return no origin: for programs that serve no requests, such as commands."""
    return Origin()


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace id in a `traceparent` header (W3C Trace Context, section 3.2), or `None`."""
    if not traceparent or len(traceparent) < _TRACEPARENT:
        return None
    trace = traceparent[3:35]
    is_id = traceparent[2] == traceparent[35] == "-" and not trace.strip(_HEXADECIMAL) and trace != _NO_TRACE
    return trace if is_id else None


_TRACEPARENT = 55
_HEXADECIMAL = "0123456789abcdef"
_NO_TRACE = "0" * 32

PROVIDER = "github"
"""The host of people's accounts: every person has an account there."""


class AuditRecorder:
    """Builds every audit event of a program, and passes it to `sink`.

    It is the only caller of the constructor of `AuditEvent`. It fills in the values that all events share: the
    person, the client and the grant, the caller's origin, and the limit for the length of callers' texts.
    `origin` returns where the present request is from. `operator` is the account that runs a command. `counts` are
    the events of this process by kind, for metrics.
    """

    def __init__(
        self, sink: AuditSink, *, origin: Callable[[], Origin] = no_origin, operator: str | None = None
    ) -> None:
        self._sink = sink
        self._origin = origin
        self._operator = operator
        self.policy_version: str | None = None
        """Set by the program when it begins to use a policy."""
        self.counts: Counter[EventKind] = Counter()

    def record(
        self,
        kind: EventKind,
        *,
        differs: Outcome | None = None,
        reason: str | None = None,
        user: User | None = None,
        claims: AccessClaims | None = None,
        grant: Grant | None = None,
        client_id: str | None = None,
        grant_id: str | None = None,
        jti: str | None = None,
        key: str | None = None,
        scope: str | None = None,
        service: str | None = None,
        method: str | None = None,
        path: str | None = None,
        call: str | None = None,
        mcp_method: str | None = None,
        mcp_name: str | None = None,
        mcp_claimed: bool | None = None,
        origin: Origin | None = None,
        count: int | None = None,
    ) -> None:
        """Record that `kind` happened, or `differs`. Raises the errors of the sink.

        `grant` provides its id, its client and its user, and `claims` those of an access token; explicit arguments
        take precedence. Without `origin` it is that of the present request. With `count` the event is in place
        of so many.
        """
        login, user_id = (None, None) if claims is None else (claims.github_user, claims.github_id)
        if claims is not None:
            client_id, jti = client_id or claims.client_id, jti or claims.jti
        if grant is not None:
            client_id, grant_id = client_id or grant.client_id, grant_id or grant.grant_id
            user = user or grant.user
        if user is not None:
            login, user_id = user.login or None, user.github_id
        source, peer, user_agent, request_id, trace_id = self._origin() if origin is None else origin
        event = AuditEvent(
            kind,
            reason and reason[:LONGEST_REASON],
            _cut(client_id),
            login,
            user_id,
            None if user_id is None else PROVIDER,
            self._operator,
            service,
            _cut(grant_id),
            _cut(jti),
            _cut(key),
            scope and scope[:LONGEST_REASON],
            _cut(method),
            _cut(path),
            _cut(call),
            _cut(mcp_method),
            _cut(mcp_name),
            mcp_claimed,
            _cut(source),
            _cut(peer),
            _cut(user_agent),
            _cut(request_id),
            trace_id,
            self.policy_version,
            count,
            differs=differs,
        )
        if differs is None:
            self.counts[kind] += count or 1
        self._sink.record(event)


def _cut(text: str | None) -> str | None:
    """Return at most `LONGEST_LOGGED` characters of `text`, and `None` for an empty one."""
    return text[:LONGEST_LOGGED] if text else None
