"""The sealer adds every frame to the tree exactly once, whatever faults occur between two steps."""

from __future__ import annotations

import fcntl
import json
import shutil
from contextlib import contextmanager, suppress
from itertools import count
from typing import IO, TYPE_CHECKING

import pytest
from tlog_scales import backend, reader

from oauth_core.audit_log import merkle
from oauth_core.audit_log.checkpoints import BootState, Checkpoint, open_checkpoint
from oauth_core.audit_log.entries import FaultEntry, FaultReason, FrameEntry, parse_entry
from oauth_core.audit_log.merkle import is_consistent
from oauth_core.process import file_lock, private_files
from portcullis.audit import sealer as sealer_module
from portcullis.audit.followers import Follower
from portcullis.audit.sealed_folder import notes_in
from portcullis.audit.sealer import QUIET_SECONDS, SILENT_SECONDS, SealerError
from portcullis.audit.segments import StoredFrame, boots, frames
from portcullis.audit.tree import TreeReader
from tests.support.audit_sealing import SealedWorld
from tests.support.audit_segments import NODE, SegmentWriter, event, write_segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OTHER = "20261130T060001Z-00000002"
THIRD = "20261130T060002Z-00000003"


@pytest.fixture
def world(tmp_path: Path) -> SealedWorld:
    return SealedWorld(tmp_path)


