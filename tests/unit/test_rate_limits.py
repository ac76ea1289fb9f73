"""Whom a limit counts: an address, a network of IPv6, or everybody who has none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.rate_limits import Limit, subject_of_address
from oauth_core.settings.rates import RateSettings


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        (None, "none"),
        ("", "none"),
        ("localhost", "none"),
        ("203.0.113.7, 10.0.0.1", "none"),
    ],
)
def test_a_caller_is_counted_as(address: str | None, subject: str) -> None:
    assert subject_of_address(address) == subject


@given(st.text(max_size=60))
def test_no_text_makes_it_stumble(address: str) -> None:
    assert subject_of_address(address)


def test_every_limit_has_a_setting_of_its_name() -> None:
    settings = RateSettings()
    assert set(RateSettings.model_fields) == set(Limit)
    assert all(settings.rate_of(limit).count >= 1 for limit in Limit)
