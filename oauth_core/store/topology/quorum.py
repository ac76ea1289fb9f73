"""Determines the authoritative primary of Redis from the last answer of each voter: a majority must agree.

Voters are Sentinels, which name the one primary, or the primaries of a cluster, which name the owners of the
slots. `oauth_core.store.client_cache.token_cache` explains the theory; this module does no input or output.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

Address = tuple[str, int]
NEVER = -float("inf")
SLOTS = 16384
"""The slots of a Redis Cluster."""


@dataclass(frozen=True)
class OwnershipReport:
    """The answer of a voter: the primary of each range of slots, first and last slot included."""

    ranges: tuple[tuple[int, int, Address], ...]

    @cached_property
    def owners(self) -> frozenset[Address]:
        """Every primary in the answer."""
        return frozenset(address for _, _, address in self.ranges)

    def owner(self, slot: int) -> Address | None:
        """Return the primary of `slot`."""
        return _table(self.ranges).get(slot)


@lru_cache(maxsize=16)
def _table(ranges: tuple[tuple[int, int, Address], ...]) -> dict[int, Address]:
    return {slot: address for first, last, address in ranges for slot in range(first, last + 1)}


@dataclass(frozen=True)
class _Answer:
    report: OwnershipReport
    sent_at: float


class Quorum:
    """The agreement and its end. All times are seconds of one clock that never goes back."""

    def __init__(self, *, bound: float, voters: frozenset[Address] | None = None) -> None:
        """`voters` are the addresses of the voters (Sentinels). With `None` the voters are the primaries
        that the answers name (a cluster).

        A primary is accepted when a majority of the voters names it and it confirms its role itself.
        """
        self._bound = bound
        self._voters = voters
        self._minimum_voters = len(voters or ())
        self._answers: dict[Address, _Answer] = {}
        self._agreed: dict[int, tuple[Address | None, float]] = {}

    def set_minimum_voters(self, minimum: int) -> None:
        """Set the number of voters from a Sentinel, which knows that many Sentinels, itself included."""
        if minimum > self._minimum_voters:
            self._minimum_voters = minimum
            self._agreed.clear()

    def record_report(self, voter: Address, report: OwnershipReport, sent_at: float) -> bool:
        """Record the report of `voter`, asked at `sent_at`. Returns whether the report of any voter changed."""
        before = self._answers.get(voter)
        old = [name for name, answer in self._answers.items() if answer.sent_at + self._bound <= sent_at]
        for name in old:
            del self._answers[name]
        self._answers[voter] = _Answer(report, sent_at)
        self._agreed.clear()
        return bool(old) or before is None or before.report != report

    def owner(self, slot: int) -> tuple[Address | None, float]:
        """Return the server that counts for `slot`, and until when it does."""
        agreed = self._agreed.get(slot)
        if agreed is None:
            agreed = self._agreed[slot] = self._count(slot)
        return agreed

    @property
    def named_primaries(self) -> frozenset[Address]:
        """Every primary that a voter names."""
        return frozenset(
            address
            for name, answer in self._answers.items()
            if self._voters is None or name in self._voters
            for address in answer.report.owners
        )

    @property
    def until(self) -> float:
        """The time until which there is an agreement about every slot that a voter names."""
        firsts = {first for answer in self._answers.values() for first, _, _ in answer.report.ranges}
        return min((self.owner(first)[1] for first in firsts), default=NEVER)

    def _count(self, slot: int) -> tuple[Address | None, float]:
        voters = self.named_primaries if self._voters is None else self._voters
        needed = max(len(voters), self._minimum_voters) // 2 + 1
        confirmed_at: dict[Address, list[float]] = {}
        for voter in voters:
            answer = self._answers.get(voter)
            address = None if answer is None else answer.report.owner(slot)
            if answer is not None and address is not None:
                confirmed_at.setdefault(address, []).append(answer.sent_at)
        for address, times in confirmed_at.items():
            if len(times) >= needed:
                return address, min(sorted(times)[-needed], self._own_answer_time(address, slot)) + self._bound
        return None, NEVER

    def _own_answer_time(self, address: Address, slot: int) -> float:
        """Return when the server at `address` last confirmed its role; a majority alone may be outdated."""
        answer = self._answers.get(address)
        return answer.sent_at if answer is not None and answer.report.owner(slot) == address else NEVER
