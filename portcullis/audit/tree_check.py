"""Verifies the sealed tree itself: checkpoints, tiles and bundles. It trusts the key and nothing else.

The root of the checkpoint decides which of a tile and its bundle is the altered one. Every older checkpoint must
be the root of a beginning of the same tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oauth_core.audit_log import merkle
from oauth_core.audit_log.entries import EntryError, parse_entry
from oauth_core.audit_log.tiles import WIDTH, bundle_path, tile_path
from portcullis.audit.findings import Report, Word
from portcullis.audit.tree import TreeError, TreeReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oauth_core.audit_log.checkpoints import Checkpoint
    from oauth_core.audit_log.entries import Entry


@dataclass(slots=True)
class _Growing:
    """The root of a tree that grows leaf by leaf, from the complete subtrees in it."""

    size: int = 0
    peaks: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, leaf: bytes) -> None:
        level, node = 0, leaf
        while self.peaks and self.peaks[-1][0] == level:
            node = merkle.node_hash(self.peaks.pop()[1], node)
            level += 1
        self.peaks.append((level, node))
        self.size += 1

    def root(self) -> bytes:
        if not self.peaks:
            return merkle.EMPTY_ROOT
        found = self.peaks[-1][1]
        for _, peak in reversed(self.peaks[:-1]):
            found = merkle.node_hash(peak, found)
        return found


class TreeCheck:
    """The verification of one tree against its checkpoint."""

    def __init__(self, folder: Path, checkpoint: Checkpoint, report: Report) -> None:
        self._reader = TreeReader(folder, checkpoint.size)
        self._folder = folder
        self._checkpoint = checkpoint
        self._report = report
        self._leaves_of_tiles = False
        self._are_leaves_known = False

    def run(self, older: list[tuple[str, Checkpoint]]) -> None:
        """Verify all files of the tree. `older` are signed checkpoints, each with the name of its place."""
        tiles, bundles = _Growing(), _Growing()
        damaged: list[tuple[int, TreeError | None, TreeError | None]] = []
        for index in range(self._bundles):
            tile, tile_fault = self._tile(0, index)
            entries, bundle_fault = self._bundle(index)
            hashes = None if entries is None else [merkle.leaf_hash(entry) for entry in entries]
            if tile != hashes or tile is None:
                damaged.append((index, tile_fault, bundle_fault))
            # If one of the two is missing, the other one is used for both.
            for growing, leaves in ((tiles, tile or hashes), (bundles, hashes or tile)):
                for leaf in leaves or ():
                    growing.add(leaf)
        root = self._checkpoint.root
        self._leaves_of_tiles = tiles.root() == root
        self._are_leaves_known = self._leaves_of_tiles or bundles.root() == root
        for index, tile_fault, bundle_fault in damaged:
            self._report_pair(index, tile_fault, bundle_fault)
        if not self._are_leaves_known and not damaged:
            self._report.find(
                Word.ALTERED, "sealed/tile", "the tree does not have the root that the checkpoint has signed"
            )
        if self._are_leaves_known:
            self._check_upper_tiles()
            self._check_older(older)

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """Yield the entries that the checkpoint proves, with their index. Call it after `run`."""
        if not self._are_leaves_known:
            return
        for index in range(self._bundles):
            entries, _ = self._bundle(index)
            if entries is None:
                continue
            tile = self._tile(0, index)[0] if self._leaves_of_tiles else None
            for place, data in enumerate(entries):
                if tile is not None and merkle.leaf_hash(data) != tile[place]:
                    continue
                try:
                    yield index * WIDTH + place, parse_entry(data)
                except EntryError as error:
                    self._report.find(Word.DAMAGED, f"entry {index * WIDTH + place} of the tree", str(error))

    @property
    def _bundles(self) -> int:
        return -(-self._checkpoint.size // WIDTH)

    def _tile(self, level: int, index: int) -> tuple[list[bytes] | None, TreeError | None]:
        try:
            return self._reader.tile(level, index), None
        except TreeError as error:
            return None, error

    def _bundle(self, index: int) -> tuple[list[bytes] | None, TreeError | None]:
        try:
            return self._reader.bundle(index), None
        except TreeError as error:
            return None, error

    def _report_pair(self, index: int, tile_fault: TreeError | None, bundle_fault: TreeError | None) -> None:
        """Report a tile of leaves and its bundle that do not fit together."""
        width = self._reader.width(0, index)
        for fault in (tile_fault, bundle_fault):
            if fault is not None:
                self._report_file(fault)
        if tile_fault is None and bundle_fault is None:
            tile, bundle = f"sealed/{tile_path(0, index, width)}", f"sealed/{bundle_path(index, width)}"
            if not self._are_leaves_known:
                self._report.find(Word.ALTERED, tile, f"it does not fit to {bundle}, and the root to neither")
            elif self._leaves_of_tiles:
                self._report.find(Word.ALTERED, bundle, "its entries do not have the sealed hashes")
            else:
                self._report.find(Word.ALTERED, tile, "its hashes are not those of the sealed entries")

    def _report_file(self, fault: TreeError) -> None:
        place = f"sealed/{fault.path.relative_to(self._folder)}"
        self._report.find(Word.MISSING if fault.is_missing else Word.ALTERED, place, fault.why)

    def _leaves(self) -> Iterator[list[bytes]]:
        """The proven hashes of the leaves, a tile at a time."""
        for index in range(self._bundles):
            tile, _ = self._tile(0, index)
            entries, _ = self._bundle(index)
            hashes = None if entries is None else [merkle.leaf_hash(entry) for entry in entries]
            yield ((tile or hashes) if self._leaves_of_tiles else (hashes or tile)) or []

    def _check_upper_tiles(self) -> None:
        hashes = [merkle.complete_root(leaves) for leaves in self._leaves() if len(leaves) == WIDTH]
        level = 1
        while hashes:
            above: list[bytes] = []
            for index in range(-(-len(hashes) // WIDTH)):
                part = hashes[index * WIDTH : (index + 1) * WIDTH]
                tile, fault = self._tile(level, index)
                if fault is not None:
                    self._report_file(fault)
                elif tile != part:
                    place = f"sealed/{tile_path(level, index, len(part))}"
                    self._report.find(Word.ALTERED, place, "its hashes are not those of the tiles below it")
                if len(part) == WIDTH:
                    above.append(merkle.complete_root(part))
            hashes, level = above, level + 1

    def _check_older(self, older: list[tuple[str, Checkpoint]]) -> None:
        """Every older checkpoint has the root of a beginning of this tree."""
        waiting = sorted(older, key=lambda pair: pair[1].size, reverse=True)
        growing = _Growing()

        def check() -> None:
            while waiting and waiting[-1][1].size <= growing.size:
                place, checkpoint = waiting.pop()
                if checkpoint.root != growing.root():
                    self._report.find(
                        Word.ROLLED_BACK,
                        place,
                        f"its tree of {checkpoint.size} entries is not the beginning of the tree in this folder",
                    )

        check()
        for leaves in self._leaves():
            for leaf in leaves:
                if not waiting:
                    return
                growing.add(leaf)
                check()
        for place, checkpoint in reversed(waiting):
            self._report.find(
                Word.ROLLED_BACK,
                place,
                f"it has {checkpoint.size} entries, and the tree in this folder has {self._checkpoint.size}",
            )
