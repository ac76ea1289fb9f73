"""The result of a verification: findings, with which it fails, and notes, with which it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from portcullis.audit.shown import printable


class Word(Enum):
    """The kinds of findings. A verification with any finding fails."""

    ALTERED = "altered"
    """It differs from what was sealed."""
    MISSING = "missing"
    """It was sealed and is not there."""
    ADDED = "added"
    """It is there, and the sealer should have seen it and has not."""
    FORGED = "forged"
    """It is not signed by the key."""
    ROLLED_BACK = "rolled back"
    """An older or another tree is in the place of one that was signed."""
    DAMAGED = "damaged"
    """The sealer found it in this state, and sealed that."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: its kind, its place, and a sentence about it."""

    word: Word
    place: str
    detail: str

    def __str__(self) -> str:
        return f"{self.word.value}: {printable(self.place)}: {printable(self.detail)}"


@dataclass(slots=True)
class Report:
    """The result of a verification."""

    findings: list[Finding] = field(default_factory=list)
    unsealed: list[str] = field(default_factory=list)
    """Boots whose last frames no checkpoint covers yet, with their number."""
    unclosed: list[str] = field(default_factory=list)
    """Boots that ended without a closing frame: the program was killed, or the machine stopped."""
    gaps: list[str] = field(default_factory=list)
    """Times in which no checkpoint was signed."""
    deleted: list[str] = field(default_factory=list)
    """Deletions by retention that a signed note names: how much, when and why."""
    undeleted: list[str] = field(default_factory=list)
    """Segments that a signed note names and that are still there: the deletion was interrupted."""
    stamped: list[str] = field(default_factory=list)
    """Sentences about time stamps: the times that they prove, and stamps that were not verified."""
    size: int = 0
    """Entries of the sealed tree."""
    time: str = ""
    """The time of the checkpoint."""
    frames: int = 0
    """Stored frames that were compared with the tree."""
    events: int = 0
    """Events in these frames."""

    @property
    def is_intact(self) -> bool:
        """Whether everything that was sealed is there, unaltered."""
        return not self.findings

    def find(self, word: Word, place: str, detail: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(word, place, detail))


def ranges(numbers: list[int]) -> str:
    """Ascending numbers in words: `3, 7 to 9`."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][1] + 1:
            groups[-1][1] = number
        else:
            groups.append([number, number])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in groups)
