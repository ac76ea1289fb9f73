"""Private files are complete or absent, only their owner can read them, and one process at a time
holds a folder.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING

import pytest

from oauth_core.process import file_lock, private_files
from oauth_core.process.file_follower import FileFollower

if TYPE_CHECKING:
    from pathlib import Path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_owner_can_read_a_private_file_and_it_replaces_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o644)
    private_files.write(path, "new")
    assert (path.read_text(encoding="utf-8"), mode(path)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_an_unfinished_file_leaves_only_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    private_files.write(path, "old")

    def fail_halfway() -> None:
        with private_files.replacing(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_its_owner_can_read_a_file_that_is_opened_to_append(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for text in (b"a", b"b"):
        with os.fdopen(private_files.appending(path), "wb") as file:
            file.write(text)
    assert (path.read_bytes(), mode(path)) == (b"ab", 0o600)


def test_a_lock_is_held_once_and_has_the_id_of_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not file_lock.is_held(path)
    with file_lock.held(path):
        assert file_lock.is_held(path)
        with pytest.raises(file_lock.HeldError) as caught, file_lock.held(path):
            pass
        assert caught.value.holder == path.read_text(encoding="ascii").strip()
    assert not file_lock.is_held(path)


def test_a_lock_is_taken_even_if_other_processes_query_it_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    waits = 0
    with path.open("wb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)  # as `is_held` does, in a process that is suspended there

        def wait(_seconds: float) -> None:
            nonlocal waits
            waits += 1
            if waits == 100:
                fcntl.flock(asking, fcntl.LOCK_UN)

        monkeypatch.setattr(time, "sleep", wait)
        with file_lock.held(path):
            assert waits == 100


def test_a_held_lock_is_refused_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: pytest.fail("it waits"))
    with file_lock.held(tmp_path / "lock"), pytest.raises(file_lock.HeldError), file_lock.held(tmp_path / "lock"):
        pass


def test_a_link_or_a_pipe_in_place_of_a_lock_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret", encoding="ascii")
    (tmp_path / "link").symlink_to(key)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=name), file_lock.held(tmp_path / name):
            pass
        file_lock.is_held(tmp_path / name)  # does not wait for the pipe
    assert key.read_text(encoding="ascii") == "secret"


def test_a_followed_file_counts_as_changed_until_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = FileFollower(path)
    assert file.has_changed()
    assert file.has_settled_change()
    file.record_reading()
    assert not file.has_changed()
    assert not file.has_settled_change()


def test_a_change_settles_when_two_checks_find_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = FileFollower(path)
    file.record_reading()
    path.write_text("a", encoding="utf-8")
    assert file.has_changed()
    assert [file.has_settled_change(), file.has_settled_change()] == [False, True]
    path.write_text("longer", encoding="utf-8")
    assert [file.has_settled_change(), file.has_settled_change()] == [False, True]
    file.record_reading()
    assert not file.has_settled_change()


def test_a_replaced_link_is_a_change(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).write_text("same", encoding="utf-8")
    link = tmp_path / "link"
    link.symlink_to("first")
    file = FileFollower(link)
    file.record_reading()
    link.unlink()
    link.symlink_to("second")
    assert file.has_changed()
