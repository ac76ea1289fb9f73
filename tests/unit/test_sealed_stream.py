"""A sealed stream opens completely and in order, or not at all."""

from __future__ import annotations

import pytest

from oauth_core.crypto.credentials import new_key
from oauth_core.crypto.sealed_stream import StreamCipher
from oauth_core.crypto.sealing import UnsealError

KEY, SALT = new_key(), new_key()
PIECES = [b"one", b"two", b"", b"three" * 1000]


def cipher(*, key: bytes = KEY, salt: bytes = SALT, header: bytes = b"header") -> StreamCipher:
    return StreamCipher(key, salt=salt, header=header)


def sealed() -> list[bytes]:
    stream = cipher()
    return [stream.seal(piece, last=piece is PIECES[-1]) for piece in PIECES]


def opened(pieces: list[bytes], stream: StreamCipher | None = None) -> list[bytes]:
    stream = stream or cipher()
    return [stream.open(piece, last=number == len(pieces)) for number, piece in enumerate(pieces, start=1)]


def test_a_sealed_stream_opens_again() -> None:
    assert opened(sealed()) == PIECES


@pytest.mark.parametrize(
    "other",
    [cipher(key=new_key()), cipher(salt=new_key()), cipher(header=b"header of another")],
    ids=["key", "salt", "header"],
)
def test_another_key_salt_or_header_does_not_open_it(other: StreamCipher) -> None:
    with pytest.raises(UnsealError):
        opened(sealed(), other)


def test_a_truncated_stream_does_not_open() -> None:
    for kept in range(1, len(PIECES)):
        with pytest.raises(UnsealError):
            opened(sealed()[:kept])


def test_pieces_cannot_be_removed_moved_or_repeated() -> None:
    one, two, three, four = sealed()
    for order in ([one, three, four], [two, one, three, four], [one, one, two, three, four], [two, three, four]):
        with pytest.raises(UnsealError):
            opened(order)


def test_no_piece_follows_the_last_one() -> None:
    stream = cipher()
    opened(sealed(), stream)
    with pytest.raises(UnsealError):
        stream.open(sealed()[0], last=False)
    stream = cipher()
    stream.seal(b"", last=True)
    with pytest.raises(UnsealError):
        stream.seal(b"more", last=False)
