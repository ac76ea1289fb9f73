"""The Prometheus metrics of the authorization server.

The figures about stored records and Redis come from Redis and the settings, and are the same in every process. All
others are those of the process that answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Quart, Response

from oauth_core.audit import EventKind
from oauth_core.errors import StoreUnavailableError
from oauth_core.process import audit_figures, certificate_ends
from oauth_core.process.audit_figures import AuditFolder
from oauth_core.process.file_figures import FileFigures
from oauth_core.process.metrics import CONTENT_TYPE, Family, Figures, exposition, labelled
from oauth_core.store import connection
from oauth_core.store.records.mail_queue import MailResult
from oauth_web.http import request_times
from oauth_web.login_providers import github

if TYPE_CHECKING:
    from collections.abc import Callable

    from oauth_web.runtime.deps import Deps

STORED = Family("portcullis_stored_bytes", "gauge", "Bytes of records of unauthenticated callers, by kind.")
STORED_LIMIT = Family("portcullis_stored_limit_bytes", "gauge", "The most bytes of each kind.")
STORED_REFUSED = Family(
    "portcullis_stored_refused_total", "counter", "Records refused because of a quota, by kind."
)
REDIS_USED = Family("portcullis_redis_used_bytes", "gauge", "Memory that the fullest Redis server uses.")
REDIS_LIMIT = Family("portcullis_redis_limit_bytes", "gauge", "Its maxmemory; 0 for none.")
AUDIT_EVENTS = Family("portcullis_audit_events_total", "counter", "Events in the audit log, by kind.")
MAILS = Family("portcullis_mails_total", "counter", "Attempts to send mails to people, by result.")
MAILS_WAITING = Family("portcullis_mails_waiting", "gauge", "Mails to people that wait.")
MAILS_OLDEST = Family("portcullis_mails_oldest_waiting_seconds", "gauge", "The age of the oldest mail that waits.")
FAMILIES = (
    request_times.TIMES,
    github.TIMES,
    connection.CALLS,
    STORED,
    STORED_LIMIT,
    STORED_REFUSED,
    REDIS_USED,
    REDIS_LIMIT,
    AUDIT_EVENTS,
    MAILS,
    MAILS_WAITING,
    MAILS_OLDEST,
    audit_figures.AVAILABLE,
    audit_figures.UNSEALED,
    audit_figures.CHECKPOINT_AGE,
    audit_figures.FREE,
    audit_figures.DISK,
    certificate_ends.EXPIRES,
)
_BY_NAME = {family.name: family for family in FAMILIES}


def create_app(deps: Deps, certificates: Callable[[], Figures]) -> Quart:
    """An application that answers `GET /metrics`. It has no authentication, so it must listen on this machine.

    `certificates` reads the ends of certificates from their files.
    """
    app = Quart(__name__, static_folder=None)
    readers = [certificates]
    if deps.settings.audit_dir is not None:
        readers.append(AuditFolder(deps.settings.audit_dir, deps.output.segments).figures)
    files = FileFigures(*readers)

    @app.get("/metrics")
    async def page() -> Response:
        figures = {
            **deps.request_times.figures(),
            **deps.github.timings.figures(),
            **connection.CALL_TIMES.figures(),
            **_of_this_process(deps),
            **await _of_redis(deps),
            **await files.read(),
        }
        return Response(exposition(_BY_NAME, {"": figures}), 200, content_type=CONTENT_TYPE)

    return app


def _of_this_process(deps: Deps) -> Figures:
    # Every series starts at 0: an alert rule does not see the first event of a series that begins with it.
    counts = deps.audit.counts
    figures: Figures = {labelled(AUDIT_EVENTS.name, event=kind): counts[kind] for kind in EventKind}
    if deps.output.segments is not None:
        figures[audit_figures.AVAILABLE.name] = int(deps.output.is_available)
    for kind, size in deps.settings.quotas.items():
        figures[labelled(STORED_LIMIT.name, kind=kind)] = size
    for kind, count in deps.quotas.refusals.items():
        figures[labelled(STORED_REFUSED.name, kind=kind)] = count
    if deps.settings.mail_server is not None:
        figures |= {labelled(MAILS.name, result=result): deps.mails.counts[result] for result in MailResult}
    return figures


async def _of_redis(deps: Deps) -> Figures:
    """Return the figures of Redis; none while it does not answer: alerts need the other figures then."""
    try:
        stored, redis = await deps.quotas.totals(), await deps.memory.read()
        mails = {} if deps.settings.mail_server is None else await _of_mails(deps)
    except StoreUnavailableError:
        return {}
    figures: Figures = {labelled(STORED.name, kind=kind): size for kind, size in stored.items()}
    return {**figures, **mails, REDIS_USED.name: redis.used, REDIS_LIMIT.name: redis.most}


async def _of_mails(deps: Deps) -> Figures:
    """Raises `StoreUnavailableError`."""
    waiting = await deps.mails.waiting()
    oldest = await deps.mails.oldest() if waiting else None
    age = 0.0 if oldest is None else max(0.0, deps.clock() - oldest)
    return {MAILS_WAITING.name: waiting, MAILS_OLDEST.name: age}
