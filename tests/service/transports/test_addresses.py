"""The listen addresses of workers, and the number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ext_authz.grpc_http2.grpc_frames import is_grpc, seconds_left
from ext_authz.net.listen_addresses import ListenError, distinct, parse
from ext_authz.process.cores import usable_cores

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("addresses", "workers", "wanted"),
    [
        (["unix:/a"], 1, ("unix:/a",)),
        (["unix:/a"], 3, ("unix:/a", "unix:/a.1", "unix:/a.2")),
        (["unix:/a", "unix:/b"], 3, ("unix:/a", "unix:/b", "unix:/a.1")),
        (["h:1"], 3, ("h:1",)),
        (["h:1", "h:2"], 2, ("h:1", "h:2")),
        (["h:1", "h:2"], 5, ("h:1", "h:2")),
    ],
)
def test_each_worker_has_its_own_socket_and_ports_are_shared(
    addresses: list[str], workers: int, wanted: tuple[str, ...]
) -> None:
    assert distinct(addresses, workers) == wanted


@pytest.mark.parametrize(
    "text", ["", "unix:", "unix:/", "unix:a", ":1", "h:", "h:0", "h:65536", "*:1", "[::1", "a:1:2"]
)
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(ListenError):
        parse(text)


def test_an_ipv6_address_keeps_its_brackets() -> None:
    assert str(parse("[::1]:9001")) == "[::1]:9001"


@pytest.mark.parametrize(
    ("quota", "wanted"),
    [("100000 100000", 1), ("50000 100000", 1), ("0 100000", 1), ("1 0", None), ("max 1", None)],
)
def test_a_containers_quota_counts_as_cores(tmp_path: Path, quota: str, wanted: int | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota, encoding="ascii")
    assert usable_cores(file) == (wanted or usable_cores(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [(b"1S", 1.0), (b"2M", 120.0), (b"1H", 3600.0), (b"500m", 0.5), (b"99999999n", 0.099999999), (b"3u", 3e-6)],
)
def test_a_deadline_is_read_in_every_unit(text: bytes, wanted: float) -> None:
    assert seconds_left(text) == pytest.approx(wanted)


@pytest.mark.parametrize("text", [b"", b"S", b"1", b"-1S", b"1s", b"123456789S", b"1.5S", b"\xd9\xa1S"])
def test_an_invalid_deadline_is_ignored(text: bytes) -> None:
    assert seconds_left(text) is None


@pytest.mark.parametrize("text", [b"application/grpc-web", b"application/grpc+json", b"application/grpcx", b"x"])
def test_similar_content_types_are_not_grpc(text: bytes) -> None:
    assert not is_grpc(text)
