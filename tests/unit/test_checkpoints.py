"""Checkpoints and signed notes have one form each; a change of any character is detected."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlog_scales import signing, tlog

from oauth_core.audit_log.checkpoints import (
    BootState,
    Checkpoint,
    SealedBoot,
    open_checkpoint,
    parse_checkpoint,
)
from oauth_core.audit_log.entries import (
    EntryError,
    FaultEntry,
    FaultReason,
    FrameEntry,
    parse_entry,
)
from oauth_core.audit_log.frames import FrameKind
from oauth_core.audit_log.merkle import EMPTY_ROOT
from oauth_core.audit_log.signed_notes import NoteError, Signer, VerifierKey, split_note

SEED = bytes(range(32))
NAME = "node-1/portcullis-audit"
SIGNER = Signer(NAME, SEED)
PLAIN = Checkpoint(NAME, 5, bytes(range(32)))
BOOTS = (
    SealedBoot("oauth_web", "20261130T060000Z-0123abcd", 17, BootState.OPEN),
    SealedBoot("command", "20261130T060100Z-0123abcd", 0, BootState.CLOSED),
)
FULL = Checkpoint(NAME, 5, EMPTY_ROOT, "2026-11-30T06:00:00.000001Z", BOOTS, behind=True)

# The examples of the specification (C2SP signed-note and tlog-checkpoint).
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n"
    "\N{EM DASH} example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)


def test_the_example_of_the_specification_is_verified() -> None:
    key = VerifierKey.from_text(EXAMPLE_KEY)
    assert (key.name, key.key_id.hex(), key.text) == ("example.com/foo", "530d903a", EXAMPLE_KEY)
    assert key.open(EXAMPLE_NOTE) == "This is an example message.\n"


def test_another_program_verifies_our_checkpoint() -> None:
    key = signing.Vkey.from_string(SIGNER.verifier.text)
    found = tlog.Checkpoint.from_text(PLAIN.sign(SIGNER))
    found.verify(key)
    assert (found.origin, found.size, found.root_hash) == (NAME, 5, bytes(range(32)))


def test_we_verify_the_checkpoint_of_another_program() -> None:
    other = signing.PlainEd25519Signer("other.example/log", bytes(32))
    note = tlog.Checkpoint.make_signed("other.example/log", 7, EMPTY_ROOT, [other]).serialize()
    key = VerifierKey.from_text(str(other.vkey.serialize()))  # type: ignore[no-untyped-call]
    assert open_checkpoint(note, key) == Checkpoint("other.example/log", 7, EMPTY_ROOT)


@pytest.mark.parametrize("checkpoint", [PLAIN, FULL], ids=["plain", "full"])
def test_a_signed_checkpoint_is_read_back_unchanged(checkpoint: Checkpoint) -> None:
    assert open_checkpoint(checkpoint.sign(SIGNER), SIGNER.verifier) == checkpoint
    assert parse_checkpoint(checkpoint.text()) == checkpoint


def test_an_unknown_extension_line_is_ignored() -> None:
    assert parse_checkpoint(PLAIN.text() + "witnessed by others\n") == PLAIN


@given(st.data())
def test_every_changed_character_of_a_checkpoint_is_refused(data: st.DataObject) -> None:
    note = FULL.sign(SIGNER)
    place = data.draw(st.integers(0, len(note) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != note[place]))
    with pytest.raises(NoteError):
        open_checkpoint(note[:place] + other + note[place + 1 :], SIGNER.verifier)


@given(st.data())
def test_a_checkpoint_without_some_of_its_characters_is_refused(data: st.DataObject) -> None:
    note = FULL.sign(SIGNER)
    begin = data.draw(st.integers(0, len(note) - 1))
    end = data.draw(st.integers(begin + 1, len(note)))
    with pytest.raises(NoteError):
        open_checkpoint(note[:begin] + note[end:], SIGNER.verifier)


def test_a_signature_of_another_key_with_the_same_name_does_not_count() -> None:
    other = Signer(NAME, bytes(32))
    with pytest.raises(NoteError, match="no signature of the key"):
        open_checkpoint(PLAIN.sign(other), SIGNER.verifier)
    both = PLAIN.sign(SIGNER) + PLAIN.sign(other).rpartition("\n\n")[2]
    assert open_checkpoint(both, SIGNER.verifier) == PLAIN


def test_a_wrong_signature_of_the_key_refuses_the_note_even_beside_a_right_one() -> None:
    wrong = base64.b64encode(SIGNER.verifier.key_id + bytes(64)).decode()
    with pytest.raises(NoteError, match="does not verify"):
        SIGNER.verifier.open(PLAIN.sign(SIGNER) + f"\N{EM DASH} {NAME} {wrong}\n")


def test_a_checkpoint_of_another_origin_is_refused() -> None:
    moved = Checkpoint("node-2/portcullis-audit", 5, EMPTY_ROOT)
    with pytest.raises(NoteError, match="of node-2/portcullis-audit"):
        open_checkpoint(moved.sign(SIGNER), SIGNER.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n1\n",
        f"o\n01\n{'A' * 43}=\n",
        f"o\n-1\n{'A' * 43}=\n",
        f"o\n1\n{'A' * 43}\n",
        f"o\n1\n{'A' * 42}B=\n",
        f"o\n1\n{'A' * 43}=\n\nx\n",
        f"o\n1\n{'A' * 43}=\nwriter a b x open\n",
        f"o\n1\n{'A' * 43}=\nwriter a b 1 shut\n",
        f"o\n1\n{'A' * 43}=",
    ],
)
def test_a_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint(text)


@given(st.text(max_size=300))
def test_other_texts_are_no_signed_notes(text: str) -> None:
    with pytest.raises(NoteError):
        SIGNER.verifier.open(text)


def test_a_note_has_a_limited_number_of_signatures_and_no_control_characters() -> None:
    note = PLAIN.sign(SIGNER)
    line = note.rpartition("\n\n")[2]
    assert len(split_note(note + line * 15)[1]) == 16
    with pytest.raises(NoteError):
        split_note(note + line * 16)
    for text in ("a\tb\n", "a\r\n", "a"):
        with pytest.raises(NoteError):
            SIGNER.sign(text)


def test_a_private_key_is_read_back_and_never_shown() -> None:
    text = SIGNER.private_text()
    assert Signer.from_text(text).verifier == SIGNER.verifier
    assert text.startswith("PRIVATE+KEY+")
    secret = text.split("+", 4)[4]  # base64, which can contain another "+"
    assert secret not in repr(SIGNER)
    for wrong in (text[12:], text[:-4], text.replace("node-1", "node-2"), "", "PRIVATE+KEY+a+b+c"):
        with pytest.raises(NoteError) as refusal:
            Signer.from_text(wrong)
        assert secret not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        EXAMPLE_KEY[:-1],
        EXAMPLE_KEY + " ",
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("+Ae", "+Be"),
        EXAMPLE_KEY.replace("example.com", "exam ple"),
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ],
)
def test_a_text_that_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.from_text(text)


WORDS = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}", fullmatch=True)
NUMBERS = st.integers(0, 2**63)
FRAME_ENTRIES = st.builds(
    FrameEntry,
    *(WORDS, WORDS, WORDS, NUMBERS, st.sampled_from(FrameKind), NUMBERS, NUMBERS),
    st.binary(min_size=32, max_size=32),
)
FAULT_ENTRIES = st.builds(FaultEntry, WORDS, WORDS, WORDS, NUMBERS, NUMBERS, st.sampled_from(FaultReason))


@given(FRAME_ENTRIES | FAULT_ENTRIES)
def test_a_written_entry_is_read_back_unchanged(entry: FrameEntry | FaultEntry) -> None:
    assert parse_entry(entry.encode()) == entry
    assert b"\n" not in entry.encode()


@given(FRAME_ENTRIES, st.binary(max_size=3))
def test_an_entry_has_one_form(entry: FrameEntry, more: bytes) -> None:
    data = entry.encode()
    upper = data[:-64] + data[-64:].upper()
    for other in (data + b" ", b" " + data, data.replace(b" ", b"  ", 1), data[:-1], more):
        with pytest.raises(EntryError):
            parse_entry(other)
    if upper != data:
        with pytest.raises(EntryError):
            parse_entry(upper)
