"""`portcullis audit seal` as a separate process, beside a program that writes continuously and is killed."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tlog_scales import backend, reader

from oauth_core.audit_log.checkpoints import Checkpoint, open_checkpoint
from oauth_core.audit_log.entries import FrameEntry, parse_entry
from oauth_core.audit_log.frames import FrameKind
from oauth_core.audit_log.signed_notes import NoteError, VerifierKey
from portcullis.audit.sealed_folder import SealedFolder
from portcullis.audit.segments import StoredFrame, boots, frames
from portcullis.audit.tree import TreeReader
from tests.support import forks
from tests.support.audit_segments import BOOT, event, write_segment
from tests.support.programs import PATIENCE, plain_environment, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OTHER = "20261130T060001Z-00000002"
LEAST_BYTES = 64 * 1024**2
# A program that appends many frames a second, until it is killed.
WRITER = """
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tests.support.audit_segments import SegmentWriter, event
writer = SegmentWriter(Path(sys.argv[1]), "oauth_web")
number = 0
while True:
    number += 1
    time.sleep(0.001)
    writer.write(event(number, time=datetime.now(UTC).isoformat().replace("+00:00", "Z")))
"""


class Place:
    """An audit folder with its key, in `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.audit_dir = root / "audit"
        self.audit_dir.mkdir()
        self.folder = SealedFolder(self.audit_dir)
        self.arguments = ["--audit-dir", str(self.audit_dir)]
        made = self.run("key")
        assert made.returncode == 0, made.stderr
        self.key = VerifierKey.from_text(made.stdout.strip())

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command on this folder until it ends."""
        return forks.run("portcullis", "audit", *arguments, *self.arguments, environment=plain_environment())

    @contextmanager
    def sealing(self, name: str = "seal.log") -> Iterator[subprocess.Popen[bytes]]:
        """A running sealer that holds the folder."""
        with running(["audit", "seal", *self.arguments], self.root / name) as process:
            until(lambda: process.poll() is not None or self.size() is not None, "the first checkpoint")
            assert process.poll() is None, (self.root / name).read_text()
            yield process

    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint."""
        return open_checkpoint(self.folder.checkpoint.read_text(encoding="utf-8"), self.key)

    def size(self) -> int | None:
        """The size of the newest checkpoint, if there is one."""
        try:
            return self.checkpoint().size
        except (FileNotFoundError, NoteError):
            return None

    def stored(self) -> list[bytes]:
        """The digests of all stored frames."""
        return [
            found.frame.digest
            for boot in boots(self.audit_dir)
            for found in frames(boot)
            if isinstance(found, StoredFrame)
        ]

    def sealed(self) -> list[bytes]:
        """The digests of all frames in the tree."""
        tree = TreeReader(self.folder.root, self.checkpoint().size)
        entries = [parse_entry(data) for index in range(-(-tree.size // 256)) for data in tree.bundle(index)]
        return [entry.digest for entry in entries if isinstance(entry, FrameEntry)]

    def is_newest_sealed(self) -> bool:
        """Whether every frame that is stored now is in the tree, whatever else is."""
        return set(self.stored()) <= set(self.sealed())

    def is_all_sealed(self) -> bool:
        """Whether every stored frame is in the tree."""
        return self.size() == len(self.stored())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_frames_of_a_killed_program_are_sealed_even_if_the_sealer_was_killed_too(place: Place) -> None:
    with place.sealing("first.log") as sealer, writing(place) as writer:
        until(lambda: (place.size() or 0) > 300, "the first tiles")
        sealer.send_signal(signal.SIGKILL)
        sealer.wait()
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    with place.sealing("second.log"):
        until(place.is_all_sealed, "everything to be sealed")
        write_segment(place.audit_dir, "command", OTHER, [[event(1)]])
        until(place.is_all_sealed, "the frames of another program")
    assert sorted(place.sealed()) == sorted(place.stored())
    assert (place.root / "second.log").read_text() == ""
    other = reader.TilesReader(backend.LocalBackend(place.folder.root))
    other.set_size(place.checkpoint().size)
    assert other.calculate_root_hash() == place.checkpoint().root


def test_the_sealer_deletes_what_the_settings_do_not_keep_and_verification_knows_it(place: Place) -> None:
    # More than the least that can be kept. It cannot be compressed.
    texts = [base64.b64encode(os.urandom(500_000)).decode() for _ in range(140)]
    old = write_segment(place.audit_dir, "command", OTHER, [[event(1, path=text)] for text in texts])
    assert old.path.stat().st_size > LEAST_BYTES
    # As `portcullis up` starts it: without a settings file.
    named = ["audit", "seal", *place.arguments, "--key-file", str(place.root / "audit_seal.key")]
    log = place.root / "seal.log"
    with running(named, log, plain_environment(AUDIT_KEEP_BYTES=str(LEAST_BYTES))) as process:
        until(lambda: process.poll() is not None or not old.path.exists(), "the deletion")
        until(lambda: process.poll() is not None or "Signed notes" in log.read_text(), "its end")
        assert process.poll() is None, log.read_text()
        until(place.is_newest_sealed, "its event to be sealed")
    verified = place.run("verify", "--json")
    assert verified.returncode == 0, verified.stdout
    assert "deleted" in verified.stdout


def test_a_limit_that_is_no_number_is_a_fault_of_the_settings(place: Place) -> None:
    named = ["audit", "seal", *place.arguments, "--key-file", str(place.root / "audit_seal.key")]
    log = place.root / "seal.log"
    with running(named, log, plain_environment(AUDIT_KEEP_DAYS="never")) as process:
        assert process.wait(PATIENCE) == 2
    assert "AUDIT_KEEP_DAYS" in log.read_text()


def test_verification_beside_a_running_sealer_and_writer_finds_no_fault(place: Place) -> None:
    with place.sealing(), writing(place):
        before = 0
        for _ in range(3):
            before = grown(place, before + 200)
            verified = place.run("verify", "--key", place.key.text, "--json")
            assert verified.returncode == 0, verified.stdout
            assert json.loads(verified.stdout)["size"] >= before


def grown(place: Place, size: int) -> int:
    """Wait until the tree has more than `size` entries. Return their number."""
    until(lambda: (place.size() or 0) > size, "the tree to grow")
    return place.size() or 0


@contextmanager
def writing(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """A program that writes to the folder until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(place.audit_dir)], env=plain_environment())
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_sealer_that_is_stopped_seals_earlier_frames_first(place: Place) -> None:
    with place.sealing() as sealer:
        write_segment(place.audit_dir, batches=[[event(1)]])
        sealer.send_signal(signal.SIGTERM)
        assert sealer.wait(PATIENCE) == 0
    assert place.is_all_sealed()
    assert {boot.boot for boot in place.checkpoint().boots} == {BOOT}


def test_a_second_sealer_of_one_folder_refuses_to_start(place: Place) -> None:
    with place.sealing() as sealer:
        second = place.run("seal")
        assert (second.returncode, second.stdout) == (2, "")
        assert f"another sealer (process {sealer.pid})" in second.stderr


def test_with_a_lost_key_the_error_has_instructions_and_a_new_tree_seals_everything_again(place: Place) -> None:
    write_segment(place.audit_dir, batches=[[event(1)]])
    with place.sealing():
        until(place.is_all_sealed, "everything to be sealed")
    (place.root / "audit_seal.key").unlink()
    for command in ("seal", "key"):
        refused = place.run(command)
        assert refused.returncode == 2
        assert "restore" in refused.stderr
        assert "--new-tree" in refused.stderr
    old = place.key
    renewed = place.run("key", "--new-tree")
    assert renewed.returncode == 0
    assert str(place.audit_dir / "sealed-1") in renewed.stderr
    place.key = VerifierKey.from_text(renewed.stdout.strip())
    with place.sealing("new.log"):
        until(place.is_all_sealed, "everything to be sealed again")
    recorded = [
        json.loads(line)
        for boot in boots(place.audit_dir)
        if boot.writer == "command"
        for found in frames(boot)
        if isinstance(found, StoredFrame) and found.frame.kind is FrameKind.EVENTS
        for line in found.frame.lines()
    ]
    assert [(each["event"], each["outcome"]) for each in recorded] == [
        ("audit.tree_started", "intent"),
        ("audit.tree_started", "success"),
    ]
    assert recorded[1]["key"] == f"{place.key.name}+{place.key.key_id.hex()}"
    assert place.run("verify").returncode == 0
    older = place.run("verify", "--sealed", str(place.audit_dir / "sealed-1"), "--json")
    assert (older.returncode, json.loads(older.stdout)["size"]) == (0, 3)
    kept = (place.audit_dir / "sealed-1/checkpoint").read_text(encoding="utf-8")
    assert open_checkpoint(kept, old).size == 3
    assert (place.audit_dir / "sealed-1/audit_seal.pub").read_text().strip() == old.text


def test_the_first_sealer_of_a_container_makes_the_key_and_the_next_one_uses_it(place: Place) -> None:
    for path in place.root.glob("audit_seal.*"):
        path.unlink()
    made = []
    for start in (1, 2):
        write_segment(place.audit_dir, boot=f"20261130T06000{start}Z-0123abcd", batches=[[event(start)]])
        with running(["audit", "seal", "--make-key", *place.arguments], place.root / f"{start}.log"):
            until(place.folder.checkpoint.exists, "a checkpoint")
            made.append((place.root / "audit_seal.pub").read_text())
            place.key = VerifierKey.from_text(made[-1].strip())
            until(place.is_all_sealed, "everything to be sealed")
    assert made[0] == made[1]
    assert place.run("verify").returncode == 0


def test_a_lost_key_is_not_made_again(place: Place) -> None:
    write_segment(place.audit_dir, batches=[[event(1)]])
    with place.sealing():
        until(place.is_all_sealed, "everything to be sealed")
    (place.root / "audit_seal.key").unlink()
    refused = place.run("seal", "--make-key")
    assert refused.returncode == 2
    assert "restore the key" in refused.stderr
    assert not (place.root / "audit_seal.key").exists()


def test_with_the_stay_option_a_sealer_reports_its_fault_and_ends_only_when_stopped(place: Place) -> None:
    """In a pod, a sealer that ends would stop the calls of the pod."""
    (place.root / "audit_seal.key").unlink()
    log = place.root / "seal.log"
    with running(["audit", "seal", "--stay", *place.arguments], log) as process:
        until(lambda: process.poll() is not None or "trying again" in log.read_text(), "the report")
        assert process.poll() is None
        assert "make one with `portcullis audit key`" in log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 2


def test_only_its_owner_can_read_the_key_and_it_is_printed_nowhere(place: Place) -> None:
    path = place.root / "audit_seal.key"
    assert path.stat().st_mode & 0o777 == 0o600
    secret = path.read_text().strip().split("+", 4)[4]  # base64, which can contain another "+"
    shown = place.run("key")
    assert shown.stdout == f"{place.key.text}\n"
    with place.sealing():
        # A running sealer holds the folder, and the public half is still shown.
        assert place.run("key").stdout == f"{place.key.text}\n"
    everything = [file.read_bytes() for file in place.root.rglob("*") if file.is_file() and file != path]
    assert not any(secret.encode() in content for content in everything)
