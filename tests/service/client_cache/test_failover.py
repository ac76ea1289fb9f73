"""Failover against every order of events: servers, Sentinels and the network act in any order, step by step.

The process under test is the real one (see `tests/service/client_cache/simulation.py`). Sentinels do only their
own work: when a majority agrees on a primary, a replica that followed it may be promoted. One Sentinel sees the
promotion first; the others see it sooner, later or never. No Sentinel returns to an earlier primary. The old
primary may continue to answer, and to report itself as a primary, until it learns of the new one.

The truth is the state of the server that a majority of the Sentinels names: a write there is acknowledged by
the current primary. Data that its successor does not have is lost, and counts from then on as never written.
Redis does not promise more.

In a cluster the voters are the primaries of other slots, of which there are two, and the server itself.

In every order of events, a token that has been revoked for as long as the bound is refused. Once all faults
have ended, the answers are true.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oauth_core.policy.decision import TokenStatus
from oauth_core.store import keyspace
from oauth_core.store.client_cache.client_cache import ClientCache
from oauth_core.store.topology.cluster import ClusterNodes
from oauth_core.store.topology.topology import Sentinels
from tests.service.client_cache.lives import Lives
from tests.service.client_cache.simulation import Place, SentinelPlace, Server, SimulatedLoop
from tests.support.property_tests import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.store.topology.topology import RedisTopology

BOUND = 10.0
NAMES = ("x", "y")
TOKENS = st.sampled_from(NAMES)
SERVERS = st.integers(0, 1)
WITNESSES = st.integers(0, 2)
LINES = st.sampled_from(["prompt", "prompt", "late requests", "late answers", "dark"])


class FailOver(RuleBasedStateMachine):
    """One process, two servers, three Sentinels."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulatedLoop()
        self.servers = [Server(("server", number)) for number in range(2)]
        self.primaries = [self.servers[0]]
        self.true_server = self.servers[0]
        self.true_server.is_primary = True
        self.witnesses, topology = self.surroundings()
        self.places = {place.address: place for place in (*self.servers, *self.witnesses)}
        for place in self.places.values():
            place.opinion = self.true_server.address
        self.truth = Lives()
        self.wrong: list[str] = []
        self.cache = ClientCache(topology, timeout=BOUND, bound=BOUND, size=2, clock=self.loop.time)
        self.keeping = self.loop.create_task(self.cache.maintain_connections())
        for jti in NAMES:
            self.write(self.true_server, jti, exists=True)

    def surroundings(self) -> tuple[Sequence[Place], RedisTopology]:
        """The voters, and how the process asks them."""
        sentinels = [SentinelPlace(("sentinel", number)) for number in range(3)]
        topology = Sentinels(
            "portcullis",
            [(sentinel.address, sentinel.client(others=2)) for sentinel in sentinels],
            lambda address: self.servers[address[1]].client(),
            bound=BOUND,
            clock=self.loop.time,
        )
        return sentinels, topology

    def named(self) -> Server | None:
        """The server that a majority of the voters names as the primary."""
        opinions = [witness.opinion for witness in self.witnesses]
        for server in self.servers:
            if opinions.count(server.address) * 2 > len(opinions):
                return server
        return None

    def note_the_truth(self) -> None:
        """While no majority names a primary, the state of the last one stays the truth: no other can be found."""
        self.true_server = self.named() or self.true_server
        for jti in NAMES:
            was_alive = self.truth.life(jti, self.loop.now) is not None
            is_alive = keyspace.token(jti) in self.true_server.keys
            if is_alive and not was_alive:
                self.truth.begin(jti, self.loop.now)
            elif was_alive and not is_alive:
                self.truth.end(jti, self.loop.now)

    def flow(self) -> None:
        """Deliver everything that needs no time and that no line delays."""
        self.note_the_truth()
        self.loop.settle()
        while any(place.flow() for place in self.places.values()):
            self.loop.settle()

    def teardown(self) -> None:
        """All faults end, and the answers are true."""
        try:
            self.calm_down()
            for jti in NAMES:
                is_alive = self.truth.life(jti, self.loop.now) is not None
                told = self.loop.create_task(self.cache.token_status(jti))
                while not told.done():  # within the cache's own deadline
                    self.pass_time(BOUND / 40)
                wanted = TokenStatus.ACTIVE if is_alive else TokenStatus.REVOKED
                assert told.result() is wanted, jti
                assert self.cache.cached_status(jti) is wanted, "and it is cached"
            assert self.cache.is_connected
        finally:
            self.keeping.cancel()
            self.loop.run_until_complete(asyncio.gather(self.keeping, return_exceptions=True))
            self.loop.close()

    def calm_down(self) -> None:
        for place in self.places.values():
            place.line = "prompt"
        for witness in self.witnesses:
            witness.opinion = self.primaries[-1].address
        self.everybody_follows_the_last_primary()
        for _ in range(16):
            self.pass_time(BOUND / 4)

    def pass_time(self, seconds: float) -> None:
        self.loop.now += seconds
        self.flow()

    # -- writes

    def write(self, server: Server, jti: str, *, exists: bool) -> None:
        followers = [other for other in self.servers if not other.is_primary and server is self.primaries[-1]]
        for place in (server, *followers):
            place.change(keyspace.token(jti), exists=exists)
        self.flow()

    @rule(jti=TOKENS, exists=st.sampled_from([True, False, False]))
    def the_primary_acknowledges(self, jti: str, *, exists: bool) -> None:
        server = self.named()
        if server is not None and server.is_primary:
            self.write(server, jti, exists=exists)

    @rule(jti=TOKENS)
    def somebody_revokes_at_one_that_is_deposed_and_does_not_know_it(self, jti: str) -> None:
        for server in self.servers:
            if server.is_primary and server is not self.named():
                self.write(server, jti, exists=False)

    # -- actions of servers and Sentinels

    @precondition(lambda self: self.next_primary() is not None)
    @rule(leader=WITNESSES)
    def a_replica_is_made_the_primary(self, leader: int) -> None:
        """The replica is promoted. It and the voter that led the promotion have this information."""
        new = self.next_primary()
        if new is not None:
            new.is_primary = True
            self.primaries.append(new)
            for place in (new, self.witness(leader)):
                place.opinion = new.address
        self.flow()

    def witness(self, number: int) -> Place:
        return self.witnesses[number % len(self.witnesses)]

    def next_primary(self) -> Server | None:
        """A replica of the primary that a majority names, with all of its data."""
        named = self.named()
        if named is None or named is not self.primaries[-1]:
            return None
        return next((server for server in self.servers if not server.is_primary), None)

    @rule(number=WITNESSES)
    def a_witness_hears_of_the_last_primary(self, number: int) -> None:
        self.witness(number).opinion = self.primaries[-1].address
        self.flow()

    @precondition(lambda self: isinstance(self.witnesses[0], SentinelPlace))
    @rule(number=WITNESSES)
    def a_sentinel_knows_of_none(self, number: int) -> None:
        self.witness(number).opinion = None
        self.flow()

    @rule()
    def everybody_follows_the_last_primary(self) -> None:
        for server in self.servers:
            server.opinion = self.primaries[-1].address
            if server is not self.primaries[-1]:
                server.is_primary = False
                server.become_like(self.primaries[-1])
        self.flow()

    # -- actions of the network

    @rule(place=st.integers(0, 4), line=LINES)
    def a_line_changes(self, place: int, line: str) -> None:
        list(self.places.values())[place % len(self.places)].line = line  # type: ignore[assignment] # one of `LINES`
        self.flow()

    @rule(place=st.integers(0, 4))
    def what_is_late_comes_one_by_one(self, place: int) -> None:
        late = list(self.places.values())[place % len(self.places)]
        if late.requests:
            late.serve_one()
        elif late.answers:
            late.answers.pop(0).arrive()
        self.flow()

    @rule(server=SERVERS)
    def an_invalidation_overtakes(self, server: int) -> None:
        answers = self.servers[server].answers
        push = next((answer for answer in answers if answer.is_push), None)
        if push is not None:
            answers.remove(push)
            push.arrive()
        self.flow()

    @rule(server=SERVERS)
    def connections_are_cut(self, server: int) -> None:
        self.servers[server].cut()
        self.flow()

    # -- actions of the process

    @rule(jti=TOKENS)
    def ask(self, jti: str) -> None:
        asking = self.loop.create_task(self.cache.token_status(jti))
        asking.add_done_callback(partial(self.told, jti))
        self.flow()

    def told(self, jti: str, asking: asyncio.Task[TokenStatus]) -> None:
        if not asking.cancelled():
            self.judge(jti, asking.result())

    def judge(self, jti: str, answer: TokenStatus | None) -> None:
        now = self.loop.now
        if answer is TokenStatus.ACTIVE and not self.truth.was(answer, jti, now - BOUND, now):
            self.wrong.append(f"{jti} passes at {now}")

    @rule(steps=st.sampled_from([1, 2, 4, 6]))
    def time_passes(self, steps: int) -> None:
        for _ in range(steps):
            self.pass_time(BOUND / 5)

    @rule(seconds=st.sampled_from([0.5, 6.0, 9.5]))
    def the_process_is_frozen_for_a_while(self, seconds: float) -> None:
        self.pass_time(seconds)

    # -- invariants

    @invariant()
    def nobody_passes_with_what_has_been_dead_for_as_long_as_the_bound(self) -> None:
        for jti in NAMES:
            self.judge(jti, self.cache.cached_status(jti))
        assert not self.wrong
        assert not self.keeping.done()


class FailOverInACluster(FailOver):
    """One process, a primary with its replica, and two other primaries."""

    def surroundings(self) -> tuple[Sequence[Place], RedisTopology]:
        """See `FailOver`."""
        others = [Server(("server", number), is_primary=True) for number in (2, 3)]
        every: list[Server] = [*self.servers, *others]
        for server in every:
            server.others = tuple(other.address for other in others)
        topology = ClusterNodes(
            [server.address for server in every],
            lambda address: every[address[1]].client(),
            bound=BOUND,
            clock=self.loop.time,
        )
        return others, topology


SETTINGS = settings(examples(60), stateful_step_count=40)
FailOver.TestCase.settings = FailOverInACluster.TestCase.settings = SETTINGS
test_fail_over_behind_sentinels_against_every_order_of_events = FailOver.TestCase
test_fail_over_in_a_cluster_against_every_order_of_events = FailOverInACluster.TestCase
