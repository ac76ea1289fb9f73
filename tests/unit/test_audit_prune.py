"""`portcullis audit prune` deletes old segments with a signed note, and `verify` distinguishes that
from a theft.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oauth_core.audit_log.deletions import DeletedSegment, Deletion, open_deletion, parse_deletion, words
from oauth_core.audit_log.signed_notes import NoteError, Signer, VerifierKey
from oauth_core.errors import SettingsError
from portcullis.audit.deletions import DeletionNotes
from portcullis.audit.filters import EventFilter
from portcullis.audit.following import Follower
from portcullis.audit.parquet import catalog
from portcullis.audit.pruning import Plan, PruneError, Pruning
from portcullis.audit.reading import Reading
from portcullis.audit.segments import StoredFrame, boots, frames
from portcullis.audit.verification import Verification
from portcullis.cli.main import cli
from tests.support.audit_sealing import START, SealedWorld
from tests.support.audit_segments import BOOT, SegmentWriter, event

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from click.testing import Result

LATER = "20261130T060001Z-00000002"
MINUTE = 60.0


class Record:
    """A sealed record: a closed boot with three segments, and a running one with two."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.world = SealedWorld(root)
        self.audit_dir = self.world.audit_dir
        self.notes = DeletionNotes(self.world.folder.root)
        self.closed = SegmentWriter(self.audit_dir, "oauth_web")
        self.running = SegmentWriter(self.audit_dir, "ext_authz.0")
        for number in range(2):
            self.closed.write(event(number), event(number + 10))
            self.running.write(event(number + 20))
            self.world.seal(MINUTE)
            self.closed.open_segment()
            if number == 0:
                self.running.open_segment()
        self.closed.write(event(30))
        self.closed.close()
        self.world.seal(MINUTE)

    def run(self, *arguments: str, code: int = 0) -> Result:
        """Run `portcullis audit …` on this record."""
        place = ["--audit-dir", str(self.audit_dir)]
        if arguments[0] == "prune":
            place += ["--key-file", str(self.world.key.path)]
        result = CliRunner().invoke(cli, ["audit", *arguments, *place])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    def prune_everything(self) -> Result:
        return self.run("prune", "--keep-size", "0", "--yes", "--reason", "the contract ended")

    def verified(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(CliRunner().invoke(cli, self._verify()).stdout)
        return shown

    def _verify(self) -> list[str]:
        return ["audit", "verify", "--json", "--audit-dir", str(self.audit_dir)]

    def words(self) -> set[str]:
        """The kinds of findings."""
        return {finding["word"] for finding in self.verified()["findings"]}

    def segments(self) -> set[str]:
        """The existing segments, without those of commands."""
        return names(self.audit_dir) - {name for name in names(self.audit_dir) if name.startswith("command/")}

    def pruning(
        self, remove_copies: Callable[[Set[tuple[str, str, int]]], None] = lambda _keys: None, *, days: float = 0
    ) -> Pruning:
        """Another run, `days` days after the start."""
        now = START + timedelta(days=days, minutes=10)
        return Pruning(self.audit_dir, self.world.signer, now=now, remove_copies=remove_copies)

    def named(self) -> tuple[DeletedSegment, ...]:
        """The segments that a run would name in its note."""
        return tuple(one.sealed for one in self.pruning().plan(keep_bytes=0).segments)

    def write_note(self, *segments: DeletedSegment, signer: Signer | None = None) -> Path:
        """A note without a deletion."""
        self.notes.folder.mkdir(exist_ok=True)
        signer = signer or self.world.signer
        deletion = Deletion(signer.verifier.name, "2026-11-30T06:10:00.000000Z", "op", "why", segments)
        return self.notes.write(deletion, signer)


def names(audit_dir: Path) -> set[str]:
    return {f"{boot.key}/{index}" for boot in boots(audit_dir) for index in boot.segments()}


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path)


def test_only_closed_segments_are_deleted_and_the_rest_is_complete_and_unaltered(record: Record) -> None:
    shown = record.prune_everything().stdout
    assert "Deleted 4 segments with 6 events. Signed notes:" in shown
    assert record.segments() == {f"ext_authz.0/{BOOT}/2"}
    assert not (record.audit_dir / f"segments/oauth_web/{BOOT}").exists()
    report = record.verified()
    assert (report["intact"], report["undeleted"]) == (True, [])
    (deleted,) = report["deleted"]
    assert deleted.startswith("4 segments with 6 events at ")
    assert "the contract ended" in deleted


