"""A listen address is parsed in one way by all programs, and is written back unchanged."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.net.listen_addresses import ListenAddress, TcpAddress, UnixAddress, parse

PORTS = st.integers(1, 65_535)
NAMES = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?(\.[a-z0-9]{1,10}){0,3}", fullmatch=True)
HOSTS = (
    NAMES | st.ip_addresses(v=4).map(str) | st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number)))
)
PATHS = st.lists(
    st.text(st.characters(codec="ascii", exclude_characters="/\0"), min_size=1, max_size=8), min_size=1
)


@given(HOSTS, PORTS)
def test_a_host_and_a_port_are_unchanged_after_parsing(host: str, port: int) -> None:
    address = TcpAddress(host, port)
    assert parse(str(address)) == address


@given(PATHS)
def test_the_path_of_a_socket_is_unchanged_after_parsing(parts: list[str]) -> None:
    address = UnixAddress(Path("/", *parts))
    if 1 < len(str(address.path)) <= 107:
        assert parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("LocalHost:80", TcpAddress("localhost", 80)),
        ("[2001:DB8::1]:0443", TcpAddress("2001:db8::1", 443)),
        ("unix:/run/a:b.sock", UnixAddress(Path("/run/a:b.sock"))),
    ],
)
def test_capitals_and_leading_zeros_are_normalized(text: str, address: ListenAddress) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", ":80", "host", "host:", "host:0", "host:65536", "host:٣", "host:+1", "host:1 ", " host:1", "a b:1"),
        *("*:80", "user@host:80", "host:80/", "http://host:80", "host:1:2", "-a:1", "a..b:1", "host:1\n"),
        *("::1:80", "[::1]", "[::1", "[host]:80", "[127.0.0.1]:80"),
        *("unix:", "unix:/", "unix:a", "unix:/\0", "unix:/" + "x" * 107),
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is n"):
        parse(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *(("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True)),
        *(("localhost.example", False), ("10.0.0.1", False), ("::", False), ("::ffff:127.0.0.1", False)),
    ],
)
def test_loopback_is_this_machine_only(host: str, loopback: bool) -> None:
    assert TcpAddress(host, 1).is_loopback is loopback
