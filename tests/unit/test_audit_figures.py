"""The metrics of the audit record, read from its folder; and reading files from a disk that does not answer."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from oauth_core.process.audit_figures import CHECKPOINT_AGE, DISK, FREE, UNSEALED, AuditFolder
from oauth_core.process.audit_segments import SegmentWriter
from oauth_core.process.file_figures import FileFigures
from tests.support.audit_sealing import START, SealedWorld
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oauth_core.process.metrics import Figures

EVENT = '{"v":1,"event":"token.issued"}'


@pytest.fixture
def world(tmp_path: Path) -> SealedWorld:
    return SealedWorld(tmp_path)


@pytest.fixture
def writer(world: SealedWorld) -> Iterator[SegmentWriter]:
    writer = SegmentWriter(world.audit_dir, "oauth_web", node="node", reserve_bytes=0)
    yield writer
    writer.close()


def record(writer: SegmentWriter, count: int) -> None:
    for _ in range(count):
        writer.append(EVENT)
    writer.flush(60)


def test_events_are_unsealed_until_a_checkpoint_covers_them(world: SealedWorld, writer: SegmentWriter) -> None:
    folder = AuditFolder(world.audit_dir, writer)
    assert folder.figures()[UNSEALED.name] == 0
    record(writer, 3)
    assert folder.figures()[UNSEALED.name] == 3
    world.seal()
    assert folder.figures()[UNSEALED.name] == 0
    record(writer, 2)
    assert folder.figures()[UNSEALED.name] == 2


def test_a_boot_that_newer_checkpoints_do_not_name_stays_sealed(world: SealedWorld, writer: SegmentWriter) -> None:
    folder = AuditFolder(world.audit_dir, writer)
    record(writer, 3)
    world.seal()
    assert folder.figures()[UNSEALED.name] == 0
    for _ in range(3):
        world.seal(7200)
    assert all(boot.boot != writer.boot for boot in world.checkpoint().boots)
    assert folder.figures()[UNSEALED.name] == 0
    record(writer, 1)
    assert folder.figures()[UNSEALED.name] == 1


def test_the_age_of_a_checkpoint_is_computed_from_its_time(world: SealedWorld) -> None:
    now = START.timestamp() + 100
    folder = AuditFolder(world.audit_dir, clock=lambda: now)
    assert folder.figures()[CHECKPOINT_AGE.name] == float("inf")
    world.seal(40)
    assert folder.figures()[CHECKPOINT_AGE.name] == pytest.approx(60)
    assert UNSEALED.name not in folder.figures()
    world.seal(200)
    assert folder.figures()[CHECKPOINT_AGE.name] == 0, "the clocks of two machines may differ"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"no note", b"x" * 2_000_000])
def test_a_damaged_checkpoint_counts_as_none(world: SealedWorld, writer: SegmentWriter, content: bytes) -> None:
    folder = AuditFolder(world.audit_dir, writer)
    record(writer, 2)
    world.seal()
    (world.audit_dir / "sealed" / "checkpoint").write_bytes(content)
    found = folder.figures()
    assert found[CHECKPOINT_AGE.name] == float("inf")
    assert found[UNSEALED.name] == 2


def test_the_free_room_is_that_of_the_disk(world: SealedWorld) -> None:
    found = AuditFolder(world.audit_dir).figures()
    assert 0 < found[FREE.name] <= found[DISK.name]
    gone = AuditFolder(world.audit_dir / "gone").figures()
    assert {FREE.name, DISK.name}.isdisjoint(gone)
    assert gone[CHECKPOINT_AGE.name] == float("inf")


def test_a_disk_that_does_not_answer_blocks_only_one_thread() -> None:
    answers, begun = threading.Event(), threading.Semaphore(0)

    def read() -> Figures:
        begun.release()
        answers.wait()
        return {"length": 4}

    files = FileFigures(lambda: {"other": 1}, read)
    assert asyncio.run(files.read()) == {}
    assert asyncio.run(files.read()) == {}
    assert begun.acquire(timeout=60)
    assert not begun.acquire(blocking=False)
    answers.set()
    until(lambda: asyncio.run(files.read()) == {"other": 1, "length": 4})
