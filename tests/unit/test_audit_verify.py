"""`portcullis audit verify` finds every kind of tampering, and names it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tlog_scales import tlog

from oauth_core.audit_log import frames, merkle
from oauth_core.audit_log.checkpoints import Checkpoint
from oauth_core.audit_log.entries import entry_of, parse_entry
from oauth_core.audit_log.frames import FrameEncoder, FrameKind
from oauth_core.audit_log.signed_notes import Signer
from oauth_core.errors import SettingsError
from portcullis.audit.proofs import EventName, Proof, ProofError, parse_proof
from portcullis.audit.sealed_folder import notes_in
from portcullis.audit.sealer import QUIET_SECONDS
from portcullis.audit.tree import TreeReader
from portcullis.cli.main import cli
from tests.support.audit_sealing import SealedWorld
from tests.support.audit_segments import BOOT, NODE, SegmentWriter, event, write_segment

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

SECOND = "20261130T060001Z-00000002"
THIRD = "20261130T060002Z-00000003"
LATE = 300
"""Seconds after which the test seals: every frame is then older than a minute."""


@dataclass
class Record:
    """A sealed folder with some boots, whose frames fill more than one tile."""

    world: SealedWorld
    root: Path
    first: SegmentWriter
    second: SegmentWriter
    other: SegmentWriter

    @property
    def sealed(self) -> Path:
        return self.world.folder.root

    def segment(self, index: int = 1) -> Path:
        """A segment of the first boot."""
        return self.first.folder / f"{index:06}.seg"

    def frames(self, index: int = 1) -> list[bytes]:
        """The frames in a segment of the first boot."""
        data, found, offset = self.segment(index).read_bytes(), [], 0
        while (frame := frames.read(data, offset)) is not None:
            found.append(data[offset : offset + frame.size])
            offset += frame.size
        return found

    def put(self, parts: list[bytes], index: int = 1) -> None:
        """Replace the frames in a segment of the first boot."""
        self.segment(index).write_bytes(b"".join(parts))


def make_record(root: Path) -> Record:
    world = SealedWorld(root)
    first = SegmentWriter(world.audit_dir)
    for number in range(6):
        first.write(event(number), event(number + 100))
    first.open_segment()
    for number in range(4):
        first.write(event(number + 6))
    first.close()
    second = write_segment(world.audit_dir, boot=SECOND, batches=[[event(number)] for number in range(4)])
    world.seal(LATE)
    other = SegmentWriter(world.audit_dir, "oauth_web", THIRD)
    for number in range(300):
        other.write(event(number))
    world.seal(QUIET_SECONDS)
    other.write(event(301))
    world.seal(QUIET_SECONDS)
    return Record(world, root, first, second, other)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    make_record(folder / "record")
    return folder / "record"


@pytest.fixture
def record(template: Path, tmp_path: Path) -> Record:
    """A copy of the record, for one test to tamper with."""
    root = tmp_path / "record"
    shutil.copytree(template, root)
    world = SealedWorld(root)

    def writer(name: str, boot: str) -> SegmentWriter:
        found = SegmentWriter.__new__(SegmentWriter)
        found.folder = world.audit_dir / "segments" / name / boot
        return found

    return Record(
        world, root, writer("ext_authz.0", BOOT), writer("ext_authz.0", SECOND), writer("oauth_web", THIRD)
    )


def run(record: Record, *more: str) -> Result:
    arguments = ["audit", "verify", "--audit-dir", str(record.world.audit_dir), *more]
    return CliRunner().invoke(cli, arguments)


def found(record: Record, *more: str) -> list[tuple[str, str]]:
    """The kind and the place of every finding."""
    result = run(record, "--json", *more)
    shown: dict[str, Any] = json.loads(result.stdout)
    assert shown["intact"] is (not shown["findings"])
    assert result.exit_code == (0 if shown["intact"] else 1), result.output
    return [(finding["word"], finding["place"]) for finding in shown["findings"]]


def details(record: Record, *more: str) -> str:
    return run(record, *more).stdout


def test_an_untouched_record_is_complete_and_unaltered(record: Record) -> None:
    assert found(record) == []
    result = run(record)
    assert result.exit_code == 0
    assert "Complete and unaltered: 321 frames with 321 events, by the checkpoint of 321 entries" in result.stdout


# -- frames --------------------------------------------------------------------------------------------------


FIRST = f"ext_authz.0/{BOOT}"


def forged_frame(number: int) -> bytes:
    """A frame with this number, written by an attacker."""
    encoder = FrameEncoder()
    return [encoder.encode(FrameKind.EVENTS, [b"{}"]) for _ in range(number)][-1]


def test_a_removed_frame_is_missing(record: Record) -> None:
    parts = record.frames()
    record.put(parts[:3] + parts[4:])
    assert found(record) == [("missing", FIRST)]
    assert "frame 4 is not there" in details(record)


def test_removed_frames_at_the_end_of_a_closed_boot_are_missing(record: Record) -> None:
    record.put(record.frames(2)[:-2], 2)
    assert found(record) == [("missing", FIRST)]
    assert "frames 12 to 13 are not there" in details(record)


def test_a_changed_byte_in_any_part_of_a_frame_is_found(record: Record) -> None:
    parts = record.frames()
    places = [*range(4), 4, 5, 12, 13, 20, 21, 24, 25, 28, 29, 40, 61, 70, len(parts[2]) - 1]
    for place in places:
        changed = bytearray(parts[2])
        changed[place] ^= 1
        record.put([*parts[:2], bytes(changed), *parts[3:]])
        words = {word for word, where in found(record) if where == FIRST}
        assert "altered" in words, place


def test_a_replaced_event_is_altered_even_if_the_chain_is_rebuilt(record: Record) -> None:
    record.segment(2).unlink()
    encoder, parts = FrameEncoder(), []
    for number, part in enumerate(record.frames()):
        frame = frames.read(part)
        assert frame is not None
        lines = frame.lines()
        parts.append(encoder.encode(frame.kind, [b"{}", b"{}"] if number == 2 else lines))
    record.put(parts)
    assert ("altered", FIRST) in found(record)
    assert "frames 3 to 7 are not as sealed" in details(record)


def test_frames_in_another_order_are_altered(record: Record) -> None:
    parts = record.frames()
    record.put([*parts[:2], parts[3], parts[2], *parts[4:]])
    assert found(record) == [("altered", FIRST)]
    assert "not in their order" in details(record)


def test_a_duplicate_frame_is_added(record: Record) -> None:
    parts = record.frames()
    record.put([*parts[:3], parts[2], *parts[3:]])
    assert found(record) == [("added", FIRST)]


def test_a_forged_frame_between_others_is_added(record: Record) -> None:
    parts = record.frames()
    record.put([*parts[:3], forged_frame(40), *parts[3:]])
    assert found(record) == [("added", FIRST)]


def test_a_frame_behind_the_closing_one_is_added(record: Record) -> None:
    record.put([*record.frames(2), forged_frame(14)], 2)
    assert found(record) == [("added", FIRST)]


def test_invalid_bytes_in_place_of_a_frame_are_altered(record: Record) -> None:
    parts = record.frames()
    record.put([*parts[:3], b"x" * len(parts[3]), *parts[4:]])
    assert {word for word, _ in found(record)} == {"altered"}
    assert "frame 4 is not as sealed" in details(record)


def test_a_truncated_last_frame_is_altered(record: Record) -> None:
    parts = record.frames(2)
    record.put([*parts[:-1], parts[-1][:-5]], 2)
    assert found(record) == [("altered", FIRST)]


def test_an_appended_frame_that_should_have_been_sealed_is_added(record: Record) -> None:
    with (record.other.folder / "000001.seg").open("ab") as file:
        writer = SegmentWriter(record.root / "elsewhere", "oauth_web", THIRD)
        for number in range(300):
            writer.write(event(number))
        writer.write(event(301))
        file.write(writer.write(event(302)))
    assert found(record) == [("added", f"oauth_web/{THIRD}")]
    assert "older than the checkpoint" in details(record)


# -- segments and boots ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [1, 2])
def test_a_removed_segment_is_missing(record: Record, index: int) -> None:
    record.segment(index).unlink()
    assert {word for word, _ in found(record)} == {"missing"}


def test_an_emptied_segment_is_missing(record: Record) -> None:
    record.put([])
    assert found(record) == [("missing", FIRST)]


def test_a_truncated_segment_is_missing(record: Record) -> None:
    record.put(record.frames()[:3])
    assert found(record) == [("missing", FIRST)]
    assert "frames 4 to 7 are not there" in details(record)


def test_exchanged_segments_are_altered(record: Record) -> None:
    one, two = record.segment(1).read_bytes(), record.segment(2).read_bytes()
    record.segment(1).write_bytes(two)
    record.segment(2).write_bytes(one)
    assert found(record) == [("altered", FIRST)]


def test_a_duplicate_segment_is_added(record: Record) -> None:
    shutil.copy(record.segment(2), record.segment(3))
    assert found(record) == [("added", FIRST)]


def test_a_removed_boot_is_missing(record: Record) -> None:
    shutil.rmtree(record.first.folder)
    assert found(record) == [("missing", FIRST)]
    assert "the whole boot: 16 events" in details(record)


def test_a_removed_writer_is_missing(record: Record) -> None:
    shutil.rmtree(record.other.folder.parent)
    assert found(record) == [("missing", f"oauth_web/{THIRD}")]


def test_exchanged_boots_are_altered(record: Record) -> None:
    aside = record.root / "aside"
    record.first.folder.rename(aside)
    record.second.folder.rename(record.first.folder)
    aside.rename(record.second.folder)
    assert {place for word, place in found(record) if word == "altered"} == {FIRST, f"ext_authz.0/{SECOND}"}


def test_a_boot_under_another_writer_is_missing_and_added(record: Record) -> None:
    target = record.world.audit_dir / "segments" / "command" / BOOT
    target.parent.mkdir()
    record.first.folder.rename(target)
    assert found(record) == [("added", f"command/{BOOT}"), ("missing", FIRST)]


def test_a_forged_boot_is_added(record: Record) -> None:
    write_segment(record.world.audit_dir, "oauth_web", "20261130T060000Z-ffffffff", [[event(1)]])
    assert found(record) == [("added", "oauth_web/20261130T060000Z-ffffffff")]


def test_an_unknown_file_is_added(record: Record) -> None:
    (record.first.folder / "notes.txt").write_text("x")
    assert found(record) == [("added", f"segments/ext_authz.0/{BOOT}/notes.txt")]


# -- tree ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tile/0/000", "tile/0/001.p/65", "tile/1/000.p/1"])
@pytest.mark.parametrize("change", ["altered", "missing", "cut"])
def test_a_tampered_tile_is_found(record: Record, name: str, change: str) -> None:
    word = tamper(record.sealed / name, change)
    assert found(record) == [(word, f"sealed/{name}")]


@pytest.mark.parametrize("name", ["tile/entries/000", "tile/entries/001.p/65"])
@pytest.mark.parametrize("change", ["altered", "missing", "cut"])
def test_a_tampered_bundle_is_found(record: Record, name: str, change: str) -> None:
    word = tamper(record.sealed / name, change)
    # Without the entries of a bundle its frames count as unsealed.
    assert (word, f"sealed/{name}") in found(record)


def tamper(path: Path, change: str) -> str:
    """Change a file. Return the kind of the finding that it causes."""
    content = path.read_bytes()
    if change == "missing":
        path.unlink()
        return "missing"
    path.write_bytes(content[:-1] if change == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    return "altered"


def test_a_tile_altered_together_with_its_bundle_does_not_have_the_signed_root(record: Record) -> None:
    tree = TreeReader(record.sealed, record.world.checkpoint().size)
    old, new = (parse_entry(data).encode() for data in tree.bundle(0)[:2])
    for path in (record.sealed / "tile/entries/000", record.sealed / "tile/0/000"):
        content = path.read_bytes()
        path.write_bytes(content.replace(old, new, 1) if "entries" in str(path) else content[32:64] + content[32:])
    assert ("altered", "sealed/tile") in found(record)


def test_a_removed_tree_is_missing(record: Record) -> None:
    shutil.rmtree(record.sealed / "tile")
    assert "missing" in {word for word, _ in found(record)}


def test_a_removed_sealed_folder_is_missing(record: Record) -> None:
    shutil.rmtree(record.sealed)
    assert ("missing", "sealed/checkpoint") in found(record)


# -- checkpoints and keys ----------------------------------------------------------------------------------------


def test_a_removed_checkpoint_is_missing(record: Record) -> None:
    (record.sealed / "checkpoint").unlink()
    assert found(record) == [("missing", "sealed/checkpoint")]


@pytest.mark.parametrize("line", [0, 1, 2, 3, -2, -1])
def test_a_changed_line_of_the_checkpoint_is_forged(record: Record, line: int) -> None:
    path = record.sealed / "checkpoint"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line] = lines[line][:-2] + ("AA" if lines[line][-2:] != "AA" else "BB")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert ("forged", "sealed/checkpoint") in found(record)


def test_a_checkpoint_signed_by_another_key_is_forged(record: Record) -> None:
    checkpoint = record.world.checkpoint()
    other = Signer(checkpoint.origin, bytes(32))
    (record.sealed / "checkpoint").write_text(checkpoint.sign(other), encoding="utf-8")
    assert found(record) == [("forged", "sealed/checkpoint")]


def test_a_tree_made_with_another_key_is_forged_for_a_person_with_the_former_public_key(
    record: Record, tmp_path: Path
) -> None:
    kept = record.world.key.public.read_text().strip()
    shutil.rmtree(record.sealed)
    record.world.key.checkpoint.unlink()
    record.world.key.make(NODE)
    forger = SealedWorld(record.root)
    forger.seal()
    # With the attacker's public key beside the folder there is no finding.
    assert found(record) == []
    assert set(found(record, "--key", kept)) == {
        ("forged", "sealed/checkpoint"),
        ("forged", "sealed/checkpoints/2026-11-30.txt"),
        ("forged", str(record.world.key.checkpoint)),
    }


def test_an_older_checkpoint_in_place_of_the_newest_is_a_rollback(record: Record) -> None:
    (record.sealed / "checkpoint").write_text(record_notes(record)[0], encoding="utf-8")
    words = {word for word, _ in found(record)}
    assert "rolled back" in words


def record_notes(record: Record) -> list[str]:
    """The notes of the day, oldest first."""
    with (record.sealed / "checkpoints/2026-11-30.txt").open("rb") as file:
        return list(notes_in(file))


def test_a_complete_rollback_is_found_with_a_saved_checkpoint(tmp_path: Path) -> None:
    world = SealedWorld(tmp_path / "record")
    writer = SegmentWriter(world.audit_dir)
    writer.write(event(1))
    world.seal()
    shutil.copytree(tmp_path / "record", tmp_path / "old")
    writer.write(event(2))
    world.seal()
    kept = tmp_path / "kept.txt"
    kept.write_text(world.published[-1], encoding="utf-8")
    shutil.rmtree(tmp_path / "record")
    (tmp_path / "old").rename(tmp_path / "record")
    record = Record(world, tmp_path / "record", writer, writer, writer)
    # The attacker has rolled back everything on this machine, including the copy beside the key.
    assert found(record) == []
    assert found(record, "--checkpoint", str(kept)) == [("rolled back", str(kept))]


def test_a_rollback_of_the_folder_is_found_with_the_copy_beside_the_key(tmp_path: Path) -> None:
    world = SealedWorld(tmp_path / "record")
    writer = SegmentWriter(world.audit_dir)
    world.seal()
    shutil.copytree(world.audit_dir, tmp_path / "old")
    writer.write(event(2))
    world.seal()
    shutil.rmtree(world.audit_dir)
    (tmp_path / "old").rename(world.audit_dir)
    record = Record(world, tmp_path / "record", writer, writer, writer)
    assert found(record) == [("rolled back", str(world.key.checkpoint))]


def test_a_tree_rebuilt_with_the_stolen_key_is_found_with_a_saved_checkpoint(
    record: Record, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text((record.sealed / "checkpoint").read_text(encoding="utf-8"), encoding="utf-8")
    shutil.rmtree(record.first.folder)
    shutil.rmtree(record.sealed)
    record.world.key.checkpoint.unlink()
    thief = SealedWorld(record.root)
    thief.seal()
    write_segment(thief.audit_dir, "command", BOOT, [[event(number)] for number in range(30)])
    thief.new_sealer()
    thief.seal()
    assert found(record) == []
    assert found(record, "--checkpoint", str(kept)) == [("rolled back", str(kept))]


def test_changed_and_exchanged_notes_of_the_day_are_forged(record: Record) -> None:
    path = record.sealed / "checkpoints/2026-11-30.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("writer ", "Writer ", 1), encoding="utf-8")
    assert found(record) == [("forged", "sealed/checkpoints/2026-11-30.txt")]


def test_a_signed_checkpoint_of_another_tree_in_the_notes_is_a_rollback(record: Record) -> None:
    path = record.sealed / "checkpoints/2026-11-30.txt"
    forged = Checkpoint(record.world.signer.verifier.name, 10, bytes(32), "2026-11-30T06:00:00.000000Z")
    path.write_text(path.read_text(encoding="utf-8") + forged.sign(record.world.signer) + "\n", encoding="utf-8")
    assert found(record) == [("rolled back", "sealed/checkpoints/2026-11-30.txt")]


IRRELEVANT = {"progress", "finished", "lock"}
"""Notes of the sealer that prove nothing and that it writes again."""


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_anywhere_in_the_folder_is_found(record: Record, data: st.DataObject) -> None:
    files = sorted(
        path for path in record.world.audit_dir.rglob("*") if path.is_file() and path.name not in IRRELEVANT
    )
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    try:
        path.write_bytes(
            content[:place] + bytes([content[place] ^ (1 << data.draw(st.integers(0, 7)))]) + content[place + 1 :]
        )
        assert found(record) != [], path
    finally:
        path.write_bytes(content)
    assert found(record) == []


# -- no faults ----------------------------------------------------------------------------------------------------


def test_unsealed_frames_are_reported_as_a_note(tmp_path: Path) -> None:
    world = SealedWorld(tmp_path)
    writer = SegmentWriter(world.audit_dir)
    world.seal()
    writer.write(event(40))
    new = write_segment(world.audit_dir, "oauth_web", THIRD, [[event(41)]])
    record = Record(world, tmp_path, writer, new, new)
    assert found(record) == []
    shown = details(record)
    assert f"unsealed: ext_authz.0/{BOOT}: frame 2 is not sealed yet" in shown
    assert f"unsealed: oauth_web/{THIRD}: frames 1 to 3 are not sealed yet" in shown


@pytest.mark.parametrize("kind", [FrameKind.OPENING, FrameKind.CLOSING])
def test_an_unsealed_opening_or_closing_is_a_note_however_old_its_boot_is(tmp_path: Path, kind: FrameKind) -> None:
    world = SealedWorld(tmp_path)
    writer = SegmentWriter(world.audit_dir)
    world.seal(LATE)
    # As programs write these two: with a space before the value.
    writer.append(kind, [json.dumps({"time": "2026-11-30T06:05:00.000000Z", "segment": 2}).encode()])
    record = Record(world, tmp_path, writer, writer, writer)
    assert found(record) == []
    assert "frame 2 is not sealed yet" in details(record)


def test_an_unsealed_frame_that_breaks_the_chain_is_altered(tmp_path: Path) -> None:
    world = SealedWorld(tmp_path)
    writer = SegmentWriter(world.audit_dir)
    writer.write(event(1))
    world.seal()
    gone = writer.path.read_bytes()
    writer.write(event(2))
    writer.path.write_bytes(gone + writer.write(event(3)))
    assert ("altered", f"ext_authz.0/{BOOT}") in found(Record(world, tmp_path, writer, writer, writer))


def test_a_boot_that_ended_without_a_closing_frame_is_a_note_and_a_running_one_is_not(tmp_path: Path) -> None:
    world = SealedWorld(tmp_path)
    killed = SegmentWriter(world.audit_dir)
    running = SegmentWriter(world.audit_dir, boot=SECOND)
    world.seal()
    record = Record(world, tmp_path, killed, running, running)
    assert found(record) == []
    shown = details(record)
    assert f"not closed: ext_authz.0/{BOOT}" in shown
    assert f"not closed: ext_authz.0/{SECOND}" not in shown


def test_a_period_without_checkpoints_is_a_note(tmp_path: Path) -> None:
    world = SealedWorld(tmp_path)
    writer = SegmentWriter(world.audit_dir)
    for seconds in (60, 60, 1200, 60):
        world.seal(seconds)
    record = Record(world, tmp_path, writer, writer, writer)
    assert found(record) == []
    assert "no checkpoint: 2026-11-30T06:02:00+00:00 to 2026-11-30T06:22:00+00:00" in details(record)


def test_damage_from_before_sealing_is_named_damaged(tmp_path: Path) -> None:
    world = SealedWorld(tmp_path)
    writer = SegmentWriter(world.audit_dir)
    with writer.path.open("ab") as file:
        file.write(b"no frame")
    writer.write(event(1))
    world.seal()
    assert found(Record(world, tmp_path, writer, writer, writer)) == [("damaged", f"ext_authz.0/{BOOT}")]


def test_frames_that_were_sealed_duplicated_and_reordered_are_compared_with_that_order(
    tmp_path: Path,
) -> None:
    world = SealedWorld(tmp_path)
    writer = SegmentWriter(world.audit_dir)
    for number in range(5):
        writer.write(event(number))
    record = Record(world, tmp_path, writer, writer, writer)
    one, two, three, *rest = record.frames()
    mixed = [one, three, two, three, *rest]
    record.put(mixed)
    world.seal()
    assert {word for word, _ in found(record)} == {"damaged"}
    for changed, word in (
        ([one, two, three, three, *rest], "altered"),
        ([one, three, two, three, three, *rest], "added"),
        ([one, three, three, *rest], "missing"),
        ([one, three, two, *rest], None),
    ):
        record.put(changed)
        assert {each for each, _ in found(record)} == {"damaged"} | ({word} if word else set())


# -- parts of the record -----------------------------------------------------------------------------------------


def test_a_period_reads_only_the_segments_of_that_period(tmp_path: Path) -> None:
    world = SealedWorld(tmp_path)
    writer = SegmentWriter(world.audit_dir)
    for hour in (7, 8, 9):
        writer.write(event(1))
        writer.open_segment(f"2026-11-30T{hour:02}:00:00.000000Z")
    writer.write(event(2))
    world.seal()
    record = Record(world, tmp_path, writer, writer, writer)
    parts = record.frames(2)
    record.put([*parts[:1]], 2)
    at = ("--since", "2026-11-30T07:10:00Z", "--until", "2026-11-30T07:20:00Z")
    after = ("--since", "2026-11-30T08:10:00Z")
    before = ("--until", "2026-11-30T06:30:00Z")
    assert found(record, *at) == found(record) == [("missing", f"ext_authz.0/{BOOT}")]
    assert found(record, *after) == found(record, *before) == []
    shown = json.loads(run(record, "--json", *before).stdout)
    assert shown["frames"] == 2


def test_wrong_usage_ends_with_exit_code_2(record: Record, tmp_path: Path) -> None:
    for more, said in (
        (("--key", "a+b+c"), "no verifier key"),
        (("--key", str(tmp_path / "nowhere")), "No such file"),
        (("--event", "x"), "no name of an event"),
        (("--since", "yesterday"), "write a time"),
    ):
        result = run(record, *more)
        assert (result.exit_code == 2) or isinstance(result.exception, SettingsError)
        assert said in f"{result.output}{result.exception}"
    record.world.key.public.unlink()
    assert "name the public key of checkpoints with --key" in str(run(record).exception)


# -- one event -------------------------------------------------------------------------------------------------


def name_of(sequence: int, boot: str = BOOT, writer: str = "ext_authz.0", node: str = NODE) -> str:
    return f"{node}/{writer}/{boot}/{sequence}"


def check(proof: Path, checkpoint: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, ["audit", "check-proof", str(proof), "--checkpoint", str(checkpoint), *more])


def proof_of(record: Record, name: str, *more: str) -> Path:
    """A proof in a file outside the record."""
    path = record.root.parent / "event.tlog-proof"
    made = run(record, "--event", name, "--output", str(path), *more)
    assert made.exit_code == 0, f"{made.output}{made.exception}"
    return path


def kept_checkpoint(record: Record, note: str | None = None) -> Path:
    """A checkpoint outside the record: the newest one, or `note`."""
    path = record.root.parent / "kept.txt"
    path.write_text(note or (record.sealed / "checkpoint").read_text(encoding="utf-8"), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("sequence", "boot", "writer", "call"),
    [
        (1, BOOT, "ext_authz.0", "call-0"),
        (4, BOOT, "ext_authz.0", "call-101"),
        (301, THIRD, "oauth_web", "call-301"),
    ],
)
def test_a_proof_of_one_event_needs_only_a_checkpoint(
    record: Record, sequence: int, boot: str, writer: str, call: str
) -> None:
    kept = kept_checkpoint(record)
    proof = proof_of(record, name_of(sequence, boot, writer))
    key = record.world.key.public.read_text(encoding="utf-8").strip()
    shutil.rmtree(record.root)
    proven = check(proof, kept, "--key", key, "--json")
    assert proven.exit_code == 0, proven.output
    shown = json.loads(proven.stdout)
    assert (shown["name"], shown["signature"]) == (name_of(sequence, boot, writer), True)
    assert json.loads(shown["event"])["call"] == call
    plain = check(proof, kept)
    assert plain.exit_code == 0
    assert "The signature of the checkpoint was not verified" in plain.stderr


def test_a_proof_is_made_for_a_given_older_checkpoint(record: Record) -> None:
    old = kept_checkpoint(record, record_notes(record)[0])
    for_newest = check(proof_of(record, name_of(2)), old)
    assert for_newest.exit_code == 1
    assert "make the proof with" in for_newest.output
    assert check(proof_of(record, name_of(2), "--checkpoint", str(old)), old).exit_code == 0


def test_another_program_verifies_our_proof(record: Record) -> None:
    proof = parse_proof(proof_of(record, name_of(5)).read_text(encoding="utf-8"))
    frame = frames.read(proof.frame)
    assert frame is not None
    entry = entry_of(frame, node=NODE, writer="ext_authz.0", boot=BOOT).encode()
    checkpoint = record.world.checkpoint()
    other = tlog.InclusionProof(proof.index, checkpoint.size, list(proof.path))
    other.check(merkle.leaf_hash(entry), checkpoint.root)


def test_an_altered_proof_is_refused(record: Record) -> None:
    kept, path = kept_checkpoint(record), proof_of(record, name_of(3))
    good = parse_proof(path.read_text(encoding="utf-8"))
    forger = FrameEncoder()
    forger.encode(FrameKind.OPENING, [b"{}"])
    forged = forger.encode(FrameKind.EVENTS, [b'{"call":"forged"}'] * 4)
    for changed in (
        replace(good, frame=forged),
        replace(good, frame=good.frame[:-1]),
        replace(good, index=good.index + 1),
        replace(good, path=good.path[:-1]),
        replace(good, path=(bytes(32), *good.path[1:])),
        replace(good, name=replace(good.name, sequence=99)),
        replace(good, name=replace(good.name, boot=SECOND)),
        replace(good, name=replace(good.name, node="node-2")),
        replace(good, note=record_notes(record)[0]),
    ):
        path.write_text(changed.encode(), encoding="utf-8")
        refused = check(path, kept)
        assert refused.exit_code == 1
        assert "not proven" in refused.output


@pytest.mark.parametrize(
    "content", ["", "c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v1\nindex 0\n\nx\n", "x\n\ny"]
)
def test_a_file_that_is_no_proof_is_refused(record: Record, tmp_path: Path, content: str) -> None:
    path = tmp_path / "proof"
    path.write_text(content, encoding="utf-8")
    assert check(path, kept_checkpoint(record)).exit_code == 1


@given(st.data())
def test_a_changed_character_never_makes_a_proof_of_another_event(data: st.DataObject) -> None:
    text = Proof(EventName.parse(name_of(3)), b"frame", 5, (bytes(32),), "note").encode()
    place = data.draw(st.integers(0, len(text) - 6))
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != text[place]))
    try:
        found_proof = parse_proof(text[:place] + other + text[place + 1 :])
    except ProofError:
        return
    assert found_proof != parse_proof(text)


@pytest.mark.parametrize(
    "name", [name_of(0), name_of(1) + "x", "a/b/c/1", name_of(1, node="a b"), name_of(1) + "/2"]
)
def test_a_text_that_is_no_name_of_an_event_is_refused(record: Record, name: str) -> None:
    assert run(record, "--event", name).exit_code == 2


@pytest.mark.parametrize("name", [name_of(999), name_of(1, node="node-2"), name_of(1, THIRD)])
def test_there_is_no_proof_of_an_unsealed_event(record: Record, name: str) -> None:
    refused = run(record, "--event", name)
    assert refused.exit_code == 1
    assert "no sealed event has the name" in refused.output


def test_there_is_no_proof_of_an_event_in_an_altered_frame(record: Record) -> None:
    parts = record.frames()
    record.put([parts[0], parts[1][:-1] + bytes([parts[1][-1] ^ 1]), *parts[2:]])
    refused = run(record, "--event", name_of(1))
    assert refused.exit_code == 1
    assert "altered or missing now" in refused.output
