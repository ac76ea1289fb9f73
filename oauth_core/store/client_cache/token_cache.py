"""What one process believes about tokens, and how long it may: the protocol, without any input or output.

# Theory of operation

**The truth.** `token:<jti>` exists in Redis, or the token is dead. This process keeps answers it was given and
must stop using one as soon as it may have become false.

**One link.** A process has one connection to Redis, in RESP3, with `CLIENT TRACKING ON`. Redis notes every key
that is read on it, a key that does not exist too. When such a key changes or disappears (`DEL`, expiry,
eviction, a new value), Redis writes an *invalidation* naming the key to the same connection and drops its
note; after `FLUSHALL` it writes one that means every key. To know the value again, it must be read again.

**Order.** Redis is one thread and the connection is one stream. So everything arrives in the order in which
Redis did it: an invalidation that belongs to a read comes after that read's answer, and whatever Redis wrote
before it answered a command has arrived when that answer has. (In broadcasting mode this would not hold: there
Redis collects invalidations and sends them later. It would also tell every process about every token. The
default mode costs Redis a note for each key and link, and is exact.)

**Trust.** Every answer to a command sent at time `s`, a `PING` at the least, proves that every change made
before `s` has been heard of. Until `s + bound` this process may use what it remembers: a change it has not
heard of is then younger than `bound`. After that nothing remembered counts, whatever the reason for the
silence: Redis paused or killed, a partition, a connection of which only our end is alive, our own process
frozen. The clock must go on while the machine sleeps.

**What was received counts.** Redis sends an invalidation in the same go as its answer to whoever made the change,
so it mostly arrives before that caller's next request does. While the link holds anything that was received and
not read yet, nothing is answered from memory: a process that was busy must not answer first and read then.

**Forgetting.** A link that is lost takes everything with it, because changes go untold while there is none.
The next link starts with nothing.

**Reads under way.** Callers that want to know the same thing share one question. An answer is used only while
it is younger than `bound`, counted from the sending of the question, so that one that was stuck on its way is
no better than none. Should an invalidation ever overtake the answer it belongs to (behind a proxy, or in a
Redis that sends them differently), the question is marked: those who wait still get the answer, because it was
true after they asked; nobody new may join them, and nothing is remembered.

**Expiry.** Redis may tell of an expiry late, since it looks for expired keys only now and then. So the read
asks for the key's remaining life (`PTTL`), and the memory ends with it, counted from the sending of the question.

**Dead tokens.** That a token does not exist is remembered too, in a memory of its own, briefly: garbage must
neither ask Redis each time nor push good tokens out. If the token comes to life, an invalidation says so.

**Several servers.** Behind Sentinels, or in a cluster, all of the above holds for each server by itself: a
link, a view and trust of its own. Besides, it must be certain that this server's word counts for this key. A
server that was cut off and replaced answers heartbeats as well as ever, calls itself a primary, and knows of no
revocation that its successor was told of. So other witnesses are asked at the pace of the heartbeat: every
Sentinel who is the primary, or every primary of the cluster who owns which slots. A server counts until `bound`
after the moment at which a majority of *all* witnesses, and the server itself, last began to be asked and said
so. (The server itself, because a majority may not have heard yet of a slot that it gave away, or of an
operator's `REPLICAOF`.) Two majorities share a witness, so a successor that a majority agrees on is noticed
within `bound`. Whoever writes finds the server in the same way, through a majority of the Sentinels or the
cluster's own redirections. Without that certainty nobody is asked at all: the answer is unknown. When any
witness says anything new, all is forgotten, because keys may have changed hands untold.

What that cannot give back: replication is asynchronous, so a change that the old primary acknowledged and did
not hand on before it died is lost on fail-over, here as for every reader (`docs/redis.md`).
"""

from __future__ import annotations

from typing import Generic, TypeVar

from oauth_core.policy.decision import TokenStatus
from oauth_core.store.client_cache.lru_cache import LruCache

Waiter = TypeVar("Waiter")

