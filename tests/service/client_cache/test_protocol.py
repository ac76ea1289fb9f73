"""The protocol of the cache against every order of events: a model of Redis, of the connection, and of time.

The model of Redis does only what Redis promises: it sends one invalidation for a change, to connections that
have read the key since the last one, and none for an expiry. The connection keeps the order, except for
invalidations, which may overtake any answer. It may drop all data from some moment on, and it may be lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oauth_core.policy.decision import TokenStatus
from oauth_core.store.client_cache.token_cache import ABSENT_FOR_SECONDS, Lookup, TokenCache
from tests.service.client_cache.lives import FOREVER, Life, Lives
from tests.support.property_tests import examples

BOUND = 10.0
NAMES = ("a", "b")
TOKENS = st.sampled_from(NAMES)
Asked = Lookup[None]


@dataclass
class Redis(Lives):
    """The true state of keys, and the tracking state of the one connection."""

    noted: set[str] = field(default_factory=set)


class Protocol(RuleBasedStateMachine):
    """A cache, and all events that can happen around it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.redis = Redis()
        self.cache: TokenCache[None] = TokenCache(bound=BOUND, size=2, absent_size=2)
        self.to_redis: list[tuple[str, Asked | float]] = []
        self.to_cache: list[tuple[str, Asked | float | str | None, int]] = []
        self.is_dark = False
        self.connect()
        for jti in NAMES:
            self.issue(jti, FOREVER)

    def connect(self) -> None:
        self.cache.connection_lost()
        self.to_redis.clear()
        self.to_cache.clear()
        self.redis.noted.clear()
        self.is_dark = False

    def tell(self, jti: str | None) -> None:
        """Write an invalidation, if one is due."""
        if jti is None:
            self.redis.noted.clear()
        elif jti in self.redis.noted:
            self.redis.noted.remove(jti)
        else:
            return
        if not self.is_dark:
            self.to_cache.append(("changed", jti, 0))

    # -- changes of tokens by others

    @rule(jti=TOKENS, seconds=st.sampled_from([3.0, 12.0, FOREVER, FOREVER]))
    def issue(self, jti: str, seconds: float) -> None:
        """A token becomes active, or its lifetime is changed."""
        self.redis.begin(jti, self.now, self.now + seconds)
        self.tell(jti)

    @rule(jti=TOKENS)
    def revoke(self, jti: str) -> None:
        if self.redis.end(jti, self.now):
            self.tell(jti)

    def flush(self) -> None:
        for jti in self.redis.lives:
            self.redis.end(jti, self.now)
        self.tell(None)

    # -- actions of the process

    @rule(jti=TOKENS)
    def ask(self, jti: str) -> None:
        if self.cache.cached_status(jti, self.now) is None and self.cache.pending_lookup(jti) is None:
            self.to_redis.append(("read", self.cache.begin_lookup(jti, self.now, None)))

    @rule()
    def beat(self) -> None:
        self.to_redis.append(("ping", self.now))

    # -- actions of the connection and of Redis

    @precondition(lambda self: self.to_redis)
    @rule()
    def redis_answers_one(self) -> None:
        kind, what = self.to_redis.pop(0)
        milliseconds = 0
        if isinstance(what, Lookup):
            life = self.redis.life(what.jti, self.now)
            self.redis.noted.add(what.jti)
            milliseconds = -2 if life is None else self.milliseconds_of(life)
        if not self.is_dark:
            self.to_cache.append((kind, what, milliseconds))

    def milliseconds_of(self, life: Life) -> int:
        return -1 if life.end == FOREVER else int((life.end - self.now) * 1000)

    @precondition(lambda self: self.to_cache)
    @rule()
    def one_arrives(self) -> None:
        self.arrive(0)

    @precondition(lambda self: any(kind == "changed" for kind, _, _ in self.to_cache))
    @rule(data=st.data())
    def an_invalidation_overtakes(self, data: st.DataObject) -> None:
        places = [place for place, (kind, _, _) in enumerate(self.to_cache) if kind == "changed"]
        self.arrive(data.draw(st.sampled_from(places)))

    def arrive(self, place: int) -> None:
        kind, what, milliseconds = self.to_cache.pop(place)
        if isinstance(what, Lookup):
            told = self.cache.complete(what, milliseconds, self.now)
            assert told is None or self.redis.was(told, what.jti, self.now - BOUND, self.now)
        elif isinstance(what, float):
            self.cache.extend_trust(what)
        elif what is None:
            self.cache.invalidate_all()
        else:
            assert kind == "changed"
            self.cache.invalidate(what)

    def the_connection_goes_dark(self) -> None:
        """All data on its way, and all later data, is dropped without a sign."""
        self.to_cache.clear()
        self.is_dark = True

    @rule(what=st.sampled_from(["nothing", "flush", "dark", "dark", "lost"]))
    def misfortune(self, what: str) -> None:
        """A fault, rarely enough that there is something to lose."""
        match what:
            case "flush":
                self.flush()
            case "dark":
                self.the_connection_goes_dark()
            case "lost":
                self.connect()

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0, 9.5]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(jti=TOKENS)
    def all_is_calm_and_one_is_asked_for(self, jti: str) -> None:
        """On a good connection the cache is correct: it then answers from memory, and the answer is true."""
        if self.is_dark:
            return
        for _ in range(2):  # the first time, an old lookup may still be pending
            self.beat()
            self.ask(jti)
            while self.to_redis or self.to_cache:
                (self.redis_answers_one if self.to_redis else self.one_arrives)()
        is_alive = self.redis.life(jti, self.now) is not None
        assert self.cache.cached_status(jti, self.now) is (TokenStatus.ACTIVE if is_alive else TokenStatus.REVOKED)

    # -- invariants

    @invariant()
    def nothing_is_believed_that_has_been_false_for_as_long_as_the_bound(self) -> None:
        for jti in NAMES:
            known = self.cache.cached_status(jti, self.now)
            if known is not None:
                assert self.redis.was(known, jti, self.now - BOUND, self.now), (jti, known)

    @invariant()
    def once_everything_has_arrived_what_is_believed_is_true(self) -> None:
        if self.is_dark or self.to_cache:
            return
        for jti in NAMES:
            if self.cache.cached_status(jti, self.now) is TokenStatus.ACTIVE:
                assert self.redis.life(jti, self.now) is not None, jti


