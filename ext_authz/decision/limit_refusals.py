"""Records refusals by limits, so that a caller that goes on calling does not fill the audit record.

Of one second, the first refusal of a subject by a limit is recorded as it is, and the others as one event with
their `count`. At most `MOST_A_SECOND` refusals of a second are recorded as they are; those of further subjects
are counted by their reason alone.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ext_authz.decision.envoy_messages import called, origin_of
from oauth_core.audit import Origin

if TYPE_CHECKING:
    from ext_authz.decision.envoy_messages import IncomingRequest, ParsedRequest
    from oauth_core.audit import AuditRecorder, EventKind
    from oauth_core.limits.call_limits import Charge
    from oauth_core.model import AccessClaims
    from oauth_core.policy.decision import Deny
    from oauth_core.refusals import DenyReason

    _Key = tuple[str, str]
    """The name of a limit, and a subject."""

MOST_A_SECOND = 50
"""Refusals that one process records as they are in each second."""

_SECOND = 1.0


class _Counted:
    """Further refusals of one subject by one limit, or of many subjects for one reason."""

    __slots__ = ("claims", "count", "kind", "reason", "service")

    def __init__(
        self, kind: EventKind, reason: str, claims: AccessClaims | None = None, service: str | None = None
    ) -> None:
        self.kind = kind
        self.reason = reason
        self.claims = claims
        self.service = service
        self.count = 0


class LimitRefusals:
    """The refusals of the present second, which begins with the first of them. Belongs to one event loop."""

    def __init__(self, audit: AuditRecorder) -> None:
        self._audit = audit
        self._firsts: dict[_Key, _Counted] = {}
        self._others: dict[DenyReason, _Counted] = {}
        self._timer: asyncio.TimerHandle | None = None

    def is_repeated(self, charge: Charge) -> bool:
        """Whether a refusal for want of `charge` was recorded in this second."""
        return (charge.limit.name, charge.subject) in self._firsts

    def record(
        self,
        deny: Deny,
        charge: Charge,
        request: IncomingRequest,
        service: str,
        parsed: ParsedRequest | None,
    ) -> None:
        """Record that `request` was refused with `deny`, for want of `charge`. Raises the errors of the sink."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SECOND, self._end_second)
        key = (charge.limit.name, charge.subject)
        counted = self._firsts.get(key)
        if counted is None and len(self._firsts) < MOST_A_SECOND:
            reason = f"{deny.reason}: {charge.limit.name}, {charge.limit.allowance}"
            self._firsts[key] = _Counted(deny.reason.event, reason, deny.claims, service)
            method, name, is_claimed = called(request, parsed)
            self._audit.record(
                deny.reason.event,
                reason=reason,
                claims=deny.claims,
                service=service,
                method=request.method,
                path=request.path,
                mcp_method=method,
                mcp_name=name,
                mcp_claimed=is_claimed,
                origin=origin_of(request),
            )
            return
        if counted is None:
            counted = self._others.setdefault(deny.reason, _Counted(deny.reason.event, deny.reason))
        counted.count += 1

    def _end_second(self) -> None:
        self._timer = None
        ended = [*self._firsts.values(), *self._others.values()]
        self._firsts.clear()
        self._others.clear()
        for counted in ended:
            if not counted.count:
                continue
            # The requests are refused already. A log that cannot be written changes nothing about that.
            with suppress(OSError, ValueError):
                self._audit.record(
                    counted.kind,
                    reason=counted.reason,
                    claims=counted.claims,
                    service=counted.service,
                    origin=Origin(),
                    count=counted.count,
                )

    def close(self) -> None:
        """Record the counts of the present second."""
        if self._timer is not None:
            self._timer.cancel()
            self._end_second()
