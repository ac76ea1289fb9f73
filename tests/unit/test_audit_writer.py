"""The writer of segments: recorded lines are on the disk after a flush, and a failure neither loses nor truncates
any.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oauth_core.audit import AuditEvent, EventKind, NotRecordedError, members
from oauth_core.audit_log import frames
from oauth_core.audit_log.frames import HEAD_BYTES, FrameKind
from oauth_core.errors import SettingsError
from oauth_core.process import audit_repeats, audit_segments, private_files
from oauth_core.process.audit_repeats import MOST_A_SECOND, MOST_COUNTS_A_SECOND
from oauth_core.process.audit_segments import MOST_LINES, Reserve, SegmentWriter, prepare
from tests.support.audit_record import boots_of, frames_of, is_closed, recorded
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RESERVE = 64 * 1024
_PATIENCE = 60.0


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_segments, "_FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(audit_segments, "_LONGEST_RETRY_SECONDS", 0.05)


@contextmanager
def writing(folder: Path, writer: str = "w", clock: list[float] | None = None) -> Iterator[SegmentWriter]:
    """A writer for the block, with a small reserve and the time of `clock`."""
    prepare(folder)
    given_clock = {} if clock is None else {"wall_clock": lambda: clock[0]}
    made = SegmentWriter(folder, writer, node="n", reserve_bytes=RESERVE, **given_clock)
    try:
        yield made
    finally:
        made.close()


def line(number: int) -> str:
    return json.dumps({"number": number})


def numbers(folder: Path, *writers: str) -> list[int]:
    return [event["number"] for event in recorded(folder, *writers)]


class Disk:
    """A disk that refuses writes to segments, or their sync, with an error, from some byte on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        self.room = 0
        self.syncs_fail = False
        self._write, self._sync = os.write, private_files.sync_content
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(private_files, "sync_content", self.sync)

    def write(self, descriptor: int, data: bytes) -> int:
        if self.error is None or threading.current_thread().name != "audit":
            return self._write(descriptor, data)
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        written = self._write(descriptor, data[: self.room])
        self.room -= written
        return written

    def sync(self, descriptor: int) -> None:
        if self.syncs_fail:
            raise OSError(errno.EIO, "no")
        self._sync(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_after_a_flush_all_lines_are_on_the_disk_in_their_order(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        for number in range(1000):
            writer.append(line(number))
        writer.flush(_PATIENCE)
        assert numbers(tmp_path) == list(range(1000))


async def test_a_flush_can_be_awaited(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.append(line(1))
        await writer.flushed(_PATIENCE)
        assert numbers(tmp_path) == [1]


def test_a_line_that_comes_during_a_write_waits_for_the_next_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_segments, "BATCH_SECONDS", _PATIENCE)
    sync, late = private_files.sync_content, [line(2)]
    with writing(tmp_path) as writer:
        writer.append(line(0))
        writer.flush(_PATIENCE)

        def busy(descriptor: int) -> None:
            while late:
                writer.append(late.pop())
            sync(descriptor)

        monkeypatch.setattr(private_files, "sync_content", busy)
        writer.append(line(1))
        writer.flush(_PATIENCE)
        assert numbers(tmp_path) == [0, 1]
        writer.flush(_PATIENCE)
        assert numbers(tmp_path) == [0, 1, 2]


def test_a_line_reaches_the_disk_without_a_flush(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.append(line(1))
        until(lambda: numbers(tmp_path) == [1], "the batch is written")


def test_a_boot_begins_with_its_writer_and_ends_with_a_closing_frame(tmp_path: Path) -> None:
    with writing(tmp_path, "ext_authz.0") as writer:
        writer.flush(_PATIENCE)
        (boot,) = boots_of(tmp_path, "ext_authz.0")
        (opening,) = frames_of(boot)
        told = json.loads(opening.lines()[0])
        assert opening.kind is FrameKind.OPENING
        assert (told["format"], told["node"], told["writer"], told["segment"]) == (1, "n", "ext_authz.0", 1)
        assert told["boot"] == boot.name
        assert not is_closed(boot)
    assert is_closed(boot)


def test_only_their_owner_can_read_folders_and_files(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    with writing(folder) as writer:
        writer.flush(_PATIENCE)
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_two_processes_with_one_name_have_separate_boots(tmp_path: Path) -> None:
    with writing(tmp_path) as first, writing(tmp_path) as second:
        for number in range(10):
            (first if number % 2 else second).append(line(number))
    assert len(boots_of(tmp_path, "w")) == 2
    assert sorted(numbers(tmp_path)) == list(range(10))


def test_a_segment_ends_with_the_hour_and_the_chain_continues(tmp_path: Path) -> None:
    clock = [1_796_000_400.0 + 3599]
    with writing(tmp_path, clock=clock) as writer:
        writer.append(line(1))
        writer.flush(_PATIENCE)
        clock[0] += 2
        writer.append(line(2))
        writer.flush(_PATIENCE)
        (boot,) = boots_of(tmp_path, "w")
        assert boot.segments() == [1, 2]
        kinds = [frame.kind.value for frame in frames_of(boot)]
        assert kinds == [b"H", b"E", b"H", b"E"]
        clock[0] += 3600
    # The last frame of a boot starts no segment.
    assert boot.segments() == [1, 2]
    assert numbers(tmp_path) == [1, 2]


def test_a_long_segment_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_segments, "SEGMENT_BYTES", 1000)
    with writing(tmp_path) as writer:
        for number in range(20):
            writer.append(json.dumps({"number": number, "text": os.urandom(100).hex()}))
            writer.flush(_PATIENCE)
    (boot,) = boots_of(tmp_path, "w")
    assert len(boot.segments()) > 2
    assert numbers(tmp_path) == list(range(20))


@settings(max_examples=20, deadline=None)
@given(room=st.integers(0, HEAD_BYTES + 16), error=st.sampled_from([errno.EIO, errno.ENOSPC, errno.EDQUOT]))
def test_a_frame_truncated_by_an_error_is_rewritten_completely(
    tmp_path_factory: pytest.TempPathFactory, room: int, error: int
) -> None:
    folder = tmp_path_factory.mktemp("audit")
    with pytest.MonkeyPatch.context() as patch, writing(folder) as writer:
        disk = Disk(patch)
        writer.append(line(1))
        writer.flush(_PATIENCE)
        disk.error, disk.room = error, room
        writer.append(line(2))
        until(lambda: writer.failure is not None, "the disk refuses")
        assert numbers(folder) == [1]
        writer.append(line(3))
        disk.error = None
        writer.flush(_PATIENCE)
        assert writer.failure is None
    assert numbers(folder) == [1, 2, 3]


def test_lines_that_could_not_be_synced_are_written_again(tmp_path: Path, disk: Disk) -> None:
    with writing(tmp_path) as writer:
        writer.append(line(1))
        writer.flush(_PATIENCE)
        disk.syncs_fail = True
        writer.append(line(2))
        until(lambda: writer.failure is not None, "the disk refuses")
        with pytest.raises(NotRecordedError):
            writer.flush(0.01)
        disk.syncs_fail = False
        writer.flush(_PATIENCE)
    assert numbers(tmp_path) == [1, 2]


def test_a_lasting_failure_makes_the_writer_unavailable_until_it_works_again(tmp_path: Path, disk: Disk) -> None:
    with writing(tmp_path) as writer:
        writer.flush(_PATIENCE)
        assert writer.is_available
        disk.error = errno.EIO
        writer.append(line(1))
        until(lambda: not writer.is_available, "the failure lasts")
        disk.error = None
        until(lambda: writer.is_available, "it works again")
    assert numbers(tmp_path) == [1]


def test_on_a_full_disk_the_reserve_is_released_and_made_again_when_there_is_room(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve, free = tmp_path / "reserve" / "w", [1]
    usage = os.statvfs(tmp_path)
    with writing(tmp_path) as writer:
        writer.flush(_PATIENCE)
        assert reserve.stat().st_size == RESERVE
        monkeypatch.setattr(os, "statvfs", lambda _: usage if free[0] else os.statvfs_result([512] + [0] * 9))
        free[0] = 0
        disk.error, disk.room = errno.ENOSPC, 10

        unlink = type(reserve).unlink

        def freed(path: Path) -> None:
            unlink(path)
            disk.error = None

        monkeypatch.setattr(type(reserve), "unlink", freed)
        writer.append(line(1))
        writer.flush(_PATIENCE)
        assert numbers(tmp_path) == [1]
        assert not reserve.exists()
        assert writer.failure is None
        assert not writer.is_available
        free[0] = 1
        until(lambda: writer.is_available, "there is room again")
        assert reserve.exists()


def test_a_removed_segment_is_followed_by_a_new_one(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.append(line(1))
        writer.flush(_PATIENCE)
        (boot,) = boots_of(tmp_path, "w")
        boot.segment(1).unlink()
        writer.append(line(2))
        writer.flush(_PATIENCE)
        assert boot.segments() == [2]


def test_lines_wait_while_the_folder_is_missing_and_none_is_lost(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "audit", tmp_path / "elsewhere"
    with writing(folder) as writer:
        writer.append(line(1))
        writer.flush(_PATIENCE)
        folder.rename(elsewhere)
        writer.append(line(2))
        until(lambda: not writer.is_available, "the folder is missed")
        assert not folder.exists()
        elsewhere.rename(folder)
        writer.append(line(3))
        writer.flush(_PATIENCE)
    assert numbers(folder) == [1, 2, 3]


def test_waiting_lines_are_bounded_and_dropped_ones_are_counted(tmp_path: Path, disk: Disk) -> None:
    with writing(tmp_path) as writer:
        writer.flush(_PATIENCE)
        disk.error = errno.EIO
        writer.append(line(0))
        until(lambda: writer.failure is not None, "the disk refuses")
        for number in range(1, 2 * MOST_LINES + 101):
            writer.append(line(number))
        assert not writer.is_available
        disk.error = None
        writer.flush(_PATIENCE)
        until(lambda: writer.is_available, "everything is written")
        writer.append(line(-1))
        writer.flush(_PATIENCE)
    events = recorded(tmp_path)
    (told,) = (event for event in events if event.get("event") == "audit.interrupted")
    assert told["reason"] == "100 events were not recorded"
    kept = [event["number"] for event in events if "number" in event]
    assert kept == [*range(2 * MOST_LINES + 1), -1]


def refusal(source: str, reason: str = "missing_token", **fields: Any) -> AuditEvent:
    return AuditEvent(EventKind.ACCESS_DENIED, reason=reason, source=source, **fields)


def refuse(writer: SegmentWriter, event: AuditEvent) -> None:
    writer.record(event, "2026-11-30T06:32:31.000001Z", members(event))


def test_a_flood_of_refusals_of_unknown_callers_is_counted(tmp_path: Path) -> None:
    clock = [1_796_000_400.0]
    with writing(tmp_path, clock=clock) as writer:
        for _ in range(1000):
            refuse(writer, refusal("203.0.113.1", path="/first"))
        refuse(writer, refusal("203.0.113.1", "expired"))
        refuse(writer, refusal("203.0.113.2"))
        clock[0] += 1
        refuse(writer, refusal("203.0.113.1"))
    events = [(event["source"], event["reason"], event.get("count")) for event in recorded(tmp_path)]
    assert sorted(events, key=str) == [
        ("203.0.113.1", "expired", None),
        ("203.0.113.1", "missing_token", 999),
        ("203.0.113.1", "missing_token", None),
        ("203.0.113.1", "missing_token", None),
        ("203.0.113.2", "missing_token", None),
    ]


def test_a_flood_from_many_sources_is_counted_too(tmp_path: Path) -> None:
    with writing(tmp_path, clock=[1_796_000_400.0]) as writer:
        for number in range(5000):
            refuse(writer, refusal(f"2001:db8::{number:x}"))
    events = recorded(tmp_path)
    assert len(events) == MOST_A_SECOND + 1
    (rest,) = (event for event in events if "count" in event)
    assert rest["count"] == 5000 - MOST_A_SECOND
    assert "source" not in rest


def test_counts_are_written_when_their_second_is_over(tmp_path: Path) -> None:
    clock = [1_796_000_400.0]
    with writing(tmp_path, clock=clock) as writer:
        for _ in range(3):
            refuse(writer, refusal("203.0.113.1"))
        writer.flush(_PATIENCE)
        assert [event.get("count") for event in recorded(tmp_path)] == [None]
        clock[0] += 1
        until(lambda: len(recorded(tmp_path)) == 2, "the count is written")
    assert [event.get("count") for event in recorded(tmp_path)] == [None, 2]


def test_refusals_of_known_people_are_recorded_one_by_one(tmp_path: Path) -> None:
    with writing(tmp_path, clock=[1_796_000_400.0]) as writer:
        for _ in range(3):
            refuse(writer, refusal("203.0.113.1", "insufficient_scope", user_id=7, jti="j"))
    assert len(recorded(tmp_path)) == 3


def test_a_writer_that_cannot_write_gives_up_closing_and_reports_it(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_segments, "_CLOSING_SECONDS", 0.01)
    with writing(tmp_path) as writer:
        writer.flush(_PATIENCE)
        disk.error = errno.EIO
        writer.append(line(1))
        assert not writer.close()
        disk.error = None
        writer._thread.join(_PATIENCE)  # so that it ends before the test does
    assert numbers(tmp_path) == [1]
    assert is_closed(*boots_of(tmp_path, "w"))


def test_an_unusable_folder_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "no" / "parent"):
        with pytest.raises(SettingsError, match=r"audit\.dir"):
            prepare(wrong)


def test_a_folder_without_room_at_the_start_is_made_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, full = tmp_path / "audit", [True]
    mkdir = type(folder).mkdir

    def refusing(path: Path, *given: Any, **options: Any) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        mkdir(path, *given, **options)

    monkeypatch.setattr(type(folder), "mkdir", refusing)
    with writing(folder) as writer:
        writer.append(line(1))
        until(lambda: writer.failure is not None, "there is no room")
        full[0] = False
        writer.flush(_PATIENCE)
    assert numbers(folder) == [1]


def test_reasons_that_callers_invent_do_not_fill_the_record(tmp_path: Path) -> None:
    with writing(tmp_path, clock=[1_796_000_400.0]) as writer:
        for number in range(5000):
            refuse(writer, refusal("203.0.113.1", f"made up: {number}"))
    events = recorded(tmp_path)
    assert len(events) == MOST_A_SECOND + MOST_COUNTS_A_SECOND + 1
    (rest,) = (event for event in events if "reason" not in event)
    assert rest["count"] == 5000 - MOST_A_SECOND - MOST_COUNTS_A_SECOND


def test_counts_of_a_long_outage_are_bounded_and_dropped_ones_are_counted(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_repeats, "MOST_COUNTS", 5)
    clock = [1_796_000_400.0]
    with writing(tmp_path, clock=clock) as writer:
        writer.flush(_PATIENCE)
        disk.error = errno.EIO
        writer.append(line(0))
        until(lambda: writer.failure is not None, "the disk refuses")
        for _ in range(8):
            for _ in range(3):
                refuse(writer, refusal("203.0.113.1"))
            clock[0] += 1
        disk.error = None
    events = recorded(tmp_path)
    assert [event["count"] for event in events if "count" in event] == [2] * 5
    gaps = [event["reason"] for event in events if event.get("event") == "audit.interrupted"]
    assert sum(int(gap.removesuffix(" events were not recorded")) for gap in gaps) == 6
    assert sum(event.get("event") == "access.denied" for event in events) == 8 + 5


def test_counts_that_do_not_fit_into_one_frame_are_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_segments, "_CHARACTERS_A_FRAME", 1000)
    monkeypatch.setattr(frames, "MOST_CONTENT", 5000)
    clock = [1_796_000_400.0]
    with writing(tmp_path, clock=clock) as writer:
        for number in range(2 * MOST_A_SECOND):
            refuse(writer, refusal("203.0.113.1", f"{number % MOST_A_SECOND} {'x' * 200}"))
        clock[0] += 1
        writer.append(json.dumps({"number": 1}))
        writer.flush(_PATIENCE)
        (boot,) = boots_of(tmp_path, "w")
    assert sum(event.get("count", 0) for event in recorded(tmp_path)) == MOST_A_SECOND
    assert all(len(frame.text()) < 2000 for frame in frames_of(boot))


def test_no_error_ends_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [ValueError("a fault of the program"), MemoryError()]
    encode = frames.FrameEncoder.encode_text

    def failing(encoder: frames.FrameEncoder, kind: FrameKind, text: bytes, lines: int) -> bytes:
        if kind is FrameKind.EVENTS and faults:
            raise faults.pop()
        return encode(encoder, kind, text, lines)

    with writing(tmp_path) as writer:
        writer.flush(_PATIENCE)
        monkeypatch.setattr(frames.FrameEncoder, "encode_text", failing)
        writer.append(line(1))
        until(lambda: not faults and writer.failure is None, "it tries again")
    assert numbers(tmp_path) == [1]


def test_no_frame_follows_the_last_one_of_a_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = private_files.sync_content
    with writing(tmp_path) as writer:
        writer.append(line(1))
        writer.flush(_PATIENCE)

        def syncing(descriptor: int) -> None:
            sync(descriptor)
            writer.append(line(2))

        monkeypatch.setattr(private_files, "sync_content", syncing)
        assert not writer.close()
        writer.append(line(3))
        refuse(writer, refusal("203.0.113.1"))
        assert not writer.is_available
        assert writer._dropped == 3
    assert numbers(tmp_path) == [1]
    assert is_closed(*boots_of(tmp_path, "w"))


@pytest.mark.parametrize("other", ["link", "pipe", "folder", "unfinished"])
def test_another_kind_of_file_in_place_of_the_reserve_does_no_harm(tmp_path: Path, other: str) -> None:
    precious, reserve = tmp_path / "precious", tmp_path / "audit" / "reserve" / "w"
    precious.write_text("precious", encoding="utf-8")
    reserve.parent.mkdir(parents=True)
    match other:
        case "link":
            reserve.symlink_to(precious)
        case "pipe":
            os.mkfifo(reserve)
        case "folder":
            reserve.mkdir()
        case "unfinished":
            reserve.write_text("x", encoding="utf-8")
    with writing(tmp_path / "audit") as writer:
        writer.append(line(1))
        writer.flush(_PATIENCE)
        assert writer.is_available
    assert precious.read_text(encoding="utf-8") == "precious"
    assert reserve.is_dir() if other == "folder" else stat.S_ISREG(reserve.lstat().st_mode)
    assert numbers(tmp_path / "audit") == [1]


def test_a_link_in_place_of_the_folder_of_reserves_is_not_followed(tmp_path: Path, disk: Disk) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "w").write_text("precious", encoding="utf-8")
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "reserve").symlink_to(elsewhere)
    with writing(tmp_path / "audit") as writer:
        writer.flush(_PATIENCE)
        disk.error = errno.ENOSPC
        writer.append(line(1))
        until(lambda: writer.failure is not None, "the disk is full")
        disk.error = None
    assert (elsewhere / "w").read_text(encoding="utf-8") == "precious"


def test_a_reserve_that_another_process_removed_counts_as_released(tmp_path: Path) -> None:
    one, other = (Reserve(tmp_path, "command", RESERVE) for _ in range(2))
    assert one.keep()
    assert other.keep()
    assert one.give_up()
    assert other.give_up()
    assert not other.give_up()
    assert other.keep()


def test_the_number_of_a_segment_that_another_program_made_is_skipped(tmp_path: Path) -> None:
    clock = [1_796_000_400.0]
    with writing(tmp_path, clock=clock) as writer:
        writer.append(line(1))
        writer.flush(_PATIENCE)
        (boot,) = boots_of(tmp_path, "w")
        (boot.folder / "000002.seg").touch()
        (boot.folder / "000003.seg").symlink_to(tmp_path / "elsewhere")
        clock[0] += 3600
        writer.append(line(2))
        writer.flush(_PATIENCE)
        assert boot.segment(4).stat().st_size
    assert not (tmp_path / "elsewhere").exists()
