"""The files of a tree: tiles of hashes and bundles of entries, and their paths, as C2SP tlog-tiles defines them.

A tile has up to 256 hashes of one level of tiles: level 0 has the hashes of leaves, and level `n + 1` has one hash
for each full tile of level `n`. A bundle has the entries of one tile of level 0. A file with fewer than 256
of them is partial; its path ends in `.p/` and their number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit_log.merkle import HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HEIGHT = 8
WIDTH = 1 << HEIGHT
"""Hashes of a full tile, and entries of a full bundle."""
LONGEST_ENTRY = 0xFFFF
"""Bytes of an entry: its length is a 16-bit number."""

_GROUP = 1000


class TileError(ValueError):
    """The bytes are no tile or no bundle of this width. The message says why."""


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """Return the path of a tile (C2SP tlog-tiles, "Merkle Tree")."""
    return f"tile/{level}/{_number(index)}{_suffix(width)}"


def bundle_path(index: int, width: int = WIDTH) -> str:
    """Return the path of a bundle (C2SP tlog-tiles, "Log entries")."""
    return f"tile/entries/{_number(index)}{_suffix(width)}"


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield level, index and width of every tile of a tree of `size` entries, level by level."""
    level = 0
    while hashes := size >> (HEIGHT * level):
        full, rest = divmod(hashes, WIDTH)
        yield from ((level, index, WIDTH) for index in range(full))
        if rest:
            yield level, full, rest
        level += 1


def write_tile(hashes: Iterable[bytes]) -> bytes:
    """Return the content of a tile."""
    return b"".join(hashes)


def read_tile(data: bytes, width: int) -> list[bytes]:
    """Return the hashes of a tile. Raises `TileError` unless there are `width` of them."""
    if len(data) != width * HASH_BYTES:
        raise TileError(f"a tile of {width} hashes has {width * HASH_BYTES} bytes, not {len(data)}")
    return [data[place : place + HASH_BYTES] for place in range(0, len(data), HASH_BYTES)]


def write_bundle(entries: Sequence[bytes]) -> bytes:
    """Return the content of a bundle. Raises `TileError` for an entry that is too long."""
    if any(len(entry) > LONGEST_ENTRY for entry in entries):
        raise TileError(f"an entry has at most {LONGEST_ENTRY} bytes")
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)


def read_bundle(data: bytes, width: int) -> list[bytes]:
    """Return the entries of a bundle. Raises `TileError` unless there are exactly `width` of them."""
    entries: list[bytes] = []
    place = 0
    while place < len(data):
        begin = place + 2
        place = begin + int.from_bytes(data[place:begin])
        if begin > len(data) or place > len(data):
            raise TileError("the last entry of the bundle is cut off")
        entries.append(data[begin:place])
    if len(entries) != width:
        raise TileError(f"the bundle has {len(entries)} entries instead of {width}")
    return entries


def _number(index: int) -> str:
    groups = [f"{index % _GROUP:03}"]
    while index := index // _GROUP:
        groups.append(f"x{index % _GROUP:03}")
    return "/".join(reversed(groups))


def _suffix(width: int) -> str:
    return "" if width == WIDTH else f".p/{width}"
