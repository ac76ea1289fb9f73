"""The Prometheus metrics of the authorization server: stored records, Redis memory, and counts of audit events.

Gauges come from Redis and the settings, and are the same in every process. Counters are those of the process that
answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart import Quart, Response

from oauth_core.audit import EventKind
from oauth_core.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.audit import AuditRecorder
    from oauth_core.settings import WebSettings
    from oauth_core.store.memory import MemoryReader
    from oauth_core.store.records.quotas import QuotaStore

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Family:
    """One metric."""

    name: str
    kind: str
    meaning: str


STORED = Family(
    "portcullis_stored_bytes", "gauge", "Bytes of records that unauthenticated callers caused, by kind."
)
STORED_LIMIT = Family("portcullis_stored_limit_bytes", "gauge", "The most bytes of each kind.")
STORED_REFUSED = Family("portcullis_stored_refused_total", "counter", "Records refused for want of room, by kind.")
REDIS_USED = Family("portcullis_redis_used_bytes", "gauge", "Memory that the fullest Redis server uses.")
REDIS_LIMIT = Family("portcullis_redis_limit_bytes", "gauge", "Its maxmemory; 0 for none.")
AUDIT_EVENTS = Family("portcullis_audit_events_total", "counter", "Events in the audit log, by kind.")
FAMILIES = (STORED, STORED_LIMIT, STORED_REFUSED, REDIS_USED, REDIS_LIMIT, AUDIT_EVENTS)


def create_app(settings: WebSettings, quotas: QuotaStore, memory: MemoryReader, audit: AuditRecorder) -> Quart:
    """An application that answers `GET /metrics`. It has no authentication, so it must listen on this machine."""
    app = Quart(__name__, static_folder=None)

    @app.get("/metrics")
    async def page() -> Response:
        try:
            stored, redis = await quotas.totals(), await memory.read()
        except StoreUnavailableError:
            return Response(b"", _UNAVAILABLE)
        samples = {
            STORED: [(f'{{kind="{kind}"}}', size) for kind, size in stored.items()],
            STORED_LIMIT: [(f'{{kind="{kind}"}}', size) for kind, size in settings.quotas.items()],
            STORED_REFUSED: [(f'{{kind="{kind}"}}', count) for kind, count in quotas.refusals.items()],
            REDIS_USED: [("", redis.used)],
            REDIS_LIMIT: [("", redis.most)],
            # Every series starts at 0: an alert rule does not see the first event of a series that begins with it.
            AUDIT_EVENTS: [(f'{{event="{kind}"}}', audit.counts[kind]) for kind in EventKind],
        }
        return Response("\n".join(_lines(samples)) + "\n", 200, content_type=_TYPE)

    return app


def _lines(samples: dict[Family, list[tuple[str, int]]]) -> Iterator[str]:
    for family, values in samples.items():
        yield f"# HELP {family.name} {family.meaning}"
        yield f"# TYPE {family.name} {family.kind}"
        for labels, value in values:
            yield f"{family.name}{labels} {value}"
