"""The log files of a gateway: rotated, bounded, and deleted for room on a disk that is nearly full."""

from __future__ import annotations

import errno
import shutil
from typing import TYPE_CHECKING, NamedTuple

from portcullis.supervisor import log_files
from portcullis.supervisor.log_files import PIECES, LogFiles

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

KEEP = 1000
PIECE = KEEP // PIECES


class Usage(NamedTuple):
    free: int


def all_pieces(file: Path) -> list[Path]:
    """From the newest to the oldest."""
    return [file, *(file.with_name(f"{file.name}.{number}") for number in range(1, PIECES))]


def test_a_short_log_is_not_rotated(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path, KEEP)
    file = logs.path_of("x")
    file.write_text("short")
    assert logs.rotate() == []
    assert list(tmp_path.iterdir()) == [file]


def test_the_newest_files_are_kept_in_order_and_the_rest_is_deleted(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path, KEEP)
    file = logs.path_of("x", follows=True)
    for number in range(PIECES + 5):
        file.write_text(f"{number}\n" + "x" * PIECE)
        logs.rotate()
    kept = [piece.read_text().split()[0] for piece in all_pieces(file) if piece.exists()]
    assert kept == [str(PIECES + 4 - n) for n in range(PIECES - 1)]
    assert sum(piece.stat().st_size for piece in tmp_path.iterdir()) <= KEEP + PIECES * 10


def test_a_program_that_does_not_follow_continues_in_the_truncated_file(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path, KEEP)
    file = logs.path_of("x")
    with file.open("ab", buffering=0) as program:
        program.write(b"a" * PIECE)
        logs.rotate()
        program.write(b"more")
    assert file.read_bytes() == b"more"
    assert file.with_name("x.log.1").read_bytes() == b"a" * PIECE
    assert file.with_name("x.log.1").stat().st_mode & 0o077 == 0


def test_without_room_for_a_copy_the_limit_still_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = LogFiles(tmp_path, KEEP)
    file = logs.path_of("x")
    file.write_bytes(b"a" * PIECE)

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", no_room)
    logs.rotate()
    assert file.stat().st_size == 0


def test_on_a_nearly_full_disk_the_oldest_files_are_deleted_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = LogFiles(tmp_path, KEEP)
    for name in ("a", "b"):
        file = logs.path_of(name)
        for piece in all_pieces(file):
            piece.write_text("x")

    def usage(_folder: Path) -> Usage:
        return Usage(log_files.LOW_SPACE - 15 + sum(1 for _ in range(20 - len(list(tmp_path.iterdir())))))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    (sentence,) = logs.rotate()
    assert sentence.startswith("the disk is nearly full: deleted a.log.9, b.log.9, a.log.8, b.log.8")
    assert {"a.log", "a.log.1", "b.log", "b.log.1"} <= {piece.name for piece in tmp_path.iterdir()}
    assert usage(tmp_path).free >= log_files.LOW_SPACE
