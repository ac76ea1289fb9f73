"""Merkle trees as RFC 6962 section 2.1 defines them: hashes, roots, and proofs of inclusion and of consistency.

A tree is given as a function that returns the hash of a complete subtree: `subtree(level, index)` covers the
leaves from `index * 2**level` to `(index + 1) * 2**level`. So the same rules serve tiles on a disk and a list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oauth_core.crypto.digests import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"")
"""The root of a tree without leaves."""

Subtree = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf. Its prefix keeps a leaf from being presented as an inner node."""
    return sha256(b"\x00" + entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right)


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """Return the hash over `hashes`, whose number is a power of two."""
    level = list(hashes)
    while len(level) > 1:
        level = [node_hash(level[place], level[place + 1]) for place in range(0, len(level), 2)]
    return level[0]


def root(size: int, subtree: Subtree) -> bytes:
    """Return the root of the tree of the first `size` leaves."""
    return _range(0, size, subtree) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the audit path of the leaf at `index` in the tree of `size` leaves (RFC 6962 section 2.1.1).

    It begins with the sibling of the leaf. Raises `ValueError` if the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} entries has no entry {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range(middle, end, subtree))
            end = middle
        else:
            path.append(_range(start, middle, subtree))
            start = middle
    return path[::-1]


def consistency_path(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Return the proof that the tree of `new` leaves begins with that of `old` leaves (RFC 6962 section 2.1.2).

    It is empty for the same size, and for an empty old tree. Raises `ValueError` if `new` is smaller than `old`.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} entries does not begin with {old} entries")
    if old in {0, new}:
        return []
    path: list[bytes] = []
    start, end, is_known = 0, new, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range(middle, end, subtree))
            end = middle
        else:
            path.append(_range(start, middle, subtree))
            start, is_known = middle, False
    if not is_known:
        path.append(_range(start, end, subtree))
    return path[::-1]


def root_by_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes | None:
    """Return the root that follows from a leaf's hash and its audit path (RFC 9162 section 2.1.3.2).

    `None` means that no tree of this size has such a path. The caller compares the root with a checkpoint's.
    """
    if not 0 <= index < size:
        return None
    place, last, found = index, size - 1, leaf
    for other in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            found = node_hash(other, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, other)
        place, last = place >> 1, last >> 1
    return found if last == 0 else None


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Return whether `path` proves that the new tree begins with the old one (RFC 9162 section 2.1.4.2)."""
    if old == new:
        return old_root == new_root and not path
    if old == 0:
        return old_root == EMPTY_ROOT and not path
    if not 0 < old < new or not path:
        return False
    rest = list(path)
    if old & (old - 1) == 0:
        rest.insert(0, old_root)
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    found_old = found_new = rest[0]
    for other in rest[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            found_old, found_new = node_hash(other, found_old), node_hash(other, found_new)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found_new = node_hash(found_new, other)
        place, last = place >> 1, last >> 1
    return last == 0 and found_old == old_root and found_new == new_root


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _range(start: int, end: int, subtree: Subtree) -> bytes:
    """The hash over the leaves from `start` to `end`: `start` is a multiple of every power of two in their number
    down to the largest one, as all ranges of RFC 6962 are.
    """
    count = end - start
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return subtree(level, start >> level)
    middle = start + _split(count)
    return node_hash(_range(start, middle, subtree), _range(middle, end, subtree))