Protocol.TestCase.settings = settings(examples(500), stateful_step_count=40)
test_the_protocol_against_every_order_of_events = Protocol.TestCase


def linked(bound: float = BOUND) -> TokenCache[None]:
    cache: TokenCache[None] = TokenCache(bound=bound, size=10, absent_size=10)
    cache.extend_trust(0.0)
    return cache


def test_an_answer_is_cached_until_the_heartbeat_stops() -> None:
    cache = linked()
    assert cache.complete(cache.begin_lookup("a", 0.0, None), -1, 0.1) is TokenStatus.ACTIVE
    assert cache.cached_status("a", BOUND - 0.1) is TokenStatus.ACTIVE
    assert cache.cached_status("a", BOUND) is None
    cache.extend_trust(BOUND)
    assert cache.cached_status("a", BOUND) is TokenStatus.ACTIVE, (
        "the entry is valid again when the heartbeat continues"
    )


def test_an_answer_that_an_invalidation_overtook_is_not_cached() -> None:
    cache = linked()
    question = cache.begin_lookup("a", 0.0, None)
    cache.invalidate("a")
    assert cache.pending_lookup("a") is None, "a later caller starts a new lookup"
    assert cache.complete(question, -1, 0.1) is TokenStatus.ACTIVE, "an earlier caller gets the state of that time"
    assert cache.cached_status("a", 0.2) is None


def test_a_flush_invalidates_every_pending_lookup() -> None:
    cache = linked()
    question = cache.begin_lookup("a", 0.0, None)
    cache.invalidate_all()
    cache.complete(question, -1, 0.1)
    assert cache.cached_status("a", 0.2) is None


def test_the_late_answer_of_an_invalidated_lookup_does_not_complete_the_new_one() -> None:
    cache = linked()
    old = cache.begin_lookup("a", 0.0, None)
    cache.invalidate("a")
    new = cache.begin_lookup("a", 0.1, None)
    cache.complete(old, -1, 0.2)
    assert cache.pending_lookup("a") is new
    assert cache.complete(new, -2, 0.3) is TokenStatus.REVOKED
    assert cache.cached_status("a", 0.3) is TokenStatus.REVOKED


def test_an_answer_that_took_longer_than_the_bound_is_not_returned() -> None:
    cache = linked()
    assert cache.complete(cache.begin_lookup("a", 0.0, None), -1, BOUND) is None
    cache.extend_trust(BOUND)
    assert cache.cached_status("a", BOUND) is None


def test_a_token_is_not_active_beyond_the_lifetime_that_redis_gave_even_without_an_invalidation() -> None:
    cache = linked()
    cache.complete(cache.begin_lookup("a", 1.0, None), 2000, 1.5)
    assert cache.cached_status("a", 2.9) is TokenStatus.ACTIVE
    assert cache.cached_status("a", 3.0) is None


def test_an_absent_token_is_cached_briefly() -> None:
    cache = linked()
    cache.complete(cache.begin_lookup("a", 0.0, None), -2, 0.1)
    assert cache.cached_status("a", ABSENT_FOR_SECONDS - 0.1) is TokenStatus.REVOKED
    assert cache.cached_status("a", ABSENT_FOR_SECONDS) is None


def test_absent_tokens_do_not_evict_active_ones() -> None:
    cache: TokenCache[None] = TokenCache(bound=BOUND, size=2, absent_size=5)
    cache.extend_trust(0.0)
    cache.complete(cache.begin_lookup("good", 0.0, None), -1, 0.0)
    for number in range(1000):
        cache.complete(cache.begin_lookup(str(number), 0.0, None), -2, 0.0)
    assert cache.cached_status("good", 0.1) is TokenStatus.ACTIVE
    assert len(cache) <= 11


def test_a_lost_connection_clears_the_cache() -> None:
    cache = linked()
    cache.complete(cache.begin_lookup("a", 0.0, None), -1, 0.1)
    cache.connection_lost()
    assert cache.cached_status("a", 0.2) is None
    cache.extend_trust(0.3)
    assert cache.cached_status("a", 0.4) is None