def test_the_deletion_is_a_sealed_event_of_the_operator(record: Record) -> None:
    record.prune_everything()
    record.world.seal()
    found = record.run("search", "--event", "audit.pruned", "--json").stdout
    events = [json.loads(line) for line in found.splitlines()]
    assert [each["outcome"] for each in events] == ["intent", "success"]
    assert all(each["sealed"] and each["operator"] for each in events)
    (note,) = record.notes.paths()
    assert note.name in events[1]["reason"]


def test_the_signed_note_names_each_segment_as_in_the_tree(record: Record) -> None:
    record.prune_everything()
    (note,) = record.notes.paths()
    deletion = record.notes.opened(note, record.world.signer.verifier)
    assert (deletion.reason, bool(deletion.operator)) == ("the contract ended", True)
    shown = {(one.key, one.segment): (one.number, one.frames, one.events) for one in deletion.segments}
    assert shown == {
        (f"oauth_web/{BOOT}", 1): (1, 2, 2),
        (f"oauth_web/{BOOT}", 2): (3, 2, 2),
        (f"oauth_web/{BOOT}", 3): (5, 3, 1),
        (f"ext_authz.0/{BOOT}", 1): (1, 2, 1),
    }
    assert [one.last for one in deletion.segments] == sorted(one.last for one in deletion.segments)


def test_a_dry_run_shows_the_segments_and_deletes_none(record: Record) -> None:
    before = record.segments()
    shown = record.run("prune", "--keep-size", "0", "--dry-run").stdout
    assert "4 segments with 6 events" in shown
    assert record.segments() == before
    assert record.notes.paths() == []


def test_without_a_confirmation_nothing_is_deleted(record: Record) -> None:
    before = record.segments()
    record.run("prune", "--keep-size", "0", code=1)
    assert record.segments() == before


def test_the_oldest_segments_are_deleted_until_the_rest_is_small_enough(record: Record) -> None:
    plan = record.pruning().plan(keep_bytes=0)
    first = plan.segments[0]
    smaller = record.pruning().plan(keep_bytes=plan.record_bytes - first.size)
    assert [one.sealed for one in smaller.segments] == [first.sealed]
    assert record.pruning().plan(keep_bytes=plan.record_bytes).segments == []


def test_the_age_is_the_time_of_sealing_and_not_a_time_from_a_program(record: Record) -> None:
    forger = SegmentWriter(record.audit_dir, "oauth_web", LATER)
    forger.open_segment("2001-01-01T00:00:00.000000Z")
    forger.write(event(1, time="2001-01-01T00:00:00.000000Z"))
    forger.close("2001-01-01T00:00:00.000000Z")
    record.world.seal(10 * MINUTE)

    def chosen(minutes: float) -> set[tuple[str, int]]:
        plan = record.pruning().plan(older_than=START + timedelta(minutes=minutes))
        return {(one.boot.key, one.sealed.segment) for one in plan.segments}

    first = {(f"oauth_web/{BOOT}", 1), (f"ext_authz.0/{BOOT}", 1)}
    assert chosen(0.5) == set()
    assert chosen(1.5) == first
    assert chosen(2.5) == first | {(f"oauth_web/{BOOT}", 2)}
    assert not {key for key, _ in chosen(12)} & {f"oauth_web/{LATER}"}
    assert (f"oauth_web/{LATER}", 1) in chosen(14)


def test_without_older_checkpoints_every_segment_counts_as_new(record: Record) -> None:
    for path in record.world.folder.days.iterdir():
        path.unlink()
    assert record.pruning(days=900).plan(older_than=START + timedelta(days=800)).segments == []


# -- segments that must stay --------------------------------------------------------------------------------------


def test_unsealed_events_are_not_deleted(record: Record) -> None:
    before = record.segments()
    waiting = SegmentWriter(record.audit_dir, "oauth_web", LATER)
    waiting.write(event(1))
    waiting.close()
    record.prune_everything()
    assert record.segments() - before == {f"oauth_web/{LATER}/1"}


