"""The subject that a limit counts: an address, an IPv6 network, or all callers without an address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from oauth_core.limits.rate_limits import Limit, subject_of_address
from oauth_core.settings.rates import RateSettings


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("203.0.113.7:51234", "203.0.113.7"),
        ("[2001:db8:1:2:3::4]:443", "2001:db8:1:2::/64"),
        ("[fe80::1%25eth0]:443", "fe80::/64"),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        (None, "none"),
        ("", "none"),
        ("localhost", "none"),
        ("203.0.113.7, 10.0.0.1", "none"),
        ("203.0.113.7:", "none"),
        ("203.0.113.7:port", "none"),
        ("[[2001:db8::1]]", "none"),
        ("unknown", "none"),
    ],
)
def test_an_address_is_counted_under_its_subject(address: str | None, subject: str) -> None:
    assert subject_of_address(address) == subject


@given(st.text(max_size=60))
def test_no_text_raises_an_error(address: str) -> None:
    assert subject_of_address(address)


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_a_port_does_not_change_the_subject(address: IPv4Address, port: int) -> None:
    assert subject_of_address(f"{address}:{port}") == subject_of_address(str(address)) == str(address)


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1), st.integers(0, 65535))
def test_an_ipv6_network_of_64_bits_counts_as_one(address: IPv6Address, host: int, port: int) -> None:
    network = IPv6Address(int(address) >> 64 << 64)
    assume(network != IPv6Address(0))  # mapped IPv4 addresses lie there
    neighbour = IPv6Address(int(network) + host)
    for text in (str(neighbour), neighbour.exploded, f"[{neighbour}]:{port}"):
        assert subject_of_address(text) == f"{network}/64"


def test_every_limit_has_a_setting_of_the_same_name() -> None:
    settings = RateSettings()
    assert set(RateSettings.model_fields) == set(Limit)
    assert all(settings.rate_of(limit).count >= 1 for limit in Limit)
