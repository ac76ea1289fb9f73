"""The entries that the sealed tree has for one boot, in little memory: 32 bytes for a frame without faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit_log.entries import FaultEntry, FaultReason
from oauth_core.audit_log.frames import FrameKind
from oauth_core.audit_log.merkle import HASH_BYTES
from oauth_core.crypto.digests import sha256
from portcullis.audit.segments import Damage, DamageKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.audit_log.entries import Entry

Place = tuple[int, int]
"""The place of a frame among the sealed ones of its boot; places are in the order of the tree."""


class SealedBoot:
    """The entries of the tree for one boot.

    Numbers of frames go on by one, so that their digests are in one array. Other frames, which are only there if
    the sealer found faults, are in a dictionary.
    """

    def __init__(self) -> None:
        self.faults: list[FaultEntry] = []
        self.is_closed = False
        self.events = 0
        """The sequence number of the last sealed event."""
        self.openings: dict[int, int] = {}
        """The place in the whole tree of each opening frame, by its number."""
        self._start = 1
        self._digests = bytearray()
        self._others: dict[int, list[tuple[bytes, Place]]] = {}
        self._after = 0
        """Frames in `_others` since the last one in `_digests`."""
        self._seen = bytearray()
        """One byte for each frame of `_digests`: whether it was seen on the disk."""
        self._seen_others: set[int] = set()
        self._lowest = 0
        self._highest: int | None = None

    def add(self, entry: Entry, index: int = 0) -> None:
        """Take one entry of this boot, in the order of the tree; `index` is its place in the whole tree."""
        if isinstance(entry, FaultEntry):
            self.faults.append(entry)
            return
        if entry.kind is FrameKind.OPENING:
            self.openings[entry.number] = index
        if not self._digests and not self._others:
            self._start = entry.number
        if entry.number == self._start + len(self._digests) // HASH_BYTES:
            self._digests += entry.digest
            self._seen.append(0)
            self._after = 0
        else:
            self._after += 1
            place = (len(self._digests) // HASH_BYTES - 1, self._after)
            self._others.setdefault(entry.number, []).append((entry.digest, place))
        self.is_closed = entry.kind is FrameKind.CLOSING
        self.events = entry.first + entry.count - 1

    def leave_out(self, *, below: int = 0, above: int | None = None) -> None:
        """Forget the frames that are not asked for."""
        self._lowest = max(self._lowest, below)
        if above is not None:
            self._highest = above

    def places_of(self, number: int, digest: bytes) -> list[Place]:
        """The places of a frame; more than one only if it was there more than once when it was sealed."""
        if not self._is_asked_for(number):
            return []
        index = number - self._start
        begin = index * HASH_BYTES
        is_regular = index >= 0 and self._digests[begin : begin + HASH_BYTES] == digest
        others = [place for other, place in self._others.get(number, ()) if other == digest]
        return sorted(([(index, 0)] if is_regular else []) + others)

    def is_regular(self, number: int, digest: bytes) -> bool:
        """Whether a frame is sealed, and followed the one before it."""
        return any(not after for _, after in self.places_of(number, digest))

    def is_irregular(self, number: int) -> bool:
        """Whether the frame with this number, or another one with it, did not follow the one before it."""
        return number in self._others

    def mark(self, number: int) -> None:
        """Note that a sealed frame with this number is on the disk."""
        if 0 <= number - self._start < len(self._seen):
            self._seen[number - self._start] = 1
        else:
            self._seen_others.add(number)

    def was_seen(self, number: int) -> bool:
        """Whether `mark` was called for this number."""
        if 0 <= number - self._start < len(self._seen):
            return bool(self._seen[number - self._start])
        return number in self._seen_others

    def unseen(self) -> list[int]:
        """The numbers of the frames that are asked for and were not seen, ascending."""
        return sorted(number for number in self.numbers() if not self.was_seen(number))

    def digest_of(self, number: int) -> bytes | None:
        """The digest of the frame with this number that was sealed last, if there is one."""
        if number in self._others:
            return self._others[number][-1][0]
        begin = (number - self._start) * HASH_BYTES
        return bytes(self._digests[begin : begin + HASH_BYTES]) or None if begin >= 0 else None

    def has_frames(self, number: int, count: int, digest: bytes) -> bool:
        """Whether `count` regular frames from `number` on have digests with this SHA-256."""
        begin = (number - self._start) * HASH_BYTES
        found = self._digests[begin : begin + count * HASH_BYTES] if begin >= 0 else b""
        return len(found) == count * HASH_BYTES and sha256(bytes(found)) == digest

    def __contains__(self, number: int) -> bool:
        is_regular = 0 <= number - self._start < len(self._digests) // HASH_BYTES
        return self._is_asked_for(number) and (is_regular or number in self._others)

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of the frames that are asked for, each once."""
        end = self._start + len(self._digests) // HASH_BYTES
        yield from filter(self._is_asked_for, range(self._start, end))
        yield from (number for number in self._others if number in self and not self._start <= number < end)

    @property
    def last(self) -> int:
        """The highest number, or 0."""
        return max([self._start + len(self._digests) // HASH_BYTES - 1, *self._others]) if self._digests else 0

    def has_fault(self, damage: Damage) -> bool:
        """Whether the sealer found this damage too."""
        if damage.kind is DamageKind.NO_SEGMENT:
            missing = {fault.segment for fault in self.faults if fault.reason is FaultReason.NO_SEGMENT}
            return damage.segment in missing
        return (damage.segment, damage.offset) in {(fault.segment, fault.offset) for fault in self.faults}

    def _is_asked_for(self, number: int) -> bool:
        return number >= self._lowest and (self._highest is None or number <= self._highest)
