"""The format of the backup file: a header line, then encrypted pieces of records.

    portcullis-backup {"version": 1, "key": "MASTER_KEY", "salt": …, "schema": 1, "issuer": …, "created_at": …}
    for each piece, 4 bytes: its length, and one bit for the last piece; then that many bytes

Each piece holds entries as JSON lines, compressed. A file is valid only if its last piece was read.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING

from oauth_core.crypto.credentials import new_key
from oauth_core.crypto.sealed_stream import OVERHEAD, StreamCipher
from oauth_core.crypto.sealing import UnsealError
from oauth_core.store.maintenance.snapshot import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from portcullis.backup.key import BackupKey

VERSION = 1
_MAGIC = b"portcullis-backup "
_LONGEST_HEADER = 4096
_LONGEST_PIECE = 64 * 1024 * 1024
_LAST = 1 << 31
_LENGTH = struct.Struct(">I")


class BackupError(Exception):
    """The file is not a complete backup that this key decrypts. The message has the fault."""


@dataclass(frozen=True)
class Header:
    """The unencrypted description of a backup. It is authenticated once a piece is decrypted: each is bound to
    it.
    """

    key: str
    salt: str
    schema: int
    issuer: str
    created_at: int
    version: int = VERSION

    @classmethod
    def new(cls, key: BackupKey, *, schema: int, issuer: str, created_at: int) -> Header:
        """The header of a new file, with a new salt."""
        return cls(key.name, base64.b64encode(new_key()).decode("ascii"), schema, issuer, created_at)

    def line(self) -> bytes:
        """The first line of the file."""
        return _MAGIC + json.dumps(asdict(self)).encode() + b"\n"

    def cipher(self, key: BackupKey, line: bytes) -> StreamCipher:
        """The cipher that encrypts and decrypts the pieces."""
        return StreamCipher(key.key, salt=base64.b64decode(self.salt), header=line)


class BackupWriter:
    """Writes one backup. A file without the piece of `end` is not valid."""

    def __init__(self, file: IO[bytes], header: Header, key: BackupKey) -> None:
        self._file = file
        self._cipher = header.cipher(key, header.line())
        file.write(header.line())

    def add(self, entries: Sequence[Entry]) -> None:
        """Write a piece."""
        self._write(entries, last=False)

    def end(self) -> None:
        """Write the last piece, which has no entries."""
        self._write((), last=True)

    def _write(self, entries: Sequence[Entry], *, last: bool) -> None:
        lines = "\n".join(json.dumps([entry.key, entry.value, entry.expires_at]) for entry in entries)
        sealed = self._cipher.seal(zlib.compress(lines.encode(), 1), last=last)
        self._file.write(_LENGTH.pack(len(sealed) | (_LAST if last else 0)) + sealed)


def read_header(file: IO[bytes]) -> tuple[Header, bytes]:
    """The header, and its line exactly as in the file. Raises `BackupError`."""
    line = file.readline(_LONGEST_HEADER)
    if not line.startswith(_MAGIC) or not line.endswith(b"\n"):
        raise BackupError("this is not a backup of Portcullis")
    try:
        header = Header(**json.loads(line.removeprefix(_MAGIC)))
        base64.b64decode(header.salt, validate=True)
    except (ValueError, TypeError):
        raise BackupError("its first line is damaged") from None
    if header.version != VERSION:
        raise BackupError(f"it is of version {header.version!r}, and this program reads version {VERSION}")
    return header, line


def read_pieces(file: IO[bytes], header: Header, line: bytes, key: BackupKey) -> Iterator[list[Entry]]:
    """The entries, piece by piece. Raises `BackupError` if the file is changed or not complete."""
    cipher = header.cipher(key, line)
    is_first, last = True, False
    while not last:
        length, last = _length(_exactly(file, _LENGTH.size))
        try:
            lines = zlib.decompress(cipher.open(_exactly(file, length), last=last)).decode()
        except UnsealError:
            if is_first:
                raise BackupError(
                    f"this {key.name} does not decrypt it, or it was changed; it was written with {header.key}"
                ) from None
            raise BackupError("it was changed or damaged after it was written") from None
        is_first = False
        yield [Entry(*json.loads(entry)) for entry in lines.splitlines()]
    if file.read(1):
        raise BackupError("it has extra bytes at its end")


def _length(prefix: bytes) -> tuple[int, bool]:
    (number,) = _LENGTH.unpack(prefix)
    length, last = number & ~_LAST, bool(number & _LAST)
    if not OVERHEAD <= length <= _LONGEST_PIECE:
        raise BackupError("it was changed or damaged after it was written")
    return length, last


def _exactly(file: IO[bytes], size: int) -> bytes:
    found = file.read(size)
    if len(found) != size:
        raise BackupError("it was cut off: its end is missing")
    return found
