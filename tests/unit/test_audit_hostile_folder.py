"""A person who can write to the audit folder can neither mislead nor stop the sealer and the readers."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from oauth_core.audit_log.checkpoints import BootState, Checkpoint, SealedBoot, parse_checkpoint
from oauth_core.audit_log.entries import parse_entry
from oauth_core.audit_log.frames import FrameEncoder
from oauth_core.audit_log.signed_notes import LONGEST_NOTE, NoteError
from oauth_core.crypto.digests import sha256
from portcullis.audit import record_files, sealer
from portcullis.audit.proofs import EventName, ProofError
from portcullis.audit.record_files import UnusableFileError
from portcullis.audit.seal_key import SealKey
from portcullis.audit.sealed_folder import notes_in
from portcullis.audit.sealer import Sealer, SealerError
from portcullis.audit.tree import TreeReader
from portcullis.cli.main import cli
from tests.support.audit_sealing import SealedWorld
from tests.support.audit_segments import BOOT, NODE, SegmentWriter, event, write_segment

if TYPE_CHECKING:
    from pathlib import Path

PLACE = f"ext_authz.0/{BOOT}"


@pytest.fixture
def world(tmp_path: Path) -> SealedWorld:
    return SealedWorld(tmp_path)


def found(world: SealedWorld, *more: str) -> list[tuple[str, str]]:
    """The kind and the place of every finding of a verification."""
    command = ["audit", "verify", "--json", "--audit-dir", str(world.audit_dir), *more]
    result = CliRunner().invoke(cli, command)
    return [(finding["word"], finding["place"]) for finding in json.loads(result.stdout)["findings"]]


def shown(world: SealedWorld, *command: str) -> str:
    result = CliRunner().invoke(cli, ["audit", *command, "--audit-dir", str(world.audit_dir)])
    return result.output


# -- the key ---------------------------------------------------------------------------------------------------


def test_a_public_key_in_the_tree_is_not_trusted(world: SealedWorld, tmp_path: Path) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    world.seal()
    world.key.checkpoint.unlink()
    shutil.rmtree(world.folder.root)
    world.folder.root.mkdir()
    evil = SealKey(tmp_path / "evil.key")
    evil.make(NODE)
    Sealer(world.audit_dir, evil, report=lambda _sentence: None).step()
    shutil.copy(evil.public, world.folder.root / world.key.public.name)
    assert {word for word, _ in found(world)} == {"forged"}


# -- parts of the record -----------------------------------------------------------------------------------------


def hour(number: int) -> str:
    return f"2026-11-30T{number:02}:00:00.000000Z"


def three_hours(world: SealedWorld) -> SegmentWriter:
    """A killed boot, with a segment for each of the hours from 6 on."""
    writer = SegmentWriter(world.audit_dir)
    for number in (7, 8, 9):
        writer.write(event(number))
        if number < 9:
            writer.open_segment(hour(number))
    world.seal()
    return writer


@pytest.mark.parametrize("time", [hour(6), "2027-01-01T00:00:00.000000Z", "2020-01-01T00:00:00.000000Z", "x"])
@pytest.mark.parametrize(
    "asked", [("--since", hour(7)), ("--until", hour(8)), ("--since", hour(7), "--until", hour(8))]
)
def test_a_replaced_segment_is_found_with_any_time_in_its_opening(
    world: SealedWorld, time: str, asked: tuple[str, ...]
) -> None:
    writer = three_hours(world)
    (writer.folder / "000002.seg").unlink()
    writer.index, writer.encoder = 1, FrameEncoder()
    writer.open_segment(time)
    writer.write(event(99))
    assert found(world, *asked) != []
    assert found(world) != []


def test_an_added_segment_does_not_hide_an_altered_one(world: SealedWorld) -> None:
    writer = three_hours(world)
    writer.open_segment("2026-11-30T06:10:00.000000Z")
    world.seal()
    path = writer.folder / "000003.seg"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert ("altered", PLACE) in found(world, "--since", "2026-11-30T06:30:00Z")


def test_a_segment_that_was_added_later_with_an_earlier_time_hides_no_events(world: SealedWorld) -> None:
    # The boot was killed at 9:50, and the attacker claims that its last segment ended at 9:20.
    writer = three_hours(world)
    world.seal(4 * 3600)
    writer.open_segment("2026-11-30T09:20:00.000000Z")
    world.seal(120)
    path = writer.folder / "000003.seg"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert ("altered", PLACE) in found(world, "--since", "2026-11-30T09:30:00Z")
    assert found(world, "--since", "2026-11-30T11:00:00Z") == []


def test_exchanged_segments_are_found_in_every_period(world: SealedWorld) -> None:
    writer = three_hours(world)
    one, three = writer.folder / "000001.seg", writer.folder / "000003.seg"
    first, third = one.read_bytes(), three.read_bytes()
    one.write_bytes(third)
    three.write_bytes(first)
    for asked in (("--since", hour(7)), ("--until", hour(8))):
        assert ("altered", PLACE) in found(world, *asked)


def test_newer_unsealed_segments_are_no_fault_in_a_period(world: SealedWorld) -> None:
    writer = three_hours(world)
    writer.open_segment(hour(10))
    writer.write(event(99))
    assert found(world, "--since", "2026-11-30T10:30:00Z") == found(world) == []


# -- names -----------------------------------------------------------------------------------------------------


def test_digits_of_other_scripts_are_in_no_name(world: SealedWorld) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    strange = BOOT.replace("0", "\N{ARABIC-INDIC DIGIT ZERO}", 1)
    write_segment(world.audit_dir, boot=strange, batches=[[event(2)]])
    segment = world.audit_dir / "segments" / "ext_authz.0" / BOOT / "00000\N{ARABIC-INDIC DIGIT TWO}.seg"
    segment.write_bytes(b"x")
    world.seal()
    tree = TreeReader(world.folder.root, world.checkpoint().size)
    assert {parse_entry(data).boot for data in tree.entries()} == {BOOT}
    (world.folder.root / "progress").unlink()
    world.new_sealer()
    world.seal()
    assert {word for word, _ in found(world)} == {"added"}
    with pytest.raises(ProofError):
        EventName.parse(f"{NODE}/ext_authz.0/{strange}/1")
    assert parse_checkpoint(f"o\n0\n{'A' * 43}=\ntime \N{ARABIC-INDIC DIGIT TWO}026-11-30T06:00:00Z\n").time == ""


@pytest.mark.parametrize("name", ["0000001.seg", "000000.seg", "00000001.seg", "000001.seg.seg"])
def test_a_segment_has_only_one_valid_name(world: SealedWorld, name: str) -> None:
    writer = write_segment(world.audit_dir, batches=[[event(1)]])
    world.seal()
    (writer.folder / name).write_bytes(b"hidden")
    assert found(world) == [("added", f"segments/{PLACE}/{name}")]


def test_a_segment_with_the_highest_number_stops_no_reader(world: SealedWorld) -> None:
    segment = write_segment(world.audit_dir, batches=[[event(1)]]).folder / "999999999.seg"
    segment.touch()
    world.seal()
    assert set(found(world)) == {("damaged", PLACE)}
    assert f"{PLACE}, segments 000002 to 999999998 are missing" in shown(world, "search")
    assert '"call-1"' in shown(world, "search", "--json")
    shown(world, "tail")
    segment.unlink()
    world.new_sealer()
    world.seal()
    assert set(found(world)) == {("damaged", PLACE)}


def test_the_name_of_a_file_cannot_write_a_line_of_output(world: SealedWorld) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    world.seal()
    (world.audit_dir / "segments" / "\x1b[2Kx\nComplete and unaltered: 3 frames").write_text("")
    (world.audit_dir / "segments" / os.fsdecode(b"\xff")).write_text("")
    lines = shown(world, "verify").splitlines()
    assert [line.split(":")[0] for line in lines] == ["added", "added", "NOT intact"]
    assert "\x1b" not in "".join(lines)


# -- many boots ------------------------------------------------------------------------------------------------


def test_the_number_of_boots_in_a_checkpoint_is_limited(
    world: SealedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer, "MOST_NAMED", 3)
    for number in range(6):
        write_segment(world.audit_dir, boot=f"20261130T060000Z-{number:08x}", closed=False)
    world.seal()
    running = SegmentWriter(world.audit_dir, "oauth_web")
    checkpoint = world.seal()
    assert len(checkpoint.boots) == 3
    assert running.writer in {boot.writer for boot in checkpoint.boots}
    assert checkpoint.size == 7
    assert found(world) == []


def test_the_longest_checkpoint_is_shorter_than_the_longest_note() -> None:
    longest = SealedBoot("w" * 64, BOOT, 10**18, BootState.CLOSED)
    assert sealer.MOST_NAMED * (len(longest.line()) + 1) + 1000 < LONGEST_NOTE


@pytest.mark.parametrize("number", [10**18, 2**64 - 1])
@pytest.mark.parametrize("field", ["_number", "_next"])
def test_a_forged_frame_with_a_huge_number_does_not_stop_the_tree(
    world: SealedWorld, field: str, number: int
) -> None:
    running = write_segment(world.audit_dir, "oauth_web", closed=False)
    forged = SegmentWriter(world.audit_dir)
    world.seal()
    setattr(forged.encoder, field, number - 1)
    forged.write(event(1))
    world.seal()
    running.write(event(2))
    world.new_sealer()
    world.seal()
    assert found(world) == [("damaged", PLACE)]


def test_a_checkpoint_that_no_program_could_read_is_not_signed(world: SealedWorld) -> None:
    for boot in (
        SealedBoot("ext_authz.0", BOOT, 10**18, BootState.OPEN),
        SealedBoot("ext_authz.0", BOOT, -1, BootState.OPEN),
        SealedBoot("ext_authz.0", f"{BOOT} 1 open\nbehind\nwriter a b", 1, BootState.OPEN),
    ):
        with pytest.raises(NoteError):
            Checkpoint(world.signer.verifier.name, 1, bytes(32), boots=(boot,)).sign(world.signer)


def test_a_checkpoint_names_no_boot_without_a_frame(world: SealedWorld) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    for number in range(20):
        (world.audit_dir / "segments" / "command" / f"20261130T060000Z-{number:08x}").mkdir(parents=True)
    assert [boot.writer for boot in world.seal().boots] == ["ext_authz.0"]


# -- the progress of the sealer -----------------------------------------------------------------------------------


def test_progress_that_another_program_wrote_hides_no_removed_frame(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir)
    writer.write(event(1))
    world.seal()
    before = writer.path.read_bytes()
    removed = writer.write(event(2))
    writer.path.write_bytes(before)
    progress = world.folder.root / "progress"
    code, _, text = progress.read_text().partition(".")
    places = json.loads(text)
    places["boots"][PLACE] |= {"number": 3, "following": 3, "digest": sha256(removed).hex()}
    progress.write_text(f"{code}.{json.dumps(places)}")
    world.new_sealer()
    writer.write(event(3))
    world.seal()
    assert found(world) == [("damaged", PLACE)]


def test_the_sealer_does_not_continue_from_entries_that_are_not_in_the_tree(world: SealedWorld) -> None:
    SegmentWriter(world.audit_dir, "a_writer").write(event(1))
    write_segment(world.audit_dir, batches=[[event(number)] for number in range(300)])
    world.seal()
    (world.folder.root / "progress").unlink()
    bundle = world.folder.root / "tile/entries/000"
    content = bundle.read_bytes()
    place = content.index(b" 2 E 1 1 ")
    bundle.write_bytes(content[:place] + b" 3 E 2 1 " + content[place + 9 :])
    world.new_sealer()
    with pytest.raises(SealerError, match="not those of the checkpoint"):
        world.seal()


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"boots": {"a/b": 1}}', '{"boots": {"a/b": {"following": "9"}}}']
)
def test_progress_in_another_format_stops_no_search(world: SealedWorld, content: str) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    world.seal()
    (world.folder.root / "finished").write_text(f"code.{content}")
    assert "call-1" in shown(world, "search", "--json")
    (world.folder.root / "progress").write_text('code.{"size": Infinity, "boots": {}}')
    assert "call-1" in shown(world, "search", "--json")


# -- links -----------------------------------------------------------------------------------------------------


def victim(tmp_path: Path) -> Path:
    """A folder elsewhere, which must not change."""
    folder = tmp_path / "victim"
    (folder / ".ssh").mkdir(parents=True)
    (folder / ".ssh" / "id").write_text("key")
    (folder / "001").write_text("kept")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["tile/1", "tile/0/001.p", "tile/entries/001.p", "tile/1/000.p"])
def test_a_link_in_place_of_a_folder_of_the_tree_is_refused_and_its_target_is_unchanged(
    world: SealedWorld, tmp_path: Path, name: str
) -> None:
    writer = SegmentWriter(world.audit_dir)
    for number in range(255):
        writer.write(event(number))
    world.seal()
    elsewhere = victim(tmp_path)
    before = contents(elsewhere)
    path = world.folder.root / name
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(elsewhere)
    world.new_sealer()
    with pytest.raises(SealerError, match=r"it is a link|does not exist"):
        world.seal()
    assert contents(elsewhere) == before


def test_a_link_that_is_made_while_the_sealer_runs_is_refused(world: SealedWorld, tmp_path: Path) -> None:
    writer = SegmentWriter(world.audit_dir)
    world.seal()
    elsewhere = victim(tmp_path)
    before = contents(elsewhere)
    (world.folder.root / "tile" / "1").symlink_to(elsewhere)
    for number in range(300):
        writer.write(event(number))
    with pytest.raises(SealerError, match="it is a link"):
        world.seal()
    assert contents(elsewhere) == before


@pytest.mark.parametrize("name", ["tile/0/.x", "tile/0/000.p/7", "tile/entries/001"])
def test_a_link_among_the_files_of_the_tree_is_removed_and_sealing_continues(
    world: SealedWorld, tmp_path: Path, name: str
) -> None:
    writer = SegmentWriter(world.audit_dir)
    world.seal()
    elsewhere = victim(tmp_path)
    before = contents(elsewhere)
    (world.folder.root / name).symlink_to(elsewhere)
    writer.write(event(1))
    world.new_sealer()
    assert world.seal().size == 2
    assert not (world.folder.root / name).is_symlink()
    assert contents(elsewhere) == before


def test_no_checkpoint_is_appended_through_a_link(world: SealedWorld, tmp_path: Path) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    target = tmp_path / "profile"
    target.write_text("mine\n")
    world.folder.days.mkdir()
    (world.folder.days / "2026-11-30.txt").symlink_to(target)
    with pytest.raises(UnusableFileError):
        world.seal()
    assert target.read_text() == "mine\n"
    assert world.published == [world.folder.checkpoint.read_text()]


def test_no_checkpoint_is_written_into_a_folder_elsewhere(world: SealedWorld, tmp_path: Path) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    elsewhere = victim(tmp_path)
    before = contents(elsewhere)
    world.folder.days.symlink_to(elsewhere)
    with pytest.raises(UnusableFileError):
        world.seal()
    assert contents(elsewhere) == before


# -- special and oversized files ----------------------------------------------------------------------------------


def put(path: Path, kind: str) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")


KINDS = ["pipe", "folder", "link"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_segment_that_is_no_regular_file_stops_no_reader_and_is_a_finding(world: SealedWorld, kind: str) -> None:
    writer = SegmentWriter(world.audit_dir)
    writer.write(event(1, user="ada"))
    world.seal()
    put(writer.folder / "000002.seg", kind)
    assert found(world) == [("altered", PLACE)]
    for command in (("search",), ("search", "--reverse"), ("tail",), ("search", "--user", "ada")):
        said = shown(world, *command)
        assert "call-1" in said
        assert "no regular file" in said
    # The sealer seals it as a fault, once, and continues behind it.
    writer.index = 2
    writer.open_segment()
    writer.write(event(2))
    size = world.seal().size
    world.new_sealer()
    assert world.seal().size == size == 2 + 1 + 2
    assert found(world) == [("damaged", PLACE)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("checkpoint", {"altered"}),
        ("checkpoints/2026-11-30.txt", {"added"}),
        ("checkpoints/2026-11-29.txt", {"added"}),
        ("tile/0/000.p/3", {"altered"}),
        ("tile/entries/000.p/3", {"altered"}),
    ],
)
def test_a_sealed_file_that_is_no_regular_file_stops_no_verification_and_is_a_finding(
    world: SealedWorld, name: str, words: set[str], kind: str
) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    world.seal()
    put(world.folder.root / name, kind)
    assert {word for word, where in found(world) if where == f"sealed/{name}"} == words
    assert "call-1" in shown(world, "search")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["checkpoint", "progress", "finished"])
def test_a_sealer_continues_when_a_file_of_its_state_is_no_regular_file(
    world: SealedWorld, name: str, kind: str
) -> None:
    writer = SegmentWriter(world.audit_dir)
    world.seal()
    put(world.folder.root / name, kind)
    writer.write(event(1))
    world.new_sealer()
    if kind == "folder":  # a file cannot replace it, so a person has to act
        with pytest.raises(OSError, match="directory"):
            world.seal()
        return
    assert world.seal().size == 2


def test_oversized_files_are_not_read_completely(world: SealedWorld) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    world.seal()
    names = ["checkpoint", "checkpoints/2026-11-30.txt", "tile/0/000.p/3", "tile/entries/000.p/3"]
    for name in names:
        path = world.folder.root / name
        content = path.read_bytes()
        os.truncate(path, 1 << 40)
        assert f"sealed/{name}" in {place for _, place in found(world)}
        path.write_bytes(content)
    assert found(world) == []


def test_a_file_of_unsigned_notes_causes_a_bounded_number_of_findings(world: SealedWorld) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    world.seal()
    (world.folder.days / "2026-11-29.txt").write_bytes(b"x\n\ny\n\n" * 5000)
    assert 0 < len(found(world)) < 1000


def test_reading_notes_ends_with_an_oversized_one(tmp_path: Path) -> None:
    path = tmp_path / "day.txt"
    path.write_bytes(b"a\n\nb\n\n" + b"x" * (2 * LONGEST_NOTE) + b"\n\nb\n\n")
    with path.open("rb") as file:
        first, last = notes_in(file)
    assert first == "a\n\nb\n"
    assert len(last) == LONGEST_NOTE


def test_an_unreadable_boot_is_a_finding_and_the_others_are_verified(
    world: SealedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_segment(world.audit_dir, batches=[[event(1)]])
    other = write_segment(world.audit_dir, "oauth_web", batches=[[event(1)]])
    world.seal()
    real = record_files.reading

    def reading(path: Path) -> object:
        if path == other.path:
            raise OSError(5, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(record_files, "reading", reading)
    assert found(world) == [("altered", f"oauth_web/{BOOT}")]


def test_an_unusable_checkpoint_fails_only_one_step(world: SealedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentWriter(world.audit_dir)
    world.seal()

    def refuse(_note: str) -> None:
        raise NoteError("too long")

    writer.write(event(1))
    monkeypatch.setattr(world.sealer, "_publish", refuse)
    with pytest.raises(NoteError):
        world.seal()
    monkeypatch.undo()
    assert world.seal().size == 2
