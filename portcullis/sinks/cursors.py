"""Where each sink goes on: one small file for each, `sinks/NAME.json` in the audit folder, replaced as a whole.

`portcullis audit prune` reads them too, so that nothing is deleted that a sink does not have yet.
"""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from oauth_core.process import private_files
from portcullis.audit import record_files
from portcullis.sinks.sealed_records import Place

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"([a-z][a-z0-9-]{0,31})\.json\Z")
_MOST = 64 * 1024
_MOST_REFUSED = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cursor:
    """The progress of a sink: it has the records before `place` in the tree of this name."""

    name: str
    tree: str = ""
    """The tree that `place` is in; empty before the first one."""
    place: Place = field(default_factory=Place)
    size: int = 0
    """The size of the newest checkpoint that was sent."""
    root: str = ""
    """Its root, in hexadecimal digits."""
    checkpoint_time: str = ""
    """Its time, as in the checkpoint."""
    events: int = 0
    """Events that were sent, repetitions included."""
    rejected: int = 0
    """Records that the sink has refused for good."""
    sent: str = ""
    """The time at which the sink took records last."""
    fault: str = ""
    """Why the last attempt failed; empty if it did not."""
    failing_since: str = ""
    refusals: int = 0
    """How often the sink has refused the next record alone, one attempt after the other."""

    def with_fault(self, fault: str, now: str) -> Cursor:
        """The cursor after a failed attempt."""
        return replace(self, fault=fault, failing_since=self.failing_since or now)


class Cursors:
    """The cursors of one audit folder. Methods raise `OSError`."""

    def __init__(self, audit_dir: Path) -> None:
        self.folder = audit_dir / "sinks"

    @property
    def lock(self) -> Path:
        """Held by the one program that sends."""
        return self.folder / "lock"

    def prepare(self) -> None:
        """Make the folder if there is none."""
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def names(self) -> list[str]:
        """The sinks that have a cursor."""
        try:
            found = [_NAME.match(path.name) for path in self.folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(match[1] for match in found if match is not None)

    def read(self, name: str) -> Cursor:
        """The cursor of a sink; a new one if there is none. Raises `ValueError` if the file is no cursor."""
        try:
            text = record_files.content(self._path(name), _MOST).decode("utf-8")
        except FileNotFoundError:
            return Cursor(name)
        try:
            return _cursor(name, json.loads(text))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(f"{self._path(name)} is no cursor of a sink") from None

    def write(self, cursor: Cursor) -> None:
        """Replace the file of a cursor, so that it is on the disk."""
        content = {name: value for name, value in asdict(cursor).items() if name != "name"}
        private_files.write(self._path(cursor.name), json.dumps({"v": 1, **content}) + "\n")
        private_files.sync_folder(self.folder)

    def forget(self, name: str) -> bool:
        """Remove the cursor of a sink; return whether there was one."""
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            return False
        private_files.sync_folder(self.folder)
        return True

    def refused(self, name: str) -> Path:
        """The file of the records that a sink refused for good: a line of JSON for each."""
        return self.folder / f"{name}.refused.jsonl"

    def set_aside(self, name: str, record: bytes) -> None:
        """Append a record to that file, so that it is on the disk."""
        path = self.refused(name)
        handle = record_files.descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            size = os.fstat(handle).st_size
            if size + len(record) > _MOST_REFUSED:
                raise OSError(errno.EFBIG, "it is full: keep it elsewhere, and remove it here", str(path))
            if os.write(handle, record + b"\n") <= len(record):
                os.ftruncate(handle, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            private_files.sync_content(handle)
        finally:
            os.close(handle)
        private_files.sync_folder(self.folder)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def _cursor(name: str, content: Any) -> Cursor:
    values = {key: content[key] for key in ("size", "events", "rejected")}
    values["refusals"] = content.get("refusals", 0)  # former versions wrote none
    texts = {key: content[key] for key in ("tree", "root", "checkpoint_time", "sent", "fault", "failing_since")}
    index, events = content["place"]["index"], content["place"]["events"]
    if not all(type(value) is int and value >= 0 for value in (*values.values(), index, events)):
        raise ValueError(name)
    if content["v"] != 1 or not all(isinstance(value, str) for value in texts.values()):
        raise ValueError(name)
    return Cursor(name, place=Place(index, events), **values, **texts)
