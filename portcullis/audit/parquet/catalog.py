"""Which segments have a Parquet copy: one small JSON file beside each Parquet file.

    parquet/2026-11-29.<random>.parquet      the events of a day that is over
    parquet/2026-11-30T05.<random>.parquet   the events of an hour of the present day
    parquet/<same name>.json                 the segments in it, each with its size when it was copied

The JSON file is written last, so a Parquet file without one does not count. Nor does a copy of a segment that has
another size now.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from oauth_core.process import file_lock, private_files
from portcullis.audit import record_files
from portcullis.audit.record_files import UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Set
    from pathlib import Path

FOLDER = "parquet"
_FORMAT = 1
_MOST_BYTES = 64 * 1024 * 1024
"""Bytes of the description of a copy."""


class SegmentKey(NamedTuple):
    """One segment of the audit folder."""

    writer: str
    boot: str
    number: int


@dataclass(frozen=True)
class Copy:
    """One Parquet file and the segments in it."""

    path: Path
    size: int
    """Bytes of the Parquet file."""
    begins: str
    """The earliest time of its events, as recorded."""
    ends: str
    segments: Mapping[SegmentKey, int]
    """Each segment with its bytes when it was copied."""
    refused: Mapping[SegmentKey, int]
    """The same of segments that could not be copied: they are not tried again."""

    @property
    def description(self) -> Path:
        """The JSON file."""
        return self.path.with_suffix(".json")

    def write(self) -> None:
        """Write the JSON file; from then on the copy counts. Raises `OSError`."""
        document = {
            "format": _FORMAT,
            "size": self.size,
            "begins": self.begins,
            "ends": self.ends,
            "segments": [[*key, size] for key, size in self.segments.items()],
            "refused": [[*key, size] for key, size in self.refused.items()],
        }
        private_files.write(self.description, json.dumps(document))

    def remove(self) -> None:
        """Remove both files. Raises `OSError`."""
        self.description.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def copies(audit_dir: Path) -> list[Copy]:
    """Return the copies of an audit folder, without those that cannot be read."""
    folder = audit_dir / FOLDER
    try:
        paths = sorted(folder.glob("*.json"))
    except OSError:
        return []
    return [copy for path in paths if (copy := _read(path)) is not None]


@contextmanager
def held(audit_dir: Path) -> Iterator[Path]:
    """Yield the folder of copies, which is made if needed, and keep every other run from changing it.

    Raises `OSError`, and `file_lock.HeldError` while another run works.
    """
    (audit_dir / FOLDER).mkdir(mode=0o700, exist_ok=True)
    folder = _own_folder(audit_dir)
    with file_lock.held(folder / "lock"):
        yield folder


def remove_with(audit_dir: Path, keys: Set[tuple[str, str, int]]) -> None:
    """Remove the copies that have one of these segments. The next compaction copies their other segments again.

    The caller holds the folder. Raises `OSError`.
    """
    folder, described = _own_folder(audit_dir), set()
    for copy in copies(audit_dir):
        if keys & {*copy.segments, *copy.refused}:
            copy.remove()
        else:
            described.add(copy.path)
    # A file without a description may have them too: a run that was killed left it.
    for path in folder.glob("*.parquet"):
        if path not in described:
            path.unlink(missing_ok=True)


def _own_folder(audit_dir: Path) -> Path:
    """The folder of copies. Raises `UnusableFileError` for a link: files elsewhere would be deleted."""
    if (folder := audit_dir / FOLDER).is_symlink():
        raise UnusableFileError(folder, "it is a link")
    return folder


def counted(
    listed: Iterable[Copy], sizes: Mapping[SegmentKey, int]
) -> tuple[list[tuple[Copy, frozenset[SegmentKey]]], set[SegmentKey]]:
    """Return the copies that count, each with its segments that do not count there, and all segments that do.

    `sizes` are those of the segments now. A segment counts in one copy that has it with this size: in that with
    most such segments, so that a newer copy replaces an older one. A copy in which none counts is left out.
    """
    fitting = [(copy, {key for key, size in copy.segments.items() if sizes.get(key) == size}) for copy in listed]
    claimed: set[SegmentKey] = set()
    found = []
    for copy, keys in sorted(fitting, key=lambda one: -len(one[1])):
        own = keys - claimed
        claimed |= own
        if own:
            found.append((copy, frozenset(copy.segments.keys() - own)))
    return found, claimed


def _read(path: Path) -> Copy | None:
    try:
        document = json.loads(record_files.content(path, _MOST_BYTES))
        if document["format"] != _FORMAT:
            return None
        segments, refused = (
            {SegmentKey(str(writer), str(boot), int(index)): int(size) for writer, boot, index, size in part}
            for part in (document["segments"], document["refused"])
        )
        copy = Copy(
            path.with_suffix(".parquet"),
            int(document["size"]),
            str(document["begins"]),
            str(document["ends"]),
            segments,
            refused,
        )
        return copy if copy.path.stat().st_size == copy.size else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
