"""The result of one check of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """Whether the claim of a check holds."""

    HOLDS = "ok"
    BROKEN = "FAIL"
    UNTRIED = "untried"


@dataclass(frozen=True)
class Finding:
    """One check: its claim, whether the claim holds, and what the doctor saw."""

    claim: str
    outcome: Outcome
    seen: str = ""


def finding(claim: str, holds: bool, seen: str) -> Finding:  # noqa: FBT001 - every check asks one question
    """The finding of a check that was made."""
    return Finding(claim, Outcome.HOLDS if holds else Outcome.BROKEN, seen)
