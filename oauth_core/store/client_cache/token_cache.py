"""The token statuses that one process caches, and how long they are valid: the protocol, without input or output.

# Theory of operation

**The truth.** A token is active if `token:<jti>` exists in Redis, else it is revoked. This process caches answers
of Redis and must stop using one as soon as it may have become false.

**One connection.** A process has one tracking connection to Redis, in RESP3, with `CLIENT TRACKING ON`. Redis
records every key that is read on it, also a key that does not exist. When such a key changes or disappears (`DEL`,
expiry, eviction, a new value), Redis writes an *invalidation* with the key to the same connection and deletes its
record. After `FLUSHALL` it writes one that means every key. To know the value again, the process must read it
again.

**Order.** Redis is one thread and the connection is one stream. So everything arrives in the order in which Redis
did it. An invalidation that belongs to a read comes after that read's answer, and everything that Redis wrote
before it answered a command arrives before that answer. (In broadcasting mode this would not hold: there Redis
collects invalidations and sends them later. It would also send every process the changes of every token. The
default mode costs Redis a record for each key and connection, and is exact.)

**Trust.** The answer to any command sent at time `s`, at least a `PING`, proves that every change made before `s`
has arrived. Until `s + bound` this process may use its cached statuses: a change that has not arrived is then
younger than `bound`. After that the cache is not valid, whatever the reason for the silence: Redis paused or
killed, a partition, a half-open connection, or this process frozen. The clock must advance while the machine
sleeps.

**Received data counts.** Redis sends an invalidation together with its answer to the client that made the change,
so it mostly arrives before that client's next request. While the connection holds data that was received and not
read yet, the cache gives no answers: a busy process must read before it answers.

**Clearing.** When the connection is lost, the cache is cleared, because changes are not announced without one. The
next connection starts with an empty cache.

**Open lookups.** Callers that need the status of one token share one lookup. An answer is used only while it is
younger than `bound`, counted from the sending of its command, so that a delayed answer is no better than none. An
invalidation might overtake the answer it belongs to (behind a proxy, or in a Redis that sends them differently).
Then the lookup is marked: waiting callers still get the answer, because it was true after they asked; no new
caller may join them, and the answer is not cached.

**Expiry.** Redis may announce an expiry late, since it looks for expired keys only from time to time. So the read
asks for the key's remaining lifetime (`PTTL`), and the cached status ends with it, counted from the sending of the
command.

**Revoked tokens.** A separate cache records briefly that a token does not exist: garbage must neither cause a
lookup in Redis each time nor displace valid tokens. If the token becomes active, an invalidation arrives.

**Several servers.** Behind Sentinels, or in a cluster, all of the above holds for each server separately: each has
its own connection, cache and trust. In addition, it must be certain that this server counts for this key. A server
that was partitioned and replaced still answers heartbeats, still reports the primary role, and lacks the
revocations that its successor received. So other voters are asked at the pace of the heartbeat: every Sentinel for
the primary, or every primary of the cluster for the owners of the slots. A server counts until `bound` after the
time at which a majority of *all* voters, and the server itself, were last asked and confirmed it. (The server
itself, because a majority may not yet know about a slot that it gave away, or of an operator's `REPLICAOF`.)
Two majorities share a voter, so a successor that a majority agrees on is noticed within `bound`. Writers find the
server in the same way, through a majority of the Sentinels or the cluster's own redirections. Without that
certainty no server is asked: the status is unknown. When the answer of any voter changes, the caches are cleared,
because keys may have moved without an invalidation.

**Limit.** Replication is asynchronous. A change that the old primary acknowledged and did not replicate before it
failed is lost on fail-over, here as for every reader (`docs/redis.md`).
"""

from __future__ import annotations

from typing import Generic, TypeVar

from oauth_core.policy.decision import TokenStatus
from oauth_core.store.client_cache.lru_cache import LruCache

Waiter = TypeVar("Waiter")

NEVER = -float("inf")
ABSENT_FOR_SECONDS = 5.0
"""Seconds for which the absence of a token is cached."""

_NO_SUCH_KEY = -2
_NO_EXPIRY = -1


