"""The filter on answers of one worker: its limits, the present services, and the record of refused answers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ext_authz.answers.answer_memory import AnswerMemory
from ext_authz.answers.limits import MOST_LARGE
from ext_authz.decision.fair_queue import FairQueue
from oauth_core.audit import NotRecordedError, Origin
from oauth_core.model import User
from oauth_core.policy import list_answers

if TYPE_CHECKING:
    from ext_authz.answers.envoy_processing import Context
    from oauth_core.audit import AuditRecorder
    from oauth_core.policy.list_answers import IsShown
    from oauth_core.policy.resources import ServiceIndex
    from oauth_core.policy.session_binding import SessionSealer
    from oauth_core.refusals import DenyReason


class AnswerFilter:
    """The state that all answers of a worker share; each is a `FilteredAnswer`. Belongs to one event loop."""

    def __init__(self, services: ServiceIndex, audit: AuditRecorder, sealer: SessionSealer | None = None) -> None:
        """Without `sealer` no service may bind sessions."""
        self.memory = AnswerMemory()
        self.large = FairQueue(MOST_LARGE)
        self.thread = asyncio.Lock()
        """For the one thread that reads a very large list: more would only share the interpreter."""
        self._services = services
        self._audit = audit
        self._sealer = sealer

    def use(self, services: ServiceIndex) -> None:
        """Use these services from the next answer on."""
        self._services = services

    def names_shown(self, context: Context) -> IsShown | None:
        """Return what the caller may see in lists; `None` if there is no such service any more."""
        service = self._services.by_name(context.service)
        return None if service is None else list_answers.names_shown(service, context.held or frozenset())

    def with_sealed_session(self, context: Context, session_ids: tuple[str, ...]) -> str | None:
        """Return the value of `Mcp-Session-Id` for the caller, "" to remove it, or `None` to leave it as it is."""
        if context.session_subject is None or not session_ids:
            return None
        if self._sealer is None or len(session_ids) > 1:
            # Only a change of the settings file can have taken the key away. Of several ids a client may use any.
            return ""
        return self._sealer.seal(context.service, context.session_subject, session_ids[0]) or ""

    def record(self, reason: DenyReason, context: Context) -> None:
        """Record that an answer was refused. It is refused also if it cannot be recorded."""
        is_person = context.login is not None and context.subject.isdecimal()
        with suppress(OSError, ValueError, NotRecordedError):
            self._audit.record(
                reason.event,
                reason=reason,
                user=User(int(context.subject), context.login or "") if is_person else None,
                client_id=context.client_id,
                service=context.service,
                mcp_method=context.method,
                origin=Origin(),
            )
