"""One check, from bytes to bytes: decode, gather facts, decide, encode, record. No transport, no look-ups here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ext_authz import wire
from oauth_core.audit import AuditEvent, EventKind
from oauth_core.challenge import refusal
from oauth_core.policy import Allow, Deny, DenyReason, decide

if TYPE_CHECKING:
    from ext_authz.facts import FactFinder
    from ext_authz.wire import IncomingRequest
    from oauth_core.audit import AuditSink
    from oauth_core.model import AccessClaims, Service

LONGEST_LOGGED = 256
"""Characters of anything the caller chose that are kept in the audit log."""


class Authorizer:
    """Answers `envoy.service.auth.v3.Authorization/Check`. Safe to call many times at once."""

    def __init__(self, facts: FactFinder, audit: AuditSink) -> None:
        self._facts = facts
        self._audit = audit
        self._log = structlog.get_logger("check")
        self._broken = wire.encode_refused(refusal(DenyReason.INTERNAL_ERROR, None))

    async def check(self, message: bytes) -> bytes:
        """The `CheckResponse` to the `CheckRequest` in `message`. Whatever is in it, there is an answer."""
        try:
            request = wire.decode(message)
            if request is None:
                return self._refuse(Deny(DenyReason.MALFORMED_REQUEST), None, None)
            facts = await self._facts.gather(request)
            match decide(facts):
                case Allow(claims):
                    return self._allow(claims, request, facts.service)
                case denial:
                    return self._refuse(denial, request, facts.service)
        except Exception:  # noqa: BLE001 - the one place for it: a fault of ours must end in a refusal too
            self._log.exception("check.failed")
            self._record(EventKind.ACCESS_DENIED, DenyReason.INTERNAL_ERROR, None, None, None)
            return self._broken

    def _allow(self, claims: AccessClaims, request: IncomingRequest, service: Service | None) -> bytes:
        answer = wire.encode_allowed(claims, request.lookalikes)
        self._record(EventKind.ACCESS_ALLOWED, None, claims, request, service)
        return answer

    def _refuse(self, denial: Deny, request: IncomingRequest | None, service: Service | None) -> bytes:
        answer = wire.encode_refused(refusal(denial.reason, service))
        self._record(EventKind.ACCESS_DENIED, denial.reason, denial.claims, request, service)
        return answer

    def _record(
        self,
        kind: EventKind,
        reason: DenyReason | None,
        claims: AccessClaims | None,
        request: IncomingRequest | None,
        service: Service | None,
    ) -> None:
        self._audit.record(
            AuditEvent(
                kind=kind,
                reason=reason,
                client_id=claims.client_id if claims else None,
                user=claims.github_user if claims else None,
                user_id=claims.github_id if claims else None,
                jti=claims.jti if claims else None,
                service=service.name if service else None,
                method=request.method[:LONGEST_LOGGED] if request else None,
                path=request.path[:LONGEST_LOGGED] if request else None,
                source=request.source[:LONGEST_LOGGED] if request and request.source else None,
                request_id=request.request_id[:LONGEST_LOGGED] if request and request.request_id else None,
            )
        )