class Lookup(Generic[Waiter]):
    """One open read. `waiter` is the caller's object for the callers that wait; this class does not use it."""

    __slots__ = ("is_invalidated", "jti", "sent_at", "waiter")

    def __init__(self, jti: str, sent_at: float, waiter: Waiter) -> None:
        self.jti = jti
        self.sent_at = sent_at
        self.waiter = waiter
        self.is_invalidated = False


class TokenCache(Generic[Waiter]):
    """The cache of one process. All times are seconds of one clock that never goes back."""

    def __init__(self, *, bound: float, size: int, absent_size: int) -> None:
        """`bound` is the longest, in seconds, that a change may go unnoticed. The sizes are numbers of tokens."""
        self.bound = bound
        self.trusted_until = NEVER
        self._active: LruCache[str, float] = LruCache(size)
        self._absent: LruCache[str, float] = LruCache(absent_size)
        self._lookups: dict[str, Lookup[Waiter]] = {}

    def __len__(self) -> int:
        return len(self._active) + len(self._absent)

    def is_trusted(self, now: float) -> bool:
        """Return whether the connection proved recently enough that no change was missed."""
        return now < self.trusted_until

    def cached_status(self, jti: str, now: float) -> TokenStatus | None:
        """Return the status of the token `jti` if it is known without asking Redis, else `None`."""
        if now >= self.trusted_until:
            return None
        until = self._active.get(jti)
        if until is not None:
            return TokenStatus.ACTIVE if now < until else None
        until = self._absent.get(jti)
        return TokenStatus.REVOKED if until is not None and now < until else None

    def pending_lookup(self, jti: str) -> Lookup[Waiter] | None:
        """Return the open lookup of `jti` that another caller may share."""
        return self._lookups.get(jti)

    def begin_lookup(self, jti: str, now: float, waiter: Waiter) -> Lookup[Waiter]:
        """Record that `PTTL token:<jti>` is sent now."""
        lookup = Lookup(jti, now, waiter)
        self._lookups[jti] = lookup
        return lookup

    def complete(self, lookup: Lookup[Waiter], milliseconds: int, now: float) -> TokenStatus | None:
        """Process the answer to `lookup`: the key's remaining lifetime as `PTTL` returns it.

        Returns the status for the waiting callers; `None` when the answer is too old to use.
        """
        self.extend_trust(lookup.sent_at)
        self.remove_lookup(lookup)
        if now >= lookup.sent_at + self.bound:
            return None
        if milliseconds == _NO_SUCH_KEY:
            if not lookup.is_invalidated:
                self._active.discard(lookup.jti)
                self._absent.put(lookup.jti, lookup.sent_at + ABSENT_FOR_SECONDS)
            return TokenStatus.REVOKED
        until = float("inf") if milliseconds == _NO_EXPIRY else lookup.sent_at + milliseconds / 1000
        if not lookup.is_invalidated:
            self._absent.discard(lookup.jti)
            self._active.put(lookup.jti, until)
        return TokenStatus.ACTIVE

    def extend_trust(self, sent_at: float) -> None:
        """Extend the trust: a command sent at `sent_at` on this connection was answered."""
        self.trusted_until = max(self.trusted_until, sent_at + self.bound)

    def invalidate(self, jti: str) -> None:
        """Process an invalidation of this token's key."""
        self._active.discard(jti)
        self._absent.discard(jti)
        lookup = self._lookups.pop(jti, None)
        if lookup is not None:
            lookup.is_invalidated = True

    def invalidate_all(self) -> None:
        """Process an invalidation of every key."""
        self._active.clear()
        self._absent.clear()
        for lookup in self._lookups.values():
            lookup.is_invalidated = True
        self._lookups.clear()

    def connection_lost(self) -> None:
        """Process the loss of the connection: end the trust and clear the cache."""
        self.invalidate_all()
        self.trusted_until = NEVER

    def remove_lookup(self, lookup: Lookup[Waiter]) -> None:
        """Remove `lookup` from the open ones."""
        if self._lookups.get(lookup.jti) is lookup:
            del self._lookups[lookup.jti]
