"""The sealed tree on the disk: reads it, appends to it, and computes its roots and proofs from its tiles.

The folder has the files of C2SP tlog-tiles (`oauth_core.audit_log.tiles`). A file is written whole and flushed to
the disk before a checkpoint names a size that needs it, and a partial file stays until a later checkpoint is
written. So the tree of the newest checkpoint is complete at every moment, also after a crash.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import OrderedDict
from typing import TYPE_CHECKING

from oauth_core.audit_log import merkle
from oauth_core.audit_log.tiles import (
    HEIGHT,
    LONGEST_ENTRY,
    WIDTH,
    TileError,
    bundle_path,
    read_bundle,
    read_tile,
    tile_path,
    write_bundle,
    write_tile,
)
from oauth_core.process import private_files
from portcullis.audit import record_files
from portcullis.audit.record_files import UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_KEPT_TILES = 64
_LONGEST_FILE = WIDTH * (2 + LONGEST_ENTRY)
"""Bytes of the longest file of a tree: a full bundle."""
_ATTEMPTS = 20
"""How often a partial file is looked for while a sealer replaces it."""


class TreeError(Exception):
    """A file of the tree is missing or wrong. `path` is its place; `is_missing` tells which of the two."""

    def __init__(self, path: Path, why: str, *, is_missing: bool = False) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why
        self.is_missing = is_missing


class TreeReader:
    """Reads a tree of `size` entries. Its methods raise `TreeError`, and `OSError`."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self._tiles: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()

    def root(self) -> bytes:
        """Return the root that the tiles give."""
        return merkle.root(self.size, self.subtree)

    def inclusion_path(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the audit path of an entry in this tree, or in its first `size` entries."""
        return merkle.inclusion_path(index, self.size if size is None else size, self.subtree)

    def consistency_path(self, old: int) -> list[bytes]:
        """Return the proof that this tree begins with the tree of `old` entries."""
        return merkle.consistency_path(old, self.size, self.subtree)

    def subtree(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree, as `oauth_core.audit_log.merkle` asks for it."""
        tile_level, inner = divmod(level, HEIGHT)
        first = index << inner
        tile = self.tile(tile_level, first // WIDTH)
        place = first % WIDTH
        return merkle.complete_root(tile[place : place + (1 << inner)])

    def tile(self, level: int, index: int) -> list[bytes]:
        """Return the hashes of a tile, as many as this tree has."""
        if (found := self._tiles.get((level, index))) is not None:
            self._tiles.move_to_end((level, index))
            return found
        width = self.width(level, index)
        path, data, there = self._file(tile_path(level, index), width)
        try:
            hashes = read_tile(data, there)[:width]
        except TileError as error:
            raise TreeError(path, str(error)) from None
        self._tiles[level, index] = hashes
        if len(self._tiles) > _KEPT_TILES:
            self._tiles.popitem(last=False)
        return hashes

    def bundle(self, index: int) -> list[bytes]:
        """Return the entries of a bundle, as many as this tree has."""
        width = self.width(0, index)
        path, data, there = self._file(bundle_path(index), width)
        try:
            return read_bundle(data, there)[:width]
        except TileError as error:
            raise TreeError(path, str(error)) from None

    def entries(self, start: int = 0) -> Iterator[bytes]:
        """Yield the entries from `start` on."""
        for index in range(start // WIDTH, -(-self.size // WIDTH)):
            yield from self.bundle(index)[max(0, start - index * WIDTH) :]

    def proven_entries(self, root: bytes, start: int = 0) -> Iterator[bytes]:
        """Yield the entries from `start` on. Raises `TreeError` where they are not in the tree of `root`."""
        for index in range(start // WIDTH, -(-self.size // WIDTH)):
            first, entries = index * WIDTH, self.bundle(index)
            leaves = [merkle.leaf_hash(entry) for entry in entries]
            # The path of the first leaf has the hashes of all others in the tile.
            path = self.inclusion_path(first) if leaves == self.tile(0, index) else None
            if path is None or merkle.root_by_inclusion(first, self.size, leaves[0], path) != root:
                raise TreeError(
                    self.folder / bundle_path(index, len(entries)), "its entries are not those of the checkpoint"
                )
            yield from entries[max(0, start - first) :]

    def width(self, level: int, index: int) -> int:
        """Return how many hashes this tree has in a tile."""
        return min(WIDTH, (self.size >> (HEIGHT * level)) - index * WIDTH)

    def _file(self, full: str, width: int) -> tuple[Path, bytes, int]:
        """Read the file of a tile or bundle: path, content and width.

        A sealer may have replaced the partial file by a longer one since the checkpoint was read.
        """
        path = self.folder / full
        partial = self.folder / f"{full}.p"
        wanted = path if width == WIDTH else partial / str(width)
        for _ in range(_ATTEMPTS):
            longer: list[int] = []
            if width < WIDTH:
                with contextlib.suppress(OSError):
                    longer = sorted(int(entry.name) for entry in partial.iterdir() if entry.name.isdecimal())
            others = [(partial / str(number), number) for number in longer if number > width] + [(path, WIDTH)]
            for candidate, there in [(wanted, width), *others]:
                try:
                    return candidate, record_files.content(candidate, _LONGEST_FILE), there
                except FileNotFoundError:
                    continue
                except UnusableFileError as error:
                    raise TreeError(candidate, str(error.strerror)) from None
            if not longer:
                break
        raise TreeError(wanted, "does not exist", is_missing=True)


class TreeWriter:
    """Appends to a tree. It holds the last, partial tile of each level; the tiles before it never change."""

    def __init__(self, folder: Path, size: int = 0) -> None:
        """Open the tree of `size` entries and remove what a crash has left behind it.

        Raises `TreeError` if its last tiles and entries do not fit together, and `OSError`. The caller compares
        `root` with its checkpoint.
        """
        self.folder = folder
        self.size = size
        self._edge: list[list[bytes]] = []
        self._entries: list[bytes] = []
        self._waiting: list[tuple[str, bytes]] = []
        self._written: set[str] = set()
        """Partial files of the last commit."""
        self._outdated: set[str] = set()
        self._load()

    def root(self) -> bytes:
        """Return the root of all entries, those that are not written yet included."""
        return merkle.root(self.size, self._subtree)

    def append(self, entry: bytes) -> None:
        """Add an entry. It is written by `commit`."""
        self._entries.append(entry)
        self.size += 1
        if len(self._entries) == WIDTH:
            self._waiting.append((bundle_path(self.size // WIDTH - 1), write_bundle(self._entries)))
            self._entries = []
        self._add(0, merkle.leaf_hash(entry))

    def commit(self) -> None:
        """Write every changed tile and bundle, and flush them to the disk. Raises `OSError`."""
        partial = self._partial_files()
        changed: set[Path] = set()
        for path, data in [*self._waiting, *partial.items()]:
            changed |= self._write(path, data)
        for folder in sorted(changed, reverse=True):  # a folder after those in it
            private_files.sync_folder(folder)
        self._waiting = []
        self._outdated |= self._written - partial.keys()
        self._written = set(partial)

    def tidy(self) -> None:
        """Remove partial files that no checkpoint needs any more. Call it when the new checkpoint is written."""
        for path in self._outdated:
            with contextlib.suppress(OSError):
                (self.folder / path).unlink(missing_ok=True)
        for folder in {(self.folder / path).parent for path in self._outdated}:
            with contextlib.suppress(OSError):
                folder.rmdir()  # unless it has the partial file of now
        self._outdated = set()

    def _add(self, level: int, node: bytes) -> None:
        if level == len(self._edge):
            self._edge.append([])
        tile = self._edge[level]
        tile.append(node)
        if len(tile) == WIDTH:
            index = (self.size >> (HEIGHT * (level + 1))) - 1
            self._waiting.append((tile_path(level, index), write_tile(tile)))
            self._edge[level] = []
            self._add(level + 1, merkle.complete_root(tile))

    def _partial_files(self) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        for level, tile in enumerate(self._edge):
            if tile:
                index = self.size >> (HEIGHT * (level + 1))
                files[tile_path(level, index, len(tile))] = write_tile(tile)
        if self._entries:
            files[bundle_path(self.size // WIDTH, len(self._entries))] = write_bundle(self._entries)
        return files

    def _write(self, path: str, data: bytes) -> set[Path]:
        """Write a file; return the folders that have a new name in them."""
        target = self.folder / path
        _check_folders(self.folder, target.parent)
        changed = {target.parent}
        folder = target.parent
        while not folder.exists():
            folder = folder.parent
            changed.add(folder)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with private_files.replacing(target) as file:
            file.write(data)
        return changed

    def _subtree(self, level: int, index: int) -> bytes:
        tile_level, inner = divmod(level, HEIGHT)
        first = index << inner
        tile = self._edge[tile_level]
        place = first % WIDTH
        return merkle.complete_root(tile[place : place + (1 << inner)])

    def _load(self) -> None:
        reader = TreeReader(self.folder, self.size)
        level = 0
        while hashes := self.size >> (HEIGHT * level):
            index, rest = divmod(hashes, WIDTH)
            self._edge.append(reader.tile(level, index) if rest else [])
            level += 1
        index, rest = divmod(self.size, WIDTH)
        self._entries = reader.bundle(index) if rest else []
        leaves = self._edge[0] if self._edge else []
        if [merkle.leaf_hash(entry) for entry in self._entries] != leaves:
            raise TreeError(
                self.folder / bundle_path(index, rest), "its entries do not have the hashes of the tile"
            )
        self._written = set(self._partial_files())
        self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        """Remove files behind the last entry, and temporary files: a crash before a checkpoint leaves them."""
        kept = {self.folder / path for path in self._written}
        for level in range(len(self._edge) + 2):
            index = self.size >> (HEIGHT * (level + 1))
            paths = [self.folder / tile_path(level, index)]
            paths += [self.folder / bundle_path(index)] if level == 0 else []
            for path in paths:
                partial = path.with_name(f"{path.name}.p")
                _check_folders(self.folder, partial)
                with contextlib.suppress(FileNotFoundError):
                    for entry in list(path.parent.iterdir()):
                        if entry.name.startswith(".") or _is_behind(entry, path):
                            _remove(entry)
                    for entry in list(partial.iterdir()):
                        if entry not in kept:
                            _remove(entry)


def _is_behind(entry: Path, path: Path) -> bool:
    """Whether `entry` is the full file at `path`, or of a later tile in the same folder."""
    name = entry.name.removesuffix(".p")
    if not name.isdecimal():
        return False
    return name > path.name or entry == path


def _check_folders(root: Path, folder: Path) -> None:
    """Raise `TreeError` if a folder below `root` is a link: files elsewhere would be written or removed."""
    while folder != root:
        if folder.is_symlink():
            raise TreeError(folder, "it is a link")
        folder = folder.parent


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)
