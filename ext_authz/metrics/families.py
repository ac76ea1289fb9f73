"""Every metric of the check service: its name, kind and meaning, and how the figures of workers are combined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.process import audit_figures, certificate_ends
from oauth_core.process.metrics import Family, Figures, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable

FAMILIES = (
    Family("portcullis_check_seconds", "histogram", "Time from a whole CheckRequest to its answer."),
    Family("portcullis_checks_refused_total", "counter", "Refused requests, by the reason in the audit log."),
    Family("portcullis_cache_hits_total", "counter", "Checks answered from the caches."),
    Family("portcullis_cache_misses_total", "counter", "Checks that had to wait for Redis or for a key."),
    Family("portcullis_signatures_total", "counter", "Signatures that were checked, by result."),
    Family("portcullis_signatures_waiting", "gauge", "Tokens that wait for their signature to be checked."),
    Family("portcullis_cached_tokens", "gauge", "Genuine tokens in the cache."),
    Family("portcullis_redis_lookups_total", "counter", "Lookups of tokens in Redis."),
    Family("portcullis_redis_lookups_shared_total", "counter", "Checks that waited for another check's lookup."),
    Family("portcullis_redis_lookups_refused_total", "counter", "Checks refused because too many lookups waited."),
    Family("portcullis_redis_lookups_waiting", "gauge", "Lookups without an answer at this moment."),
    Family("portcullis_invalidations_total", "counter", "Invalidation messages of Redis."),
    Family(
        "portcullis_tracking_connections_total",
        "counter",
        "Tracking connections that were opened; all but the first replaced one.",
    ),
    Family("portcullis_tracking_connection_up", "gauge", "1 while cached statuses are valid.", min),
    Family(
        "portcullis_staleness_seconds", "gauge", "Seconds since Redis last proved that no change was missed.", max
    ),
    Family("portcullis_keys_fresh", "gauge", "1 while the last read of the public keys found them.", min),
    Family("portcullis_limit_accounts", "gauge", "Subjects of limits on calls in memory."),
    Family("portcullis_limit_questions_total", "counter", "Questions to Redis for permits of limits on calls."),
    Family("portcullis_limit_permits_total", "counter", "Permits from Redis, and unused ones that went back."),
    Family("portcullis_limits_alone", "gauge", "1 while workers count calls alone.", max),
    Family("portcullis_worker_up", "gauge", "Workers that report figures."),
    Family("portcullis_worker_starts_total", "counter", "Workers that were started and became ready."),
    audit_figures.AVAILABLE,
    audit_figures.CHECKPOINT_AGE,
    audit_figures.FREE,
    audit_figures.DISK,
    certificate_ends.EXPIRES,
)
BY_NAME = {family.name: family for family in FAMILIES}


def joined(parts: Iterable[Figures]) -> Figures:
    """Return the combined figures of several workers."""
    samples: dict[str, list[float]] = {}
    for figures in parts:
        for sample, value in figures.items():
            samples.setdefault(sample, []).append(value)
    return {sample: family_of(sample, BY_NAME).join(values) for sample, values in samples.items()}


def lasting(figures: Figures) -> Figures:
    """Return the figures of an ended worker that still count: its counters."""
    return {sample: value for sample, value in figures.items() if family_of(sample, BY_NAME).kind != "gauge"}