@pytest.mark.parametrize("harm", ["changed", "longer", "cut", "another"])
def test_an_altered_segment_stays_as_evidence(record: Record, harm: str) -> None:
    path = record.audit_dir / f"segments/oauth_web/{BOOT}/000001.seg"
    content = path.read_bytes()
    path.write_bytes(
        {
            "changed": content[:-1] + bytes([content[-1] ^ 1]),
            "longer": content + b"x",
            "cut": content[:-1],
            "another": (path.parent / "000002.seg").read_bytes(),
        }[harm]
    )
    record.run("prune", "--keep-size", "0", "--yes")
    assert path.exists()
    assert record.words() & {"altered", "missing", "added"}


def test_a_segment_with_a_sealed_fault_stays(record: Record) -> None:
    harmed = SegmentWriter(record.audit_dir, "oauth_web", LATER)
    harmed.write(event(1))
    with harmed.path.open("ab") as file:
        file.write(b"no frame")
    harmed.write(event(2))
    harmed.close()
    record.world.seal(MINUTE)
    record.prune_everything()
    assert record.segments() == {f"ext_authz.0/{BOOT}/2", f"oauth_web/{LATER}/1"}
    assert record.words() == {"damaged"}


def test_the_last_segment_of_a_killed_boot_is_deleted_a_day_after_its_sealing_if_a_later_boot_exists(
    record: Record,
) -> None:
    def chosen(days: float) -> set[tuple[str, int]]:
        plan = record.pruning(days=days).plan(keep_bytes=0)
        return {(one.boot.key, one.sealed.segment) for one in plan.segments}

    last = (f"ext_authz.0/{BOOT}", 2)
    assert last not in chosen(days=9)
    later = SegmentWriter(record.audit_dir, "ext_authz.0", LATER)
    record.world.seal(MINUTE)
    assert last in chosen(days=9)
    assert last not in chosen(days=0.5)
    assert (f"ext_authz.0/{later.boot}", 1) not in chosen(days=9)


def test_a_running_boot_continues_after_its_last_segment_was_deleted(record: Record) -> None:
    SegmentWriter(record.audit_dir, "ext_authz.0", LATER)
    record.world.seal(MINUTE)
    reading = Reading()
    following = Follower(record.audit_dir, EventFilter(), reading)
    pruning = record.pruning(days=9)
    with pruning.held():
        pruning.carry_out(pruning.plan(keep_bytes=0), operator="op", reason="age")
    record.running.folder.mkdir(exist_ok=True)
    record.running.open_segment()
    record.running.write(event(99))
    assert ([each.fields["call"] for each in following.added()], reading.faults) == (["call-99"], [])
    record.world.seal(MINUTE)
    record.world.new_sealer()
    record.world.seal(MINUTE)
    report = record.verified()
    assert report["findings"] == []
    assert record.world.reports == []


# -- theft -----------------------------------------------------------------------------------------------------


def test_a_missing_segment_without_a_note_is_a_fault_beside_deleted_ones(record: Record) -> None:
    record.prune_everything()
    (record.audit_dir / f"segments/ext_authz.0/{BOOT}/000002.seg").unlink()
    assert record.words() == {"missing"}


def test_without_its_note_a_deletion_is_a_theft(record: Record) -> None:
    record.prune_everything()
    (note,) = record.notes.paths()
    note.unlink()
    assert record.words() == {"missing"}


def test_a_note_with_the_signature_of_another_key_is_forged_and_excuses_no_deletion(record: Record) -> None:
    (first, *_) = record.named()
    record.write_note(first, signer=Signer(record.world.signer.verifier.name, b"x" * 32))
    (record.audit_dir / f"segments/{first.key}/000001.seg").unlink()
    assert record.words() == {"forged", "missing"}


def test_a_changed_note_is_forged(record: Record) -> None:
    record.prune_everything()
    (note,) = record.notes.paths()
    note.write_text(note.read_text().replace("the contract ended", "nothing happened"))
    assert record.words() == {"forged", "missing"}


def test_a_checkpoint_is_no_note_and_a_note_is_no_checkpoint(record: Record) -> None:
    (first, *_) = record.named()
    note = record.write_note(first)
    text, checkpoint = note.read_text(), record.world.folder.checkpoint.read_text()
    note.write_text(checkpoint)
    assert record.words() == {"forged"}
    note.unlink()
    record.world.folder.checkpoint.write_text(text)
    assert "forged" in record.words()


