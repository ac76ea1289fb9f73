"""Follows one boot for the sealer: turns its new frames, and what does not fit, into entries of the tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from oauth_core.audit_log.chain import Chain
from oauth_core.audit_log.entries import NO_NODE, FaultEntry, FaultReason, FrameEntry, entry_of
from oauth_core.audit_log.frames import FrameKind
from portcullis.audit.segments import Boot, BootReader, Damage, DamageKind, StoredFrame, node_of, opening_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oauth_core.audit_log.entries import Entry

_REASONS = {
    DamageKind.NO_FRAME: FaultReason.NO_FRAME,
    DamageKind.NO_FILE: FaultReason.NO_FRAME,
    DamageKind.CUT: FaultReason.CUT,
    DamageKind.SHORTER: FaultReason.SHORTER,
    DamageKind.NO_SEGMENT: FaultReason.NO_SEGMENT,
}


@dataclass(slots=True)
class Follower:
    """One boot, the end of its chain, and the place where reading goes on.

    With `catching_up` the place may be before frames that are sealed already: those are left out.
    """

    boot: Boot
    reader: BootReader
    chain: Chain = field(default_factory=Chain)
    node: str = NO_NODE
    catching_up: bool = False
    is_deleted: Callable[[Boot, int], bool] = lambda _boot, _segment: False
    """Whether retention has deleted a segment of the boot."""

    @property
    def key(self) -> str:
        """The name of the boot among all boots."""
        return self.boot.key

    @property
    def last_event(self) -> int:
        """The sequence number of the last sealed event, or 0."""
        return self.chain.following - 1

    def entries(self, most: int) -> Iterator[Entry]:
        """Yield the entries of what is new, `most` or a few more. Raises `OSError`."""
        given = 0
        for found in self.reader.read():
            for entry in self._entries_of(found):
                given += 1
                yield entry
            if given >= most:
                return

    def take(self, entry: Entry) -> None:
        """Go on behind an entry that is sealed already."""
        self.node = entry.node
        if isinstance(entry, FrameEntry):
            closed = entry.kind is FrameKind.CLOSING
            self.chain = Chain(entry.number, entry.first + entry.count, entry.digest, closed)
            self.catching_up = True

    def saved(self) -> dict[str, object]:
        """The state as JSON."""
        place: dict[str, object] = {"segment": self.reader.segment, "offset": self.reader.offset}
        chain = self.chain
        state = {"number": chain.number, "following": chain.following, "digest": chain.digest.hex()}
        return place | state | {"closed": chain.closed, "node": self.node, "catching_up": self.catching_up}

    @classmethod
    def restored(cls, boot: Boot, saved: dict[str, Any]) -> Follower:
        """The follower of a saved state. Raises `ValueError`, `KeyError` and `TypeError` for another form."""
        digest = bytes.fromhex(saved["digest"])
        chain = Chain(int(saved["number"]), int(saved["following"]), digest, bool(saved["closed"]))
        reader = BootReader(boot, segment=int(saved["segment"]), offset=int(saved["offset"]))
        return cls(boot, reader, chain, str(saved["node"]), bool(saved["catching_up"]))

    def _entries_of(self, found: StoredFrame | Damage) -> Iterator[Entry]:
        if isinstance(found, Damage):
            is_deleted = found.kind is DamageKind.NO_SEGMENT and self.is_deleted(self.boot, found.segment)
            if not self.catching_up and not is_deleted:
                yield self._fault(found.segment, found.offset, _REASONS[found.kind])
            return
        frame = found.frame
        if self.catching_up:
            if frame.digest == self.chain.digest:
                self.catching_up = False
                return
            if frame.number <= self.chain.number:
                return
            # The last sealed frame is not where it was: what follows does not fit to it.
            self.catching_up = False
        if frame.kind is FrameKind.OPENING:
            opening = opening_of(frame)
            place = (self.boot.writer, self.boot.name, found.segment)
            if self.node == NO_NODE:
                self.node = node_of(opening)
            if (opening.get("writer"), opening.get("boot"), opening.get("segment")) != place:
                yield self._fault(found.segment, found.offset, FaultReason.MISPLACED)
        if self.chain.fault_of(frame) is not None:
            yield self._fault(found.segment, found.offset, FaultReason.CHAIN)
        self.chain.add(frame)
        yield entry_of(frame, node=self.node, writer=self.boot.writer, boot=self.boot.name)

    def _fault(self, segment: int, offset: int, reason: FaultReason) -> FaultEntry:
        return FaultEntry(self.node, self.boot.writer, self.boot.name, segment, offset, reason)
