"""Writes segments of audit events for tests, as a program would, without a running program."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from oauth_core.audit_log.frames import FrameEncoder, FrameKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

BOOT = "20261130T060000Z-0123abcd"
NODE = "node-1"


class SegmentWriter:
    """One boot of a writer. Each call appends to its current segment at once."""

    def __init__(
        self, audit_dir: Path, writer: str = "ext_authz.0", boot: str = BOOT, *, node: str = NODE
    ) -> None:
        self.folder = audit_dir / "segments" / writer / boot
        self.folder.mkdir(parents=True, exist_ok=True)
        self.writer, self.boot, self.node = writer, boot, node
        self.encoder = FrameEncoder()
        self.index = 0
        self.open_segment()

    @property
    def path(self) -> Path:
        """The current segment."""
        return self.folder / f"{self.index:06}.seg"

    def open_segment(self, time: str = "2026-11-30T06:00:00.000000Z") -> None:
        """Start the next segment with its opening frame."""
        self.index += 1
        head = {"format": 1, "node": self.node, "writer": self.writer, "boot": self.boot}
        head |= {"segment": self.index, "program": "0.1.0", "time": time}
        self.append(FrameKind.OPENING, [json.dumps(head, separators=(",", ":")).encode()])

    def write(self, *events: bytes | dict[str, object]) -> bytes:
        """Append one frame with these events, and return it."""
        return self.append(FrameKind.EVENTS, [line_of(event) for event in events])

    def close(self, time: str = "2026-11-30T07:00:00.000000Z") -> None:
        """Append the closing frame."""
        self.append(FrameKind.CLOSING, [json.dumps({"time": time, "reason": "stopped"}).encode()])

    def append(self, kind: FrameKind, lines: Iterable[bytes]) -> bytes:
        """Append a frame of any kind, and return it."""
        frame = self.encoder.encode(kind, lines)
        with self.path.open("ab") as file:
            file.write(frame)
        return frame


def line_of(event: bytes | dict[str, object]) -> bytes:
    """The stored line of an event; a line is returned unchanged."""
    return event if isinstance(event, bytes) else json.dumps(event, separators=(",", ":")).encode()


def event(number: int, **fields: object) -> dict[str, object]:
    """An event in the schema of version 1, a different one for each number."""
    given: dict[str, object] = {"v": 1, "time": f"2026-11-30T06:{number // 60 % 60:02}:{number % 60:02}.000000Z"}
    return given | {"event": "access.allowed", "outcome": "allowed", "call": f"call-{number}"} | fields


def write_segment(
    audit_dir: Path,
    writer: str = "ext_authz.0",
    boot: str = BOOT,
    batches: Sequence[Sequence[bytes | dict[str, object]]] = (),
    *,
    node: str = NODE,
    closed: bool = True,
) -> SegmentWriter:
    """Write a boot with one segment: its opening, a frame for each batch and, if `closed`, its closing."""
    written = SegmentWriter(audit_dir, writer, boot, node=node)
    for batch in batches:
        written.write(*batch)
    if closed:
        written.close()
    return written