def test_a_deletion_during_a_verification_is_no_fault(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    deletions, is_pruned = Verification._deletions, False

    def pruning_after(verification: Verification) -> Any:
        nonlocal is_pruned
        found = deletions(verification)
        if not is_pruned:
            is_pruned = True
            record.prune_everything()
        return found

    monkeypatch.setattr(Verification, "_deletions", pruning_after)
    report = record.verified()
    assert (report["findings"], len(report["deleted"])) == ([], 1)


def test_notes_that_are_added_continuously_do_not_block_a_verification(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    deletions = Verification._deletions
    other = Signer(record.world.signer.verifier.name, b"x" * 32)
    (first, *_) = record.named()

    def adding(verification: Verification) -> Any:
        found = deletions(verification)
        record.write_note(first, signer=other)
        return found

    record.write_note(first, signer=other)
    monkeypatch.setattr(Verification, "_deletions", adding)
    assert record.words() == {"forged"}


def test_an_unknown_file_is_reported_as_added(record: Record) -> None:
    record.prune_everything()
    (record.notes.folder / "note.txt").write_text("x")
    assert record.words() == {"added"}


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 3},
        {"frames": 10_000_000},
        {"number": 2},
        {"first": 4},
        {"last": 5},
        {"last": 10_000_000},
        {"digest": bytes(32)},
        {"writer": "ext_authz.0"},
        {"boot": LATER},
    ],
    ids=str,
)
def test_a_note_that_differs_from_the_sealed_segment_is_a_fault(record: Record, change: dict[str, Any]) -> None:
    (first, *_) = record.named()
    record.write_note(replace(first, **change))
    assert record.words() == {"altered"}
    (record.audit_dir / f"segments/{first.key}/000001.seg").unlink()
    assert "missing" in record.words()


def test_a_note_for_one_segment_does_not_excuse_another_one(record: Record) -> None:
    first, second, *_ = (one for one in record.named() if one.writer == "oauth_web")
    record.write_note(replace(first, segment=second.segment))
    (record.audit_dir / f"segments/{second.key}/000002.seg").unlink()
    assert "missing" in record.words()


def test_an_existing_segment_that_a_note_names_is_verified_like_others(record: Record) -> None:
    first, *_ = record.named()
    record.write_note(*record.named())
    report = record.verified()
    assert (report["intact"], len(report["undeleted"]), report["deleted"]) == (True, 4, [])
    path = record.audit_dir / f"segments/{first.key}/000001.seg"
    path.write_bytes(path.read_bytes()[:-1])
    assert record.words() & {"altered", "missing"}


# -- interrupted runs ------------------------------------------------------------------------------------------


class _KilledError(BaseException):
    """The process is killed here."""


class _Unlinking:
    """Deletes this many segments and is killed then. Other files are deleted as usual."""

    def __init__(self, left: int) -> None:
        self.left = left
        self._unlink = os.unlink

    def __call__(self, path: str | Path, *, dir_fd: int | None = None) -> None:
        if str(path).endswith(".seg"):
            self.left -= 1
            if self.left < 0:
                raise _KilledError
        self._unlink(path, dir_fd=dir_fd)


def test_a_run_that_is_killed_at_any_point_is_completed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for steps in range(5):
        record = Record(tmp_path / str(steps))
        before = record.segments()
        pruning = record.pruning()
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", _Unlinking(steps))
            with pruning.held():
                plan = pruning.plan(keep_bytes=0)
                if steps < len(plan.segments):
                    with pytest.raises(_KilledError):
                        pruning.carry_out(plan, operator="op", reason="age")
                else:
                    pruning.carry_out(plan, operator="op", reason="age")
        assert len(before - record.segments()) == steps
        report = record.verified()
        assert (report["intact"], len(report["undeleted"])) == (True, 4 - steps)
        shown = record.run("prune", "--keep-size", "1TB", "--yes").stdout
        assert ("Finished an interrupted deletion" in shown) == (steps < 4)
        report = record.verified()
        assert (report["intact"], report["undeleted"]) == (True, [])
        assert record.segments() == {f"ext_authz.0/{BOOT}/2"}


