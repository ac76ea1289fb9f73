"""One sign-in whose refresh token was stolen: every order of actions of the owner and the thief, on a real Redis.

The rules of a family, as a model: only its last token is unused. A used token is answered with that last token
as long as its successor was not used (at most for the retry window), and for the grace after that. Every other
use ends the family.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from redis.asyncio import Redis

from oauth_core.model import Grant, User
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.refresh_rotation import (
    FamilyGone,
    ReplayDetected,
    RestoredFamily,
    RetriedToken,
    RotationSucceeded,
)
from oauth_core.tokens import refresh_tokens
from tests.support.master_key import RECORD_KEY
from tests.support.property_tests import examples
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.tokens.refresh_tokens import RefreshToken

GRACE, WINDOW = 10, 3600
_IDS = itertools.count()


@dataclass
class Family:
    """A sign-in on a real Redis, with a simulated clock."""

    loop: asyncio.Runner
    store: GrantStore
    now: int = field(default_factory=lambda: int(time.time()))
    ended: bool = False

    def begin(self) -> RefreshToken:
        grant_id = f"family{next(_IDS):016}"
        token = refresh_tokens.first_token(grant_id)
        grant = Grant(grant_id, "client", ("s",), ("r",), self.now, self.now + 10**8, User(7, "owner"))
        self.loop.run(self.store.create(grant, token))
        return token

    def refresh(self, token: RefreshToken) -> RefreshToken | None:
        """The answer of the token endpoint: the current token, or nothing and the end of the family."""
        fresh = token.successor()
        outcome = self.loop.run(
            self.store.rotate(token, fresh, now=self.now, grace=GRACE, retry_window=WINDOW, source="x")
        )
        match outcome:
            case RotationSucceeded():
                return fresh
            case RetriedToken(sealed):
                return token.unseal_successors(sealed)
            case ReplayDetected() | RestoredFamily():
                assert self.loop.run(self.store.end(token.grant_id))
                self.ended = True
                return None
            case FamilyGone():
                assert self.ended
                return None


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[asyncio.Runner, GrantStore]]:
    with running_redis() as server, asyncio.Runner() as runner:
        redis = Redis(unix_socket_path=str(server.socket), decode_responses=True)
        yield runner, GrantStore(redis, RECORD_KEY)
        runner.run(redis.aclose())


class TwoParties(RuleBasedStateMachine):
    """The owner presents its newest token. A thief may copy that at any time, and presents any token it had."""

    store: tuple[asyncio.Runner, GrantStore]

    def __init__(self) -> None:
        super().__init__()
        self.family = Family(*self.store)
        first = self.family.begin()
        self.line = [first]
        """All tokens, the oldest first."""
        self.used_at: list[int] = []
        """The time of the first use of each token except the last."""
        self.owners: list[RefreshToken] = [first]
        self.thiefs: list[RefreshToken] = []

    def present(self, token: RefreshToken) -> RefreshToken | None:
        """Refresh, and compare the answer with the model."""
        place, last, now = self.line.index(token), len(self.line) - 1, self.family.now
        if place == last:
            good = True
        elif place == last - 1:
            good = now - self.used_at[place] <= WINDOW
        else:
            good = now - self.used_at[place + 1] <= GRACE
        good = good and not self.family.ended
        answer = self.family.refresh(token)
        assert (answer is not None) is good
        if answer is not None and place == last:
            self.line.append(answer)
            self.used_at.append(now)
        # The family never forks: there is one current token, and every successful answer has it.
        assert answer is None or answer == self.line[-1]
        assert self.family.ended is not good
        return answer

    @rule(seconds=st.sampled_from([1, GRACE, GRACE + 1, 600, WINDOW, WINDOW + 1]))
    def time_passes(self, seconds: int) -> None:
        self.family.now += seconds

    @rule(gets_lost=st.booleans())
    def the_owner_refreshes(self, *, gets_lost: bool) -> None:
        answer = self.present(self.owners[-1])
        if answer is not None and not gets_lost:
            self.owners.append(answer)

    @rule()
    def a_copy_is_stolen(self) -> None:
        self.thiefs.append(self.owners[-1])

    @precondition(lambda self: self.thiefs)
    @rule(data=st.data())
    def the_thief_refreshes(self, data: st.DataObject) -> None:
        answer = self.present(data.draw(st.sampled_from(self.thiefs)))
        if answer is not None:
            self.thiefs.append(answer)

    def teardown(self) -> None:
        """From here on one of the two is a use ahead, for longer than the grace: they cannot both continue."""
        if self.thiefs and not self.family.ended:
            ahead, behind = self.owners, self.thiefs
            if self.line.index(self.thiefs[-1]) > self.line.index(self.owners[-1]):
                ahead, behind = behind, ahead
            self.family.now += WINDOW + 1
            for _ in range(2):
                if (answer := self.present(ahead[-1])) is None:
                    break
                ahead.append(answer)
            self.family.now += GRACE + 1
            assert self.present(behind[-1]) is None
            assert self.present(ahead[-1]) is None, "a use by the other ends both"


@pytest.mark.hypothesis
@pytest.mark.requirement("oauth21:refresh-rotation", "mcp:rotate")
def test_an_owner_and_a_thief_cannot_continue_separately(store: tuple[asyncio.Runner, GrantStore]) -> None:
    machine = type("TwoPartiesHere", (TwoParties,), {"store": store})
    run_state_machine_as_test(machine, settings=settings(examples(150), stateful_step_count=25))


@examples(40)
@given(rounds=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=6))
def test_processes_of_one_client_that_share_a_file_do_not_lose_the_family(
    store: tuple[asyncio.Runner, GrantStore], rounds: list[list[int]]
) -> None:
    """In each round all processes have read the file, and refresh in any order, any number of times, within the
    grace.
    """
    family = Family(*store)
    file = family.begin()
    for turns in rounds:
        holds = [file] * 3
        for process in turns:
            answer = family.refresh(holds[process])
            assert answer is not None
            holds[process] = file = answer
            family.now += 1
        family.now += 1800


def test_two_copies_that_refresh_in_turn_look_like_processes_of_one_client(
    store: tuple[asyncio.Runner, GrantStore],
) -> None:
    """The limit of rotation: each use comes before the next one.

    Binding (DPoP, certificates) protects against that.
    """
    family = Family(*store)
    owner = thief = family.begin()
    for _ in range(5):
        ahead, late = family.refresh(owner), family.refresh(thief)
        assert ahead is not None
        assert ahead == late
        owner = thief = ahead
        family.now += 600
