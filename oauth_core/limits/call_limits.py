"""Limits on calls: what a service, a role or a tool allows each person, and each client of a person."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from oauth_core.limits.allowances import Allowance, CallQuota, CallRate


class LimitKind(StrEnum):
    """The kinds of limits, for metrics: their number is fixed, whatever the settings and the callers are."""

    SERVICE = "service"
    CLIENT = "client"
    ROLE = "role"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class CallLimits:
    """The limits at one place of the settings.

    `rate` and `quota` are for each person, with all clients of that person together. `client_rate` is for each
    client of a person.
    """

    rate: CallRate | None = None
    client_rate: CallRate | None = None
    quota: CallQuota | None = None

    def __bool__(self) -> bool:
        """Whether there is a limit."""
        return bool(self.rate or self.client_rate or self.quota)

    def replaced_by(self, others: Sequence[CallLimits]) -> CallLimits:
        """These limits without each of a kind that one of the `others` has too."""
        return CallLimits(
            rate=None if any(other.rate for other in others) else self.rate,
            client_rate=None if any(other.client_rate for other in others) else self.client_rate,
            quota=None if any(other.quota for other in others) else self.quota,
        )


NO_LIMITS = CallLimits()


@dataclass(frozen=True, slots=True)
class ToolLimit:
    """The limits of the tools whose names match `pattern` (`*` for any text), all of them together."""

    pattern: str
    limits: CallLimits


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """The limits at one service: of all calls, and of tools. Only with the latter a limit depends on the body."""

    all_calls: CallLimits = NO_LIMITS
    tools: tuple[ToolLimit, ...] = ()


NO_SERVICE_LIMITS = ServiceLimits()


class CallLimit(NamedTuple):
    """One limit. `name` is unique among all limits of the settings, and says in words what is limited."""

    kind: LimitKind
    name: str
    allowance: Allowance


class Charge(NamedTuple):
    """A permit that a call needs: of `limit`, for a `subject` of the person `person`.

    The subject is the person, or one client of the person.
    """

    limit: CallLimit
    person: str
    subject: str


def charges_for(kind: LimitKind, place: str, limits: CallLimits, person: str, client_id: str) -> list[Charge]:
    """The permits that a call needs by the `limits` at `place`, such as `service time`."""
    found = []
    if limits.rate:
        found.append(Charge(CallLimit(kind, f"rate of {place}", limits.rate), person, person))
    if limits.client_rate:
        # Of this person only. A client of many people, such as a hosted one, must not be shut out by one of them.
        limit = CallLimit(LimitKind.CLIENT, f"client_rate of {place}", limits.client_rate)
        found.append(Charge(limit, person, f"{person} {client_id}"))
    if limits.quota:
        found.append(Charge(CallLimit(kind, f"quota of {place}", limits.quota), person, person))
    return found


def most_generous(given: Iterable[tuple[str, CallLimits]]) -> tuple[tuple[str, CallLimits], ...]:
    """Of limits under several names, the most generous rate, client rate and quota, each under its name.

    A name without a limit of a kind says nothing about that kind.
    """
    named = tuple(given)
    found: list[tuple[str, CallLimits]] = []
    if rates := [(name, limits.rate) for name, limits in named if limits.rate]:
        name, rate = max(rates, key=_pace)
        found.append((name, CallLimits(rate=rate)))
    if rates := [(name, limits.client_rate) for name, limits in named if limits.client_rate]:
        name, rate = max(rates, key=_pace)
        found.append((name, CallLimits(client_rate=rate)))
    if quotas := [(name, limits.quota) for name, limits in named if limits.quota]:
        name, quota = max(quotas, key=lambda named: named[1].count)
        found.append((name, CallLimits(quota=quota)))
    return tuple(found)


def _pace(named: tuple[str, CallRate]) -> tuple[Fraction, int]:
    """The order of rates: by calls a second, then by how many may come at once."""
    return Fraction(named[1].count, named[1].seconds), named[1].count
