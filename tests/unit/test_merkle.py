"""Roots and proofs of Merkle trees agree with the RFC's own recursion and with another program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlog_scales import tlog

from oauth_core.audit_log.merkle import (
    EMPTY_ROOT,
    complete_root,
    consistency_path,
    inclusion_path,
    is_consistent,
    leaf_hash,
    node_hash,
    root,
    root_by_inclusion,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = st.integers(1, 600)


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(size)]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, as it is defined there."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return node_hash(naive_root(leaves[:half]), naive_root(leaves[half:]))


def subtrees(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    def subtree(level: int, index: int) -> bytes:
        part = leaves[index << level : (index + 1) << level]
        assert len(part) == 1 << level
        return complete_root(part)

    return subtree


# The test vectors of the Certificate Transparency reference implementation (RFC 6962), which others use as well.
ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(1, 9))
def test_the_roots_equal_the_known_test_vectors(size: int) -> None:
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES[:size]]
    assert root(size, subtrees(leaves)).hex() == ROOTS[size - 1]


def test_the_root_of_an_empty_tree_is_the_digest_of_the_empty_string() -> None:
    assert root(0, subtrees([])) == EMPTY_ROOT == naive_root([])


@given(SIZES)
def test_a_root_equals_the_recursion_of_the_rfc(size: int) -> None:
    leaves = leaves_of(size)
    assert root(size, subtrees(leaves)) == naive_root(leaves)


@given(SIZES, st.data())
def test_an_inclusion_proof_is_accepted_by_another_program_and_only_for_its_leaf(
    size: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    path = inclusion_path(index, size, subtrees(leaves))
    tlog.InclusionProof(index, size, path).check(leaves[index], naive_root(leaves))
    assert root_by_inclusion(index, size, leaves[index], path) == naive_root(leaves)
    other = data.draw(st.integers(0, size + 2).filter(lambda number: number != index))
    assert root_by_inclusion(other, size, leaves[index], path) != naive_root(leaves)
    assert root_by_inclusion(index, size, leaf_hash(b"another"), path) != naive_root(leaves)
    assert root_by_inclusion(index, size, leaves[index], [*path, leaves[0]]) is None
    if path:
        assert root_by_inclusion(index, size, leaves[index], path[:-1]) is None


@given(SIZES, st.data())
def test_a_consistency_proof_is_accepted_by_another_program_and_only_for_its_trees(
    new: int, data: st.DataObject
) -> None:
    old = data.draw(st.integers(0, new))
    leaves = leaves_of(new)
    old_root, new_root = naive_root(leaves[:old]), naive_root(leaves)
    path = consistency_path(old, new, subtrees(leaves))
    tlog.ConsistencyProof(old, new, path).check(old_root, new_root)
    assert is_consistent(old, old_root, new, new_root, path)
    forged = leaf_hash(b"forged")
    assert not is_consistent(old, forged, new, new_root, path)
    assert old in {0, new} or not is_consistent(old, old_root, new, forged, path)
    assert not is_consistent(old, old_root, new, new_root, [*path, forged])
    assert not path or not is_consistent(old, old_root, new, new_root, path[:-1])


@given(st.integers(2, 200), st.data())
def test_a_tree_with_one_changed_leaf_is_consistent_with_no_tree_that_had_it(
    new: int, data: st.DataObject
) -> None:
    old = data.draw(st.integers(1, new - 1))
    changed = data.draw(st.integers(0, old - 1))
    leaves = leaves_of(new)
    old_root = naive_root(leaves[:old])
    leaves[changed] = leaf_hash(b"changed")
    path = consistency_path(old, new, subtrees(leaves))
    assert not is_consistent(old, old_root, new, naive_root(leaves), path)


@given(
    st.integers(-1, 40), st.integers(-1, 40), st.lists(st.binary(min_size=32, max_size=32), max_size=8), st.data()
)
def test_random_proofs_are_refused(first: int, second: int, path: list[bytes], data: st.DataObject) -> None:
    one, other = data.draw(st.binary(min_size=32, max_size=32)), leaf_hash(b"x")
    assert root_by_inclusion(first, second, one, path) != other
    assert not is_consistent(first, one, second, other, path) or first == second


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_there_is_no_proof_for_a_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no entry"):
        inclusion_path(index, size, subtrees(leaves_of(size)))


def test_there_is_no_consistency_proof_from_a_larger_tree() -> None:
    with pytest.raises(ValueError, match="does not begin"):
        consistency_path(4, 3, subtrees(leaves_of(3)))
