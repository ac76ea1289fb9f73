"""Writes a gateway's state into a file, and opens backup files for reading."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from oauth_core.process import private_files
from oauth_core.store.maintenance.schema import SchemaStore
from oauth_core.store.maintenance.snapshot import Entry, Snapshot, family
from portcullis.backup.file import BackupWriter, Header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis.asyncio import Redis

    from portcullis.backup.key import BackupKey

STANDARD = Path("-")
_MOST_IN_A_PIECE = 1000
_SPOOLED = 16 * 1024 * 1024


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears at `path`, for its owner only, when it is complete and on the disk."""
    if path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with private_files.replacing(path) as file:
        yield file


@contextmanager
def reading(path: Path) -> Iterator[IO[bytes]]:
    """A backup file that can be read twice. A backup from a pipe is stored meanwhile, still encrypted."""
    if path != STANDARD:
        with path.open("rb") as file:
            yield file
        return
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED) as spooled:
        while piece := sys.stdin.buffer.read(1024 * 1024):
            spooled.write(piece)
        spooled.seek(0)
        yield spooled


async def back_up(
    redis: Redis, file: IO[bytes], key: BackupKey, *, issuer: str, progress: Callable[[int], None]
) -> Counter[str]:
    """Write the records of a backup into `file`; return their numbers, by family of their key."""
    schema = await SchemaStore(redis).version()
    writer = BackupWriter(file, Header.new(key, schema=schema, issuer=issuer, created_at=int(time.time())), key)
    batch: list[Entry] = []
    count: Counter[str] = Counter()
    async for entry in Snapshot(redis).entries():
        batch.append(entry)
        count[family(entry.key)] += 1
        if len(batch) == _MOST_IN_A_PIECE:
            writer.add(batch)
            progress(count.total())
            batch = []
    writer.add(batch)
    writer.end()
    return count
