"""Segments of an audit folder are read in order, also while they grow, and damage hides no frame behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oauth_core.audit_log.frames import Frame, FrameKind
from portcullis.audit import segments
from portcullis.audit.segments import BootReader, Damage, DamageKind, StoredFrame, boots, frames
from tests.support.audit_segments import SegmentWriter, event, write_segment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def only_frames(found: Iterable[StoredFrame | Damage]) -> list[Frame]:
    listed = list(found)
    assert [each for each in listed if isinstance(each, Damage)] == []
    return [each.frame for each in listed if isinstance(each, StoredFrame)]


def kinds_of_damage(found: Iterable[StoredFrame | Damage]) -> list[DamageKind]:
    return [each.kind for each in found if isinstance(each, Damage)]


def numbers(found: Iterable[StoredFrame | Damage]) -> list[int]:
    return [each.frame.number for each in found if isinstance(each, StoredFrame)]


def test_the_boots_of_all_writers_are_listed_and_other_names_are_not(tmp_path: Path) -> None:
    for writer, boot in (
        ("oauth_web", "20261130T060001Z-00000001"),
        ("ext_authz.0", "20261130T060000Z-00000002"),
        ("oauth_web", "20261129T060001Z-00000003"),
    ):
        write_segment(tmp_path, writer, boot)
    strange = ["segments/Web", "segments/oauth_web/lost+found", "segments/.hidden/20261130T060001Z-00000001"]
    for name in strange:
        (tmp_path / name).mkdir(parents=True)
    assert [(boot.writer, boot.name) for boot in boots(tmp_path)] == [
        ("ext_authz.0", "20261130T060000Z-00000002"),
        ("oauth_web", "20261129T060001Z-00000003"),
        ("oauth_web", "20261130T060001Z-00000001"),
    ]
    found = {str(path.relative_to(tmp_path)) for path in segments.others(tmp_path)}
    assert found == {"segments/Web", "segments/oauth_web/lost+found", "segments/.hidden"}


def test_a_folder_without_segments_has_no_boots(tmp_path: Path) -> None:
    assert boots(tmp_path / "nowhere") == []


def test_frames_are_read_over_all_segments_after_a_given_one(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.write(event(1), event(2))
    writer.open_segment()
    writer.write(event(3))
    writer.close()
    [boot] = boots(tmp_path)
    found = only_frames(frames(boot))
    assert [frame.kind for frame in found] == [
        *(FrameKind.OPENING, FrameKind.EVENTS, FrameKind.OPENING, FrameKind.EVENTS, FrameKind.CLOSING)
    ]
    assert [frame.first for frame in found] == [1, 1, 3, 3, 4]
    assert numbers(frames(boot, after=3)) == [4, 5]


def test_a_reader_follows_growing_segments_and_returns_each_frame_once(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    [boot] = boots(tmp_path)
    reader = BootReader(boot)
    assert numbers(reader.read()) == [1]
    assert numbers(reader.read()) == []
    writer.write(event(1))
    writer.open_segment()
    assert numbers(reader.read()) == [2, 3]
    writer.write(event(2))
    assert numbers(reader.read()) == [4]
    assert numbers(BootReader(boot, segment=reader.segment, offset=reader.offset).read()) == []


def test_an_unfinished_frame_is_pending_until_it_is_complete(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    [boot] = boots(tmp_path)
    before = writer.path.read_bytes()
    frame = writer.write(event(1))
    reader = BootReader(boot)
    for length in range(1, len(frame)):
        writer.path.write_bytes(before + frame[:length])
        numbers(reader.read())
        assert (reader.offset, reader.tail) == (len(before), length)
    writer.path.write_bytes(before + frame)
    assert numbers(reader.read()) == [2]
    assert reader.tail == 0


def test_a_frame_larger_than_one_read_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_PIECE", 7)
    write_segment(tmp_path, batches=[[event(number)] for number in range(5)])
    [boot] = boots(tmp_path)
    assert numbers(frames(boot)) == [1, 2, 3, 4, 5, 6, 7]


def test_bytes_that_are_no_frame_are_reported_and_the_frames_behind_them_are_read(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.write(event(1))
    begin = writer.path.stat().st_size
    frame = writer.write(event(2))
    writer.write(event(3))
    whole = writer.path.read_bytes()
    writer.path.write_bytes(whole[:begin] + b"XXXX" + whole[begin + 4 :])
    [boot] = boots(tmp_path)
    found = list(frames(boot))
    assert numbers(found) == [1, 2, 4]
    [damage] = [each for each in found if isinstance(each, Damage)]
    assert (damage.kind, damage.offset) == (DamageKind.NO_FRAME, begin)
    assert f"{len(frame)} bytes" in damage.detail


def test_a_truncated_frame_before_the_next_segment_is_damage(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.write(event(1))
    first = writer.path
    writer.open_segment()
    first.write_bytes(first.read_bytes()[:-1])
    [boot] = boots(tmp_path)
    found = list(frames(boot))
    assert (numbers(found), kinds_of_damage(found)) == ([1, 3], [DamageKind.CUT])


@pytest.mark.parametrize("gone", [1, 2])
def test_a_missing_segment_is_damage(tmp_path: Path, gone: int) -> None:
    writer = SegmentWriter(tmp_path)
    writer.open_segment()
    writer.open_segment()
    (writer.folder / f"{gone:06}.seg").unlink()
    [boot] = boots(tmp_path)
    found = list(frames(boot))
    assert kinds_of_damage(found) == [DamageKind.NO_SEGMENT]
    assert numbers(found) == [number for number in (1, 2, 3) if number != gone]


def test_a_segment_that_shrinks_while_it_is_followed_is_reported_as_damage_once(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.write(event(1))
    [boot] = boots(tmp_path)
    reader = BootReader(boot)
    assert numbers(reader.read()) == [1, 2]
    with writer.path.open("r+b") as file:
        file.truncate(writer.path.stat().st_size - 5)
    assert kinds_of_damage(reader.read()) == [DamageKind.SHORTER]
    assert list(reader.read()) == []


def test_a_read_ends_at_the_size_that_the_segment_had_at_its_beginning(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    [boot] = boots(tmp_path)
    seen = 0
    for _ in BootReader(boot).read():
        seen += 1
        writer.write(event(seen))  # like a writer that is faster than its reader
    assert seen == 1


@pytest.mark.parametrize("piece", [3, 5, 64])
def test_damage_over_many_reads_is_reported_once_and_the_frame_behind_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    writer = SegmentWriter(tmp_path)
    whole = writer.path.read_bytes()
    frame = writer.write(event(1))
    monkeypatch.setattr(segments, "_PIECE", piece)
    [boot] = boots(tmp_path)
    for garbage in range(1, 12):
        writer.path.write_bytes(whole + b"x" * garbage + frame)
        found = list(frames(boot))
        assert numbers(found) == [1, 2]
        [damage] = [each for each in found if isinstance(each, Damage)]
        assert (damage.offset, damage.detail.split(":")[0]) == (len(whole), f"{garbage} bytes")


def test_a_reader_that_stops_behind_damage_continues_with_the_next_frame(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    with writer.path.open("ab") as file:
        file.write(b"no frame")
    writer.write(event(1))
    [boot] = boots(tmp_path)
    reader = BootReader(boot)
    for expected in ([1], [], [2]):
        found = next(reader.read())
        assert numbers([found]) == expected