def test_a_run_that_is_killed_before_the_note_has_deleted_nothing(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> Path:
        raise _KilledError

    before, pruning = record.segments(), record.pruning()
    monkeypatch.setattr(DeletionNotes, "write", killed)
    with pruning.held(), pytest.raises(_KilledError):
        pruning.carry_out(pruning.plan(keep_bytes=0), operator="op", reason="age")
    assert record.segments() == before
    assert record.verified()["intact"]


def test_the_next_run_does_not_delete_a_signed_segment_that_was_altered_meanwhile(record: Record) -> None:
    first, *_ = record.named()
    record.write_note(first)
    path = record.audit_dir / f"segments/{first.key}/000001.seg"
    path.write_bytes(path.read_bytes() + b"x")
    record.run("prune", "--keep-size", "1TB", "--yes")
    assert path.exists()


# -- attacks with write access to the folder ----------------------------------------------------------------------


@pytest.mark.parametrize("linked", ["segments", "segments/oauth_web", f"segments/oauth_web/{BOOT}"])
def test_a_link_to_a_backup_deletes_nothing_there(record: Record, tmp_path: Path, linked: str) -> None:
    record.write_note(*record.named())
    backup, folder = tmp_path / "backup", record.audit_dir / linked
    shutil.move(folder, backup)
    folder.symlink_to(backup)
    before = sorted(backup.rglob("*.seg"))
    place = ["--audit-dir", str(record.audit_dir), "--key-file", str(record.world.key.path)]
    CliRunner().invoke(cli, ["audit", "prune", "--keep-size", "0", "--yes", *place])
    assert sorted(backup.rglob("*.seg")) == before
    assert len(before) >= 3


@pytest.mark.parametrize("linked", ["segments", "segments/oauth_web", f"segments/oauth_web/{BOOT}"])
def test_a_link_that_is_made_after_the_note_deletes_nothing_elsewhere(
    record: Record, tmp_path: Path, linked: str
) -> None:
    backup, folder = tmp_path / "backup", record.audit_dir / linked
    before = len(list(folder.rglob("*.seg")))

    def link(_keys: Set[tuple[str, str, int]]) -> None:
        shutil.move(folder, backup)
        folder.symlink_to(backup)

    pruning = record.pruning(link)
    with pruning.held():
        plan = pruning.plan(keep_bytes=0)
        with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
            pruning.carry_out(plan, operator="op", reason="age")
    assert len(list(backup.rglob("*.seg"))) == before


@pytest.mark.parametrize("command", ["prune", "compact"])
def test_a_link_in_place_of_the_copies_deletes_no_file_elsewhere(
    record: Record, tmp_path: Path, command: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sales.parquet").touch()
    (record.audit_dir / catalog.FOLDER).symlink_to(other)
    before = record.segments()
    arguments = ["--keep-size", "0", "--yes"] if command == "prune" else []
    place = ["--audit-dir", str(record.audit_dir)]
    place += ["--key-file", str(record.world.key.path)] if command == "prune" else []
    assert CliRunner().invoke(cli, ["audit", command, *arguments, *place]).exit_code != 0
    assert [path.name for path in other.iterdir()] == ["sales.parquet"]
    assert record.segments() == before


def test_no_note_is_written_into_a_folder_elsewhere(record: Record, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    record.notes.folder.symlink_to(other)
    before = record.segments()
    assert "is a link" in record.run("prune", "--keep-size", "0", "--yes", code=1).output
    assert record.segments() == before
    assert list(other.iterdir()) == []


def test_a_segment_that_changes_between_the_plan_and_its_confirmation_is_not_deleted(record: Record) -> None:
    before, pruning = record.segments(), record.pruning()
    with pruning.held():
        plan = pruning.plan(keep_bytes=0)
        path = plan.segments[-1].path
        path.write_bytes(path.read_bytes() + b"x")
        with pytest.raises(PruneError, match="has changed meanwhile"):
            pruning.carry_out(plan, operator="op", reason="age")
    assert record.segments() == before
    assert record.notes.paths() == []


def test_an_unreadable_folder_of_notes_stops_no_search(record: Record) -> None:
    record.notes.folder.symlink_to(record.notes.folder)
    assert record.run("search", "--json").stdout.count('"access.allowed"') == 7


def test_the_notes_are_read_once_for_many_deleted_segments(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.prune_everything()
    opened, paths = DeletionNotes.opened, list[Path]()

    def counting(notes: DeletionNotes, path: Path, key: VerifierKey) -> Deletion:
        paths.append(path)
        return opened(notes, path, key)

    boot = SegmentWriter(record.audit_dir, "oauth_web", LATER)
    for _ in range(3):
        boot.open_segment()
        boot.write(event(50))
    for index in (1, 2, 3):
        (boot.folder / f"{index:06}.seg").unlink()
    monkeypatch.setattr(DeletionNotes, "opened", counting)
    record.world.seal(MINUTE)
    assert len(paths) == 1
    assert sum("no-segment" in sentence for sentence in record.world.reports) == 3


# -- refusals --------------------------------------------------------------------------------------------------


def test_without_the_key_nothing_is_deleted_and_the_error_says_so(record: Record) -> None:
    record.world.key.path.unlink()
    before = record.segments()
    result = record.run("prune", "--keep-size", "0", "--yes", code=1)
    assert isinstance(result.exception, SettingsError)
    assert "only the sealer's key can sign a deletion" in str(result.exception)
    assert record.segments() == before


def test_with_another_key_nothing_is_deleted(record: Record) -> None:
    other = Signer(record.world.signer.verifier.name, b"y" * 32)
    record.world.key.path.write_text(f"{other.private_text()}\n")
    before = record.segments()
    assert "nothing was deleted" in record.run("prune", "--keep-size", "0", "--yes", code=1).output
    assert record.segments() == before


def test_with_an_altered_tree_nothing_is_deleted(record: Record) -> None:
    for path in (record.world.folder.root / "tile/entries").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"oauth_web", b"oauth_xeb"))
    before = record.segments()
    assert "audit verify" in record.run("prune", "--keep-size", "0", "--yes", code=1).output
    assert record.segments() == before


@pytest.mark.parametrize(
    "arguments", [[], ["--older-than", "soon"], ["--keep-size", "much"], ["--keep-size", "-1"]]
)
def test_wrong_usage_is_refused(record: Record, arguments: list[str]) -> None:
    record.run("prune", *arguments, code=2)


def test_during_a_compaction_nothing_is_deleted(record: Record) -> None:
    before = record.segments()
    with catalog.held(record.audit_dir):
        assert "works now" in record.run("prune", "--keep-size", "0", "--yes", code=1).output
    assert record.segments() == before
    assert record.notes.paths() == []


# -- other commands continue --------------------------------------------------------------------------------------


def test_searches_and_copies_continue_and_no_copy_keeps_a_deleted_event(record: Record) -> None:
    record.run("compact")
    assert record.run("search", "--json").stdout.count('"access.allowed"') == 7
    record.prune_everything()
    assert list((record.audit_dir / catalog.FOLDER).glob("*.parquet")) == []
    for _ in range(2):
        found = [json.loads(line) for line in record.run("search", "--json").stdout.splitlines()]
        assert [each["call"] for each in found if each["event"] == "access.allowed"] == ["call-21"]
        record.run("compact")
    record.run("tail", "--json")
    record.run("detect", "--since", "2026-11-30", "--until", "2026-11-30")


def test_searches_still_report_a_gap_that_no_note_names(record: Record) -> None:
    (record.audit_dir / f"segments/oauth_web/{BOOT}/000001.seg").unlink()
    assert "segment 000001 is missing" in record.run("search", code=1).stderr


def test_the_sealer_continues_even_if_it_must_rebuild_its_progress(record: Record) -> None:
    record.prune_everything()
    for name in ("progress", "finished"):
        (record.world.folder.root / name).unlink()
    record.world.new_sealer()
    record.running.write(event(40))
    record.running.close()
    record.world.seal(MINUTE)
    assert record.world.reports == []
    report = record.verified()
    assert (report["findings"], report["unsealed"]) == ([], [])


def test_a_second_deletion_adds_its_own_note(record: Record) -> None:
    record.prune_everything()
    record.running.close()
    record.world.seal(MINUTE)
    record.prune_everything()
    assert record.segments() == set()
    report = record.verified()
    assert (report["intact"], len(report["deleted"])) == (True, 2)


def test_a_period_can_be_verified_after_a_deletion(record: Record) -> None:
    record.prune_everything()
    for option in ("--since", "--until"):
        record.run("verify", option, "2026-11-30T06:01:30Z")


# -- the format of a note -----------------------------------------------------------------------------------------

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=600)
_NUMBER = st.integers(0, 10**12)
_SEGMENT = st.builds(
    DeletedSegment,
    st.just("oauth_web"),
    st.just(BOOT),
    st.integers(1, 10**8),
    st.integers(1, 10**12),
    st.integers(1, 10**12),
    _NUMBER,
    _NUMBER,
    _NUMBER,
    st.binary(min_size=32, max_size=32),
)


@given(_TEXT, _TEXT, st.lists(_SEGMENT, min_size=1, max_size=5).map(tuple))
def test_a_signed_note_is_read_back_unchanged(
    operator: str, reason: str, segments: tuple[DeletedSegment, ...]
) -> None:
    signer = Signer("node-1/portcullis-audit", b"k" * 32)
    deletion = Deletion(
        signer.verifier.name, "2026-11-30T06:10:00.000000Z", words(operator), words(reason), segments
    )
    assert open_deletion(deletion.sign(signer), signer.verifier) == deletion


@given(
    st.text(max_size=300) | _TEXT.map(lambda text: f"portcullis-deletion/1 x\ntime y\noperator z\nreason {text}\n")
)
def test_any_other_text_is_no_deletion(text: str) -> None:
    with pytest.raises(NoteError):
        parse_deletion(text)


# -- generated records --------------------------------------------------------------------------------------------

_BOOTS = st.lists(
    st.tuples(
        st.sampled_from(["oauth_web", "ext_authz.0", "command"]),
        st.lists(st.integers(0, 3), min_size=1, max_size=4),  # frames of each segment
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=_BOOTS, keep=st.integers(0, 3000), data=st.data())
def test_after_any_deletion_the_rest_verifies_and_every_further_loss_is_found(
    tmp_path_factory: pytest.TempPathFactory,
    made: list[tuple[str, list[int], bool]],
    keep: int,
    data: st.DataObject,
) -> None:
    world = SealedWorld(tmp_path_factory.mktemp("record"))
    number = 0
    for place, (writer, sizes, is_closed) in enumerate(made):
        boot = SegmentWriter(world.audit_dir, writer, f"20261130T06000{place}Z-0123abcd")
        for index, size in enumerate(sizes):
            if index:
                boot.open_segment()
            for _ in range(size):
                number += 1
                boot.write(event(number))
            world.seal(MINUTE)
        if is_closed:
            boot.close()
    world.seal(MINUTE)
    before = _digests(world)
    pruning = Pruning(
        world.audit_dir, world.signer, now=START + timedelta(days=9), remove_copies=lambda _keys: None
    )
    with pruning.held():
        plan = pruning.plan(keep_bytes=keep)
        pruning.carry_out(plan, operator="op", reason="size")
    assert _sizes(world) <= keep or _is_nothing_left(pruning)
    assert len(before) - len(_digests(world)) == sum(one.sealed.frames for one in plan.segments)
    assert _words(world) == set()
    world.new_sealer()
    world.seal(MINUTE)
    assert (_words(world), world.reports) == (set(), [])
    left = sorted((world.audit_dir / "segments").rglob("*.seg"))
    if left:
        data.draw(st.sampled_from(left)).unlink()
        assert _words(world) == {"missing"}


def _digests(world: SealedWorld) -> list[bytes]:
    return [
        found.frame.digest
        for boot in boots(world.audit_dir)
        for found in frames(boot)
        if isinstance(found, StoredFrame)
    ]


def _sizes(world: SealedWorld) -> int:
    return sum(path.stat().st_size for path in (world.audit_dir / "segments").rglob("*.seg"))


def _is_nothing_left(pruning: Pruning) -> bool:
    plan: Plan = pruning.plan(keep_bytes=0)
    return not plan.segments


def _words(world: SealedWorld) -> set[str]:
    shown = CliRunner().invoke(cli, ["audit", "verify", "--json", "--audit-dir", str(world.audit_dir)]).stdout
    return {finding["word"] for finding in json.loads(shown)["findings"]}
