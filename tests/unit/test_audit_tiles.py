"""The files of the sealed tree: their paths and contents conform to C2SP tlog-tiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlog_scales import reader, tiles

from oauth_core.audit_log.tiles import (
    WIDTH,
    TileError,
    bundle_path,
    read_bundle,
    read_tile,
    tile_path,
    tiles_of,
    write_bundle,
    write_tile,
)

ENTRIES = st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (tile_path(0, 0), "tile/0/000"),
        (tile_path(3, 999), "tile/3/999"),
        (tile_path(0, 1000), "tile/0/x001/000"),
        (tile_path(1, 1234067), "tile/1/x001/x234/067"),
        (tile_path(0, 1234067, 8), "tile/0/x001/x234/067.p/8"),
        (bundle_path(1234), "tile/entries/x001/234"),
        (bundle_path(0, 255), "tile/entries/000.p/255"),
    ],
)
def test_a_path_has_groups_of_three_digits(path: str, expected: str) -> None:
    assert path == expected


@given(st.integers(0, 999_999), st.integers(0, 5), st.integers(1, WIDTH))
def test_paths_equal_those_of_another_program(index: int, level: int, width: int) -> None:
    partial = width % WIDTH
    assert tile_path(level, index, width) == "/".join(tiles.tile_path(level, index, partial))
    assert bundle_path(index, width) == "/".join(tiles.tile_path(-1, index, partial))


def test_the_tiles_match_the_example_of_the_specification() -> None:
    found = list(tiles_of(70_000))
    assert len([tile for tile in found if tile[0] == 0 and tile[2] == WIDTH]) == 273
    assert [tile for tile in found if tile[2] != WIDTH or tile[0] > 0] == [
        (0, 273, 112),
        (1, 0, 256),
        (1, 1, 17),
        (2, 0, 1),
    ]
    assert list(tiles_of(256)) == [(0, 0, 256), (1, 0, 1)]
    assert list(tiles_of(0)) == []


@given(ENTRIES)
def test_bundles_are_compatible_with_another_program(entries: list[bytes]) -> None:
    data = write_bundle(entries)
    assert read_bundle(data, len(entries)) == entries
    assert reader.Tile.from_entries_bytes(data).entries == entries


@given(ENTRIES, st.data())
def test_a_bundle_of_another_length_is_refused(entries: list[bytes], data: st.DataObject) -> None:
    whole = write_bundle(entries)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(TileError):
        read_bundle(whole[:cut], len(entries))
    with pytest.raises(TileError):
        read_bundle(whole + b"\0\1a", len(entries))
    with pytest.raises(TileError):
        read_bundle(whole + b"\0", len(entries))


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=6))
def test_a_written_tile_is_read_back_and_another_length_is_refused(hashes: list[bytes]) -> None:
    data = write_tile(hashes)
    assert read_tile(data, len(hashes)) == hashes
    for other in (data[:-1], data + b"\0", data + bytes(32), b""):
        with pytest.raises(TileError):
            read_tile(other, len(hashes))


def test_an_oversized_entry_is_refused() -> None:
    with pytest.raises(TileError, match="65535"):
        write_bundle([bytes(65_536)])
