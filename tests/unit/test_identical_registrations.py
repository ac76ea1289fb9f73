"""Which registrations are one and the same."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from oauth_core import redirect_uris
from oauth_core.identical_registrations import fingerprint
from tests.unit.conftest import make_client

_PLACES = st.sampled_from(["127.0.0.1", "[::1]", "localhost"])
_PORTS = st.integers(min_value=1, max_value=65535)
_PATHS = st.sampled_from(["", "/", "/cb", "/cb?a=b", "/callback"])
_LOOPBACK = st.builds(lambda host, port, path: f"http://{host}:{port}{path}", _PLACES, _PORTS, _PATHS)
_OTHERS = st.sampled_from(
    ["https://a.example/cb", "https://a.example:8443/cb", "https://a.example:9/cb", "app:/cb"]
)
_URIS = st.lists(_LOOPBACK | _OTHERS, min_size=1, max_size=4, unique=True)


def name_of(uris: list[str]) -> str | None:
    return fingerprint(replace(make_client(*uris), sharing="possible"))


@given(_URIS, _URIS)
def test_a_record_is_shared_exactly_when_each_accepts_every_address_of_the_other(
    one: list[str], other: list[str]
) -> None:
    """Otherwise somebody would be sent where they never registered, or refused where they did."""
    agree = all(redirect_uris.matches(one, uri) for uri in other) and all(
        redirect_uris.matches(other, uri) for uri in one
    )
    assert (name_of(one) == name_of(other)) is agree


@given(_PLACES, _PORTS, _PORTS, _PATHS)
def test_the_port_of_loopback_makes_no_difference(host: str, port: int, other: int, path: str) -> None:
    assert name_of([f"http://{host}:{port}{path}"]) == name_of([f"http://{host}:{other}{path}"])