def entries_of(world: SealedWorld) -> list[FrameEntry | FaultEntry]:
    tree = TreeReader(world.folder.root, world.checkpoint().size)
    return [parse_entry(data) for index in range(-(-tree.size // 256)) for data in tree.bundle(index)]


def sealed_frames(world: SealedWorld) -> list[tuple[str, str, int, bytes]]:
    return [
        (entry.writer, entry.boot, entry.number, entry.digest)
        for entry in entries_of(world)
        if isinstance(entry, FrameEntry)
    ]


def stored_frames(world: SealedWorld) -> list[tuple[str, str, int, bytes]]:
    return [
        (boot.writer, boot.name, found.frame.number, found.frame.digest)
        for boot in boots(world.audit_dir)
        for found in frames(boot)
        if isinstance(found, StoredFrame)
    ]


def faults(world: SealedWorld) -> list[tuple[str, FaultReason]]:
    return [(entry.writer, entry.reason) for entry in entries_of(world) if isinstance(entry, FaultEntry)]


def check_everything_is_sealed_once(world: SealedWorld) -> None:
    """Every stored frame is in the tree once, and another program computes the root of the checkpoint."""
    assert sorted(sealed_frames(world)) == sorted(stored_frames(world))
    other = reader.TilesReader(backend.LocalBackend(world.folder.root))
    other.set_size(world.checkpoint().size)
    assert other.calculate_root_hash() == world.checkpoint().root


def test_frames_become_entries_and_a_checkpoint_names_every_boot(world: SealedWorld) -> None:
    write_segment(world.audit_dir, batches=[[event(1), event(2)], [event(3)]])
    write_segment(world.audit_dir, "oauth_web", OTHER, [[event(4)]], closed=False)
    checkpoint = world.seal()
    assert checkpoint.size == 6
    assert checkpoint.time == "2026-11-30T06:00:01.000000Z"
    assert [(boot.writer, boot.last, boot.state) for boot in checkpoint.boots] == [
        ("ext_authz.0", 3, BootState.CLOSED),
        ("oauth_web", 1, BootState.OPEN),
    ]
    assert {entry.node for entry in entries_of(world)} == {NODE}
    check_everything_is_sealed_once(world)
    assert world.reports == []


def test_a_closed_boot_is_named_in_one_checkpoint(world: SealedWorld) -> None:
    write_segment(world.audit_dir)
    assert [boot.state for boot in world.seal().boots] == [BootState.CLOSED]
    assert world.seal(QUIET_SECONDS).boots == ()


def test_a_boot_that_is_silent_for_long_is_named_once_more_and_still_followed(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir)
    world.seal()
    assert [boot.state for boot in world.seal(SILENT_SECONDS).boots] == [BootState.SILENT]
    assert world.seal(QUIET_SECONDS).boots == ()
    writer.write(event(1))
    assert [boot.last for boot in world.seal(QUIET_SECONDS).boots] == [1]
    check_everything_is_sealed_once(world)


def test_a_checkpoint_is_signed_after_new_frames_and_otherwise_each_minute(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir)
    for seconds, is_written, is_signed in (
        *((1, True, True), (1, False, False), (1, True, True), (30, False, False)),
        *((29, False, False), (1, False, True), (60, False, True)),
    ):
        if is_written:
            writer.write(event(1))
        before = len(world.published)
        world.seal(seconds)
        assert (len(world.published) > before) is is_signed
    with (world.folder.days / "2026-11-30.txt").open("rb") as file:
        kept = list(notes_in(file))
    times = [open_checkpoint(note, world.signer.verifier).time for note in kept]
    assert [time[11:19] for time in times] == ["06:00:01", "06:01:03", "06:02:03"]


def test_old_checkpoints_are_consistent_with_new_ones(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir)
    for number in range(30):
        writer.write(event(number))
        world.seal()
    new = world.checkpoint()
    tree = TreeReader(world.folder.root, new.size)
    for note in world.published:
        old = open_checkpoint(note, world.signer.verifier)
        assert is_consistent(old.size, old.root, new.size, new.root, tree.consistency_path(old.size))


def test_a_tree_of_many_tiles_equals_that_of_another_program_and_keeps_no_outdated_files(
    world: SealedWorld,
) -> None:
    writer = SegmentWriter(world.audit_dir)
    for number in range(700):
        writer.write(event(number))
        if number % 99 == 0:
            world.seal()
    checkpoint = world.seal()
    assert checkpoint.size == 701
    check_everything_is_sealed_once(world)
    files = {str(path.relative_to(world.folder.root)) for path in world.folder.root.rglob("*") if path.is_file()}
    assert {path for path in files if path.startswith("tile/")} == {
        *("tile/0/000", "tile/0/001", "tile/0/002.p/189", "tile/1/000.p/2"),
        *("tile/entries/000", "tile/entries/001", "tile/entries/002.p/189"),
    }


def test_another_program_checks_inclusion_and_consistency_from_our_tiles(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir)
    for number in range(300):
        writer.write(event(number))
    old = world.seal()
    for number in range(300):
        writer.write(event(number))
    new = world.seal()
    other = reader.TilesReader(backend.LocalBackend(world.folder.root))
    other.set_size(new.size)
    other.get_consistency_proof(old.size, new.size).check(old.root, new.root)
    for index in (0, 255, 256, 300, 600):
        leaf = merkle.leaf_hash(other.get_entry(index))
        other.get_inclusion_proof(index, new.size).check(leaf, new.root)
        ours = TreeReader(world.folder.root, new.size).inclusion_path(index)
        assert other.get_inclusion_proof(index, new.size).node_hashes == ours


def test_a_restarted_sealer_continues_where_the_last_one_ended(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir)
    for number in range(5):
        writer.write(event(number))
        world.new_sealer()
        world.seal()
    write_segment(world.audit_dir, "oauth_web", OTHER)
    world.new_sealer()
    world.seal()
    world.new_sealer()
    world.seal()
    check_everything_is_sealed_once(world)
    assert world.reports == []


@pytest.mark.parametrize("lost", ["progress", "finished", "checkpoint", "all"])
def test_lost_progress_of_the_sealer_is_rebuilt_from_the_tree(world: SealedWorld, lost: str) -> None:
    writer = SegmentWriter(world.audit_dir)
    write_segment(world.audit_dir, "oauth_web", OTHER, [[event(1)]])
    writer.write(event(2))
    world.seal()
    writer.open_segment()
    writer.write(event(3))
    world.seal()
    for name in ("progress", "finished", "checkpoint"):
        if lost in {name, "all"}:
            (world.folder.root / name).unlink()
    world.new_sealer()
    writer.write(event(4))
    world.seal()
    check_everything_is_sealed_once(world)
    assert world.reports == []


# -- crashes -----------------------------------------------------------------------------------------------------


class CrashError(Exception):
    """The sealer crashes here."""


@contextmanager
def crash_at(number: int, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> Iterator[list[int]]:
    """Crash the sealer at the `number`th write of a file, before it or `after` it. Yields the number of writes."""
    counter, seen = count(1), [0]
    real = private_files.replacing

    @contextmanager
    def failing(path: Path) -> Iterator[IO[bytes]]:
        seen[0] = current = next(counter)
        if current == number and not after:
            # Like a real crash: with an unfinished file beside the old one.
            (path.parent / f".{path.name}.unfinished").write_bytes(b"half")
            raise CrashError
        with real(path) as file:
            yield file
        if current == number:
            raise CrashError

    with monkeypatch.context() as patched:
        patched.setattr(private_files, "replacing", failing)
        yield seen


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("events", [3, 300], ids=["one tile", "two tiles"])
def test_after_a_crash_at_any_write_sealing_continues_and_contradicts_no_signed_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: int, after: bool
) -> None:
    template = SealedWorld(tmp_path / "template")
    first = SegmentWriter(template.audit_dir)
    for number in range(250):
        first.write(event(number))
    template.seal()
    for number in range(events):
        first.write(event(number))
    first.close()
    for step in count(1):
        world = SealedWorld(shutil.copytree(tmp_path / "template", tmp_path / f"{after}{step}"))
        with crash_at(step, monkeypatch, after=after) as seen, suppress(CrashError):
            world.seal()
        # Another writer begins, so that the next tree has other entries in the same places.
        write_segment(world.audit_dir, "a_writer", OTHER, [[event(1)]])
        world.new_sealer()
        signed = [*template.published, *world.published, *notes_on_disk(world)]
        new = world.seal()
        check_everything_is_sealed_once(world)
        tree = TreeReader(world.folder.root, new.size)
        for note in signed:
            old = open_checkpoint(note, world.signer.verifier)
            assert is_consistent(old.size, old.root, new.size, new.root, tree.consistency_path(old.size))
        assert world.reports == []
        if seen[0] < step:  # there was no further write
            break
    assert step > 6


def notes_on_disk(world: SealedWorld) -> list[str]:
    """The signed notes on the disk, which a copy of the disk may have."""
    paths = (world.folder.checkpoint, world.key.checkpoint)
    return [path.read_text(encoding="utf-8") for path in paths if path.exists()]


def test_a_crash_at_the_first_writes_leaves_a_folder_that_can_be_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(1, 9):
        world = SealedWorld(tmp_path / str(step))
        write_segment(world.audit_dir, batches=[[event(1)]])
        with crash_at(step, monkeypatch, after=step % 2 == 0), suppress(CrashError):
            world.seal()
        world.new_sealer()
        world.seal()
        check_everything_is_sealed_once(world)


def test_a_full_disk_fails_one_step_and_the_next_one_continues(
    world: SealedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SegmentWriter(world.audit_dir)
    world.seal()

    def full(path: Path) -> IO[bytes]:
        raise OSError(28, "No space left on device", str(path))

    for number in range(3):
        writer.write(event(number))
        with monkeypatch.context() as patched:
            patched.setattr(private_files, "replacing", full)
            with pytest.raises(OSError, match="No space"):
                world.seal()
    world.seal()
    check_everything_is_sealed_once(world)


def test_an_unwritable_key_folder_is_reported_once_and_stops_nothing(
    world: SealedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = private_files.write

    def refusing(path: Path, text: str) -> Path:
        if path == world.key.checkpoint:
            raise OSError(30, "Read-only file system", str(path))
        return real(path, text)

    monkeypatch.setattr(private_files, "write", refusing)
    writer = SegmentWriter(world.audit_dir)
    for number in range(3):
        writer.write(event(number))
        world.seal()
    check_everything_is_sealed_once(world)
    assert len(world.reports) == 1
    assert "going on without this copy" in world.reports[0]


# -- faults ------------------------------------------------------------------------------------------------------


def test_a_frame_that_breaks_the_chain_is_sealed_as_a_fault_and_stops_nothing(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir)
    writer.write(event(1))
    world.seal()
    skipped = writer.path.stat().st_size
    writer.write(event(2))
    writer.write(event(3))
    whole = writer.path.read_bytes()
    removed = frame_at(world, 3)
    writer.path.write_bytes(whole[:skipped] + whole[skipped + removed :])
    write_segment(world.audit_dir, "oauth_web", OTHER, [[event(4)]])
    world.seal()
    writer.write(event(5))
    world.seal()
    assert faults(world) == [("ext_authz.0", FaultReason.CHAIN)]
    assert [number for writer_name, _, number, _ in sealed_frames(world) if writer_name == "ext_authz.0"] == [
        *(1, 2, 4, 5)
    ]
    assert len(world.reports) == 1
    assert "ext_authz.0/20261130T060000Z-0123abcd: segment 000001 at byte" in world.reports[0]


def frame_at(world: SealedWorld, number: int) -> int:
    """The size of a frame of the only boot."""
    [boot] = boots(world.audit_dir)
    return next(
        found.frame.size
        for found in frames(boot)
        if isinstance(found, StoredFrame) and found.frame.number == number
    )


def test_invalid_bytes_are_sealed_as_a_fault_once(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir)
    with writer.path.open("ab") as file:
        file.write(b"no frame at all")
    writer.write(event(1))
    for _ in range(3):
        world.seal()
        world.new_sealer()
    assert faults(world) == [("ext_authz.0", FaultReason.NO_FRAME)]
    assert len(world.reports) == 1


def test_a_segment_that_shrinks_is_sealed_as_a_fault(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir)
    writer.write(event(1))
    world.seal()
    with writer.path.open("r+b") as file:
        file.truncate(writer.path.stat().st_size - 10)
    world.seal()
    assert faults(world) == [("ext_authz.0", FaultReason.SHORTER)]


def test_a_boot_in_place_of_another_is_sealed_as_a_fault(world: SealedWorld) -> None:
    writer = write_segment(world.audit_dir, batches=[[event(1)]])
    writer.folder.rename(writer.folder.with_name(OTHER))
    world.seal()
    assert faults(world) == [("ext_authz.0", FaultReason.MISPLACED)]


def test_an_unreadable_segment_is_reported_once_and_sealed_when_it_is_readable(
    world: SealedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    write_segment(world.audit_dir, "oauth_web", OTHER, [[event(2)]])
    real = Follower.entries

    def refusing(self: Follower, most: int) -> Iterator[FrameEntry | FaultEntry]:
        if self.boot.writer == "oauth_web":
            raise PermissionError(13, "Permission denied", str(self.boot.folder))
        return real(self, most)

    with monkeypatch.context() as patched:
        patched.setattr(Follower, "entries", refusing)
        world.seal()
        world.seal()
    assert [writer for writer, *_ in sealed_frames(world)] == ["ext_authz.0"] * 3
    assert len(world.reports) == 1
    world.seal()
    check_everything_is_sealed_once(world)


def test_two_boots_of_one_writer_are_both_sealed(world: SealedWorld) -> None:
    one, two = SegmentWriter(world.audit_dir), SegmentWriter(world.audit_dir, boot=OTHER)
    for number in range(3):
        one.write(event(number))
        two.write(event(number + 10))
        world.seal()
    check_everything_is_sealed_once(world)
    assert world.reports == []


def test_more_frames_than_one_step_can_take_are_sealed_in_several_steps(
    world: SealedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer_module, "_MOST_ENTRIES", 4)
    write_segment(world.audit_dir, batches=[[event(number)] for number in range(10)])
    world.seal()
    signed = [open_checkpoint(note, world.signer.verifier) for note in world.published]
    assert [(checkpoint.size, checkpoint.behind) for checkpoint in signed] == [
        (4, True),
        (8, True),
        (12, True),
    ] or [(checkpoint.size, checkpoint.behind) for checkpoint in signed] == [(4, True), (8, True), (12, False)]
    check_everything_is_sealed_once(world)


# -- key and tree ------------------------------------------------------------------------------------------------


def refusal(world: SealedWorld) -> str:
    world.new_sealer()
    with pytest.raises(SealerError) as refused:
        world.seal()
    return str(refused.value)


def test_without_a_key_the_error_explains_how_to_make_one(world: SealedWorld) -> None:
    world.key.path.unlink()
    assert "portcullis audit key" in refusal(world)
    assert not world.folder.checkpoint.exists()


def test_with_a_lost_key_the_tree_is_refused_with_instructions(world: SealedWorld) -> None:
    write_segment(world.audit_dir)
    world.seal()
    world.key.path.unlink()
    assert "restore the key from a backup, or begin a new tree" in refusal(world)


def test_the_tree_of_another_key_is_refused(world: SealedWorld) -> None:
    write_segment(world.audit_dir)
    world.seal()
    world.key.make(NODE)
    assert "no signature of the key" in refusal(world)


def test_a_folder_that_was_rolled_back_is_refused(world: SealedWorld, tmp_path: Path) -> None:
    writer = SegmentWriter(world.audit_dir)
    world.seal()
    shutil.copytree(world.audit_dir, tmp_path / "old")
    writer.write(event(1))
    world.seal()
    shutil.rmtree(world.audit_dir)
    (tmp_path / "old").rename(world.audit_dir)
    assert "rolled back" in refusal(world)


def test_a_tree_with_a_changed_last_tile_is_refused(world: SealedWorld) -> None:
    write_segment(world.audit_dir)
    world.seal()
    tile = world.folder.root / "tile/0/000.p/2"
    tile.write_bytes(bytes(64))
    assert "do not have the hashes of the tile" in refusal(world)


def test_an_older_checkpoint_in_the_folder_is_replaced_by_the_copy_beside_the_key(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir)
    world.seal()
    old = world.folder.checkpoint.read_text(encoding="utf-8")
    writer.write(event(1))
    new = world.seal()
    world.folder.checkpoint.write_text(old, encoding="utf-8")
    world.new_sealer()
    assert world.seal().size == new.size


def test_one_folder_has_one_sealer(world: SealedWorld) -> None:
    with world.folder.held(), pytest.raises(file_lock.HeldError), world.folder.held():
        pass


def test_progress_in_an_unknown_form_is_rebuilt(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir)
    world.seal()
    progress = world.folder.root / "progress"
    for content in ("", "[]", '{"size": 99, "boots": {}}', json.dumps({"size": 1, "boots": {"a/b": {}}})):
        progress.write_text(world.signer.record_key.sign("progress", content), encoding="utf-8")
        world.new_sealer()
        writer.write(event(1))
        world.seal()
        check_everything_is_sealed_once(world)


def test_a_checkpoint_has_the_name_of_its_tree(world: SealedWorld) -> None:
    assert world.seal() == Checkpoint(
        f"{NODE}/portcullis-audit", 0, merkle.EMPTY_ROOT, "2026-11-30T06:00:01.000000Z"
    )


def test_a_program_that_only_queries_the_lock_does_not_block_a_sealer(
    world: SealedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = fcntl.flock, count(1)

    def flock(handle: int, how: int) -> None:
        # Another process queries the lock when we take it, twice in a row: its lock is a shared one.
        if how & fcntl.LOCK_EX and next(asked) <= 2:
            raise BlockingIOError
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with world.folder.held():
        assert file_lock.is_held(world.folder.lock)
