"""Reads the audit record that real programs wrote, and checks its chains."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from oauth_core.audit_log.chain import Chain
from oauth_core.audit_log.frames import FrameKind
from portcullis.audit.segments import Boot, Damage, boots, frames

if TYPE_CHECKING:
    from pathlib import Path

    from oauth_core.audit_log.frames import Frame


def boots_of(audit_dir: Path, writer: str) -> list[Boot]:
    """The boots of one writer, oldest first."""
    return [boot for boot in boots(audit_dir) if boot.writer == writer]


def frames_of(boot: Boot) -> list[Frame]:
    """The frames of a boot, which must be a complete chain from its beginning."""
    chain, found = Chain(), []
    for each in frames(boot):
        assert not isinstance(each, Damage), str(each)
        assert chain.fault_of(each.frame) is None
        chain.add(each.frame)
        found.append(each.frame)
    return found


def is_closed(boot: Boot) -> bool:
    """Whether the writer of a boot stopped in an orderly way."""
    return frames_of(boot)[-1].kind is FrameKind.CLOSING


def events_in(boot: Boot) -> list[dict[str, Any]]:
    """The events of a boot so far, in their order."""
    events = [frame for frame in frames_of(boot) if frame.kind is FrameKind.EVENTS]
    return [json.loads(line) for frame in events for line in frame.lines()]


def recorded(audit_dir: Path, *writers: str) -> list[dict[str, Any]]:
    """The events of these writers so far, or of all, boot by boot."""
    return [
        event for boot in boots(audit_dir) if not writers or boot.writer in writers for event in events_in(boot)
    ]
