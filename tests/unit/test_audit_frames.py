"""The frames of an audit segment: written frames are read back, and every change is detected."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.audit_log.frames import (
    HEAD_BYTES,
    NO_FRAME,
    Frame,
    FrameEncoder,
    FrameError,
    FrameKind,
    read,
    read_all,
)
from oauth_core.crypto.digests import sha256

LINES = st.lists(st.binary(min_size=1, max_size=60).map(lambda line: line.replace(b"\n", b"x")), min_size=1)
BATCHES = st.lists(LINES, min_size=1, max_size=6)


def segment(batches: list[list[bytes]]) -> bytes:
    encoder = FrameEncoder()
    opening = encoder.encode(FrameKind.OPENING, [b'{"writer":"w"}'])
    return opening + b"".join(encoder.encode(FrameKind.EVENTS, batch) for batch in batches)


@given(BATCHES)
def test_frames_are_read_as_they_were_written_and_are_chained(batches: list[list[bytes]]) -> None:
    opening, *frames = read_all(segment(batches))
    assert (opening.kind, opening.before, opening.lines()) == (FrameKind.OPENING, NO_FRAME, [b'{"writer":"w"}'])
    assert [frame.lines() for frame in frames] == batches
    sequence = 1
    for before, frame in zip([opening, *frames], frames, strict=False):
        assert (frame.before, frame.number, frame.first) == (before.digest, before.number + 1, sequence)
        sequence = frame.following


@given(BATCHES, st.data())
def test_every_changed_byte_changes_the_digest_of_its_frame(
    batches: list[list[bytes]], data: st.DataObject
) -> None:
    written = segment(batches)
    place = data.draw(st.integers(0, len(written) - 1))
    changed = bytearray(written)
    changed[place] ^= data.draw(st.integers(1, 255))
    try:
        digests = [frame.digest for frame in read_all(bytes(changed))]
    except FrameError:
        return
    assert digests != [frame.digest for frame in read_all(written)]


@given(BATCHES, st.data())
def test_an_unfinished_frame_is_not_returned(batches: list[list[bytes]], data: st.DataObject) -> None:
    written = segment(batches)
    length = data.draw(st.integers(0, len(written)))
    whole = list(read_all(written))
    complete = list(read_all(written[:length]))
    assert complete == whole[: len(complete)]
    if len(complete) < len(whole):
        assert length < sum(frame.size for frame in whole[: len(complete) + 1])


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_or_are_the_beginning_of_a_frame(other: bytes) -> None:
    try:
        assert read(other) is None
    except FrameError:
        return
    assert len(other) < HEAD_BYTES or other.startswith(b"PCA1")


def test_a_frame_whose_content_differs_from_its_head_is_refused() -> None:
    frame = FrameEncoder().encode(FrameKind.EVENTS, [b"{}", b"{}"])
    claimed = frame[:21] + (3).to_bytes(4, "big") + frame[25:]
    found = read(claimed)
    assert found is not None
    assert found.digest == sha256(claimed)
    with pytest.raises(FrameError, match="2 events instead of"):
        found.lines()


@pytest.mark.parametrize("stated", [300 * 1024 * 1024, -1], ids=["too large", "not stated"])
def test_content_that_could_fill_the_memory_is_refused_before_decompression(
    stated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressor = zstandard.ZstdCompressor().compressobj(size=stated)
    content = compressor.compress(b"{}\n") + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    monkeypatch.setattr(zstandard, "ZstdDecompressor", lambda: pytest.fail("it is decompressed"))
    frame = Frame(FrameKind.EVENTS, 1, 1, 1, NO_FRAME, content, NO_FRAME)
    with pytest.raises(FrameError, match="states"):
        frame.lines()


def test_content_that_is_not_compressed_is_refused() -> None:
    with pytest.raises(FrameError, match="cannot be decompressed"):
        Frame(FrameKind.EVENTS, 1, 1, 1, NO_FRAME, b"{}", NO_FRAME).lines()
