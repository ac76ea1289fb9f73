"""The chain of one boot: whether a frame follows the one before it.

The sealer and every reader check the frames of a boot in their order with this one rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from oauth_core.audit_log.frames import NO_FRAME, Frame, FrameKind


@dataclass(slots=True)
class Chain:
    """The end of the chain so far: the last frame's number and digest, and the next event's sequence number."""

    number: int = 0
    following: int = 1
    digest: bytes = NO_FRAME
    closed: bool = False

    def fault_of(self, frame: Frame) -> str | None:
        """Return the reason why `frame` is not the next one, or `None` if it is."""
        if self.closed:
            return "a frame follows the closing one"
        if frame.number != self.number + 1:
            return f"frame {frame.number} follows frame {self.number}"
        if frame.before != self.digest:
            return f"frame {frame.number} does not have the digest of the frame before it"
        if frame.first != self.following:
            return f"frame {frame.number} begins with event {frame.first} instead of {self.following}"
        if frame.number == 1 and frame.kind is not FrameKind.OPENING:
            return "the first frame does not open a segment"
        return None

    def add(self, frame: Frame) -> None:
        """Go on after `frame`, whether it is the next one or not."""
        self.number = frame.number
        self.following = frame.following
        self.digest = frame.digest
        self.closed = frame.kind is FrameKind.CLOSING
