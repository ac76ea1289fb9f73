"""What a check of the doctor answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """Whether what must hold does."""

    HOLDS = "ok"
    BROKEN = "FAIL"
    UNTRIED = "untried"


@dataclass(frozen=True)
class Finding:
    """One check: what must hold, whether it does, and what was seen."""

    claim: str
    outcome: Outcome
    seen: str = ""


def finding(claim: str, holds: bool, seen: str) -> Finding:  # noqa: FBT001 - every check asks one question
    """The finding of a check that could be made."""
    return Finding(claim, Outcome.HOLDS if holds else Outcome.BROKEN, seen)
