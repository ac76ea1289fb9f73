"""Audit events: stable names, no secrets, and one protocol for the sinks that store them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from oauth_core.model import AccessClaims, Grant, User

LONGEST_LOGGED = 256
"""Characters of a caller's text that are kept in the audit log."""


class EventKind(StrEnum):
    """Stable names: dashboards and alert rules depend on them."""

    CLIENT_REGISTERED = "client.registered"
    CLIENT_REGISTRATION_REFUSED = "client.registration_refused"
    CLIENT_READ = "client.read"
    CLIENT_UPDATED = "client.updated"
    CLIENT_DELETED = "client.deleted"
    CLIENT_MANAGEMENT_REFUSED = "client.management_refused"
    CLIENT_PERMISSIONS_CHANGED = "client.permissions_changed"
    INITIAL_ACCESS_TOKEN_ISSUED = "initial_access_token.issued"
    INITIAL_ACCESS_TOKEN_REVOKED = "initial_access_token.revoked"
    CLIENT_AUTHENTICATION_FAILED = "client.authentication_failed"
    AUTHORIZATION_REFUSED = "authorization.refused"
    CONSENT_GIVEN = "consent.given"
    CONSENT_DENIED = "consent.denied"
    CONSENT_REUSED = "consent.reused"
    CONSENT_FORGOTTEN = "consent.forgotten"
    IDENTITY_ASSERTED = "identity.asserted"
    SIGN_IN_SUCCEEDED = "sign_in.succeeded"
    SIGN_IN_REFUSED = "sign_in.refused"
    SIGN_IN_FAILED = "sign_in.failed"
    SESSION_STARTED = "session.started"
    SESSION_ENDED = "session.ended"
    ACCOUNT_FORM_REFUSED = "account.form_refused"
    DEVICE_STARTED = "device.started"
    DEVICE_CODE_REFUSED = "device.code_refused"
    DEVICE_APPROVED = "device.approved"
    DEVICE_DENIED = "device.denied"
    TOKEN_ISSUED = "token.issued"
    TOKEN_REFRESHED = "token.refreshed"
    TOKEN_REFUSED = "token.refused"
    TOKEN_REVOKED = "token.revoked"
    CODE_REPLAYED = "code.replayed"
    REFRESH_REPEATED = "refresh.repeated"
    REFRESH_REPEATED_ELSEWHERE = "refresh.repeated_elsewhere"
    REFRESH_REUSED = "refresh.reused"
    GRANT_CONTINUED = "grant.continued"
    GRANT_REVOKED = "grant.revoked"
    GRANT_REGROUPED = "grant.regrouped"
    KEY_CREATED = "key.created"
    KEY_RETIRED = "key.retired"
    LOGIN_CHANGED_HANDS = "login.changed_hands"
    LOGIN_ACCEPTED = "login.accepted"
    USER_BLOCKED = "user.blocked"
    USER_UNBLOCKED = "user.unblocked"
    USER_REVOKED = "user.revoked"
    CLIENT_REVOKED = "client.revoked"
    EVERYBODY_REVOKED = "everybody.revoked"
    SERVICE_DISABLED = "service.disabled"
    SERVICE_ENABLED = "service.enabled"
    STATE_BACKED_UP = "state.backed_up"
    STATE_RESTORED = "state.restored"
    STATE_MIGRATED = "state.migrated"
    RECORDS_ADOPTED = "state.records_adopted"
    SIGN_INS_PAUSED = "sign_ins.paused"
    SIGN_INS_RESUMED = "sign_ins.resumed"
    POLICY_CHANGED = "policy.changed"
    POLICY_REFUSED = "policy.refused"
    RATE_LIMITED = "rate.limited"
    ACCESS_ALLOWED = "access.allowed"
    ACCESS_DENIED = "access.denied"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event. Fields that do not apply stay `None` and are left out of the record."""

    kind: EventKind
    reason: str | None = None
    client_id: str | None = None
    user: str | None = None
    user_id: int | None = None
    service: str | None = None
    grant_id: str | None = None
    jti: str | None = None
    key: str | None = None
    scope: str | None = None
    method: str | None = None
    path: str | None = None
    call: str | None = None
    source: str | None = None
    request_id: str | None = None


class AuditSink(Protocol):
    """Stores audit events. It must not block and must not raise."""

    def record(self, event: AuditEvent) -> None:
        """Store `event` with the present time."""


def no_origin() -> str | None:
    """Return no caller address: for programs that serve no requests, such as commands."""
    return None


class AuditRecorder:
    """Builds every audit event of a program, and passes it to `sink`.

    It is the only caller of the constructor of `AuditEvent`. It fills in the values that all events share: the
    person, the client and the grant, the caller's address, and the limit for the length of callers' texts.
    `origin` returns the address of the present caller. `counts` are the events of this process by kind, for
    metrics.
    """

    def __init__(self, sink: AuditSink, *, origin: Callable[[], str | None] = no_origin) -> None:
        self._sink = sink
        self._origin = origin
        self.counts: Counter[EventKind] = Counter()

    def record(
        self,
        kind: EventKind,
        *,
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
        source: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Record that `kind` happened. Raises the errors of the sink.

        `grant` provides its id, its client and its user, and `claims` those of an access token; explicit arguments
        take precedence. Without `source` the address is that of `origin`.
        """
        login, user_id = (None, None) if claims is None else (claims.github_user, claims.github_id)
        if claims is not None:
            client_id, jti = client_id or claims.client_id, jti or claims.jti
        if grant is not None:
            client_id, grant_id = client_id or grant.client_id, grant_id or grant.grant_id
            user = user or grant.user
        if user is not None:
            login, user_id = user.login or None, user.github_id
        event = AuditEvent(
            kind,
            reason,
            client_id,
            login,
            user_id,
            service,
            grant_id,
            jti,
            key,
            scope,
            method and method[:LONGEST_LOGGED],
            path and path[:LONGEST_LOGGED],
            call and call[:LONGEST_LOGGED],
            (source or self._origin() or "")[:LONGEST_LOGGED] or None,
            (request_id or "")[:LONGEST_LOGGED] or None,
        )
        self.counts[kind] += 1
        self._sink.record(event)