NEVER = -float("inf")
DEAD_FOR = 5.0
"""Seconds for which it is remembered that a token does not exist."""

_NO_SUCH_KEY = -2
_NO_EXPIRY = -1


class Question(Generic[Waiter]):
    """One read under way. `waiter` is whatever the caller needs to tell those who wait; it is not looked at."""

    __slots__ = ("jti", "overtaken", "sent_at", "waiter")

    def __init__(self, jti: str, sent_at: float, waiter: Waiter) -> None:
        self.jti = jti
        self.sent_at = sent_at
        self.waiter = waiter
        self.overtaken = False


class TokenCache(Generic[Waiter]):
    """The memory of one process. All times are seconds of one clock that never goes back."""

    def __init__(self, *, bound: float, size: int, dead_size: int) -> None:
        """`bound` is the longest, in seconds, that a change may go unnoticed. The sizes are numbers of tokens."""
        self.bound = bound
        self.trusted_until = NEVER
        self._alive: LruCache[str, float] = LruCache(size)
        self._dead: LruCache[str, float] = LruCache(dead_size)
        self._questions: dict[str, Question[Waiter]] = {}

    def __len__(self) -> int:
        return len(self._alive) + len(self._dead)

    def is_trusted(self, now: float) -> bool:
        """Whether the link has proved recently enough that nothing was missed."""
        return now < self.trusted_until

    def known(self, jti: str, now: float) -> TokenStatus | None:
        """What may be said of the token `jti` without asking; `None` when Redis must be asked."""
        if now >= self.trusted_until:
            return None
        until = self._alive.get(jti)
        if until is not None:
            return TokenStatus.ACTIVE if now < until else None
        until = self._dead.get(jti)
        return TokenStatus.REVOKED if until is not None and now < until else None

    def under_way(self, jti: str) -> Question[Waiter] | None:
        """The question about `jti` that a newcomer may share."""
        return self._questions.get(jti)

    def ask(self, jti: str, now: float, waiter: Waiter) -> Question[Waiter]:
        """Note that `PTTL token:<jti>` is sent now."""
        question = Question(jti, now, waiter)
        self._questions[jti] = question
        return question

    def learn(self, question: Question[Waiter], milliseconds: int, now: float) -> TokenStatus | None:
        """The answer to `question` came: the key's remaining life as `PTTL` gives it.

        Answers what those who wait may be told; `None` when the answer is too old to be told.
        """
        self.answered(question.sent_at)
        self.withdraw(question)
        if now >= question.sent_at + self.bound:
            return None
        if milliseconds == _NO_SUCH_KEY:
            if not question.overtaken:
                self._alive.discard(question.jti)
                self._dead.put(question.jti, question.sent_at + DEAD_FOR)
            return TokenStatus.REVOKED
        until = float("inf") if milliseconds == _NO_EXPIRY else question.sent_at + milliseconds / 1000
        if not question.overtaken:
            self._dead.discard(question.jti)
            self._alive.put(question.jti, until)
        return TokenStatus.ACTIVE

    def answered(self, sent_at: float) -> None:
        """A command sent at `sent_at` on this link was answered: trust reaches that much further."""
        self.trusted_until = max(self.trusted_until, sent_at + self.bound)

    def invalidate(self, jti: str) -> None:
        """Redis says that this token's key has changed."""
        self._alive.discard(jti)
        self._dead.discard(jti)
        question = self._questions.pop(jti, None)
        if question is not None:
            question.overtaken = True

    def invalidate_all(self) -> None:
        """Redis says that every key may have changed."""
        self._alive.clear()
        self._dead.clear()
        for question in self._questions.values():
            question.overtaken = True
        self._questions.clear()

    def lost(self) -> None:
        """The link is gone: trust nothing, forget everything."""
        self.invalidate_all()
        self.trusted_until = NEVER

    def withdraw(self, question: Question[Waiter]) -> None:
        """`question` is under way no longer."""
        if self._questions.get(question.jti) is question:
            del self._questions[question.jti]
