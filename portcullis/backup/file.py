"""The backup file: a line that says what it is, then sealed pieces of records.

    portcullis-backup {"version": 1, "key": "MASTER_KEY", "salt": …, "schema": 1, "issuer": …, "created_at": …}
    4 bytes of length and whether it is the last, then that many bytes, again and again

Each piece holds entries as JSON lines, compressed. A file is believed only when its last piece was read.
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
    """The file is not a whole backup that opens with this key. The message says what was found."""


@dataclass(frozen=True)
class Header:
    """What a backup says of itself to anybody; believed once a piece has opened, because it is bound to each."""

    key: str
    salt: str
    schema: int
    issuer: str
    created_at: int
    version: int = VERSION

    @classmethod
    def new(cls, key: BackupKey, *, schema: int, issuer: str, created_at: int) -> Header:
        """For a new file, with a fresh salt."""
        return cls(key.name, base64.b64encode(new_key()).decode("ascii"), schema, issuer, created_at)

    def line(self) -> bytes:
        """The first line of the file."""
        return _MAGIC + json.dumps(asdict(self)).encode() + b"\n"

    def cipher(self, key: BackupKey, line: bytes) -> StreamCipher:
        """What seals or opens the pieces."""
        return StreamCipher(key.key, salt=base64.b64decode(self.salt), header=line)


class BackupWriter:
    """Writes one backup; `end` must be called, or the file does not count."""

    def __init__(self, file: IO[bytes], header: Header, key: BackupKey) -> None:
        self._file = file
        self._cipher = header.cipher(key, header.line())
        file.write(header.line())

    def add(self, entries: Sequence[Entry]) -> None:
        """Write a piece."""
        self._write(entries, last=False)

    def end(self) -> None:
        """Write the piece that says that nothing follows."""
        self._write((), last=True)

    def _write(self, entries: Sequence[Entry], *, last: bool) -> None:
        lines = "\n".join(json.dumps([entry.key, entry.value, entry.expires_at]) for entry in entries)
        sealed = self._cipher.seal(zlib.compress(lines.encode(), 1), last=last)
        self._file.write(_LENGTH.pack(len(sealed) | (_LAST if last else 0)) + sealed)


def read_header(file: IO[bytes]) -> tuple[Header, bytes]:
    """The header and its line as it stands in the file. Raises `BackupError`."""
    line = file.readline(_LONGEST_HEADER)
    if not line.startswith(_MAGIC) or not line.endswith(b"\n"):
        raise BackupError("this is not a backup of ours")
    try:
        header = Header(**json.loads(line.removeprefix(_MAGIC)))
        base64.b64decode(header.salt, validate=True)
    except (ValueError, TypeError):
        raise BackupError("its first line is damaged") from None
    if header.version != VERSION:
        raise BackupError(f"it is of version {header.version!r}, and this program reads version {VERSION}")
    return header, line


def read_pieces(file: IO[bytes], header: Header, line: bytes, key: BackupKey) -> Iterator[list[Entry]]:
    """The entries, piece by piece; the end is reached only by a file that is whole. Raises `BackupError`."""
    cipher = header.cipher(key, line)
    is_first, last = True, False
    while not last:
        length, last = _length(_exactly(file, _LENGTH.size))
        try:
            lines = zlib.decompress(cipher.open(_exactly(file, length), last=last)).decode()
        except UnsealError:
            if is_first:
                raise BackupError(
                    f"it does not open with this {key.name}, or was changed; it was written with {header.key}"
                ) from None
            raise BackupError("it was changed or damaged after it was written") from None
        is_first = False
        yield [Entry(*json.loads(entry)) for entry in lines.splitlines()]
    if file.read(1):
        raise BackupError("something was added at its end")


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
