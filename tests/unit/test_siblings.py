"""Which registered clients are siblings."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.clients import redirect_uris
from oauth_core.clients.siblings import are_siblings, may_act_for
from tests.unit.examples import make_client

_PLACES = st.sampled_from(["127.0.0.1", "[::1]", "localhost"])
_PORTS = st.integers(min_value=1, max_value=65535)
_PATHS = st.sampled_from(["", "/", "/cb", "/cb?a=b", "/callback"])
_LOOPBACK = st.builds(lambda host, port, path: f"http://{host}:{port}{path}", _PLACES, _PORTS, _PATHS)
_OTHERS = st.sampled_from(
    ["https://a.example/cb", "https://a.example:8443/cb", "https://a.example:9/cb", "com.example.app:/cb"]
)
_URIS = st.lists(_LOOPBACK | _OTHERS, min_size=1, max_size=4, unique=True)


@given(_URIS, _URIS)
def test_clients_are_siblings_only_if_each_accepts_every_redirect_uri_of_the_other(
    one: list[str], other: list[str]
) -> None:
    """Otherwise a code could reach an address that its client never registered."""
    agree = all(redirect_uris.matches(one, uri) for uri in other) and all(
        redirect_uris.matches(other, uri) for uri in one
    )
    assert are_siblings(make_client(*one), make_client(*other, client_id="client-two")) is agree


@given(_PLACES, _PORTS, _PORTS, _PATHS)
def test_the_port_of_a_loopback_uri_makes_no_difference(host: str, port: int, other: int, path: str) -> None:
    one, another = (make_client(f"http://{host}:{number}{path}") for number in (port, other))
    assert are_siblings(one, another)


@pytest.mark.parametrize(
    "change",
    [
        {"secret_hash": "hash"},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": "{}"},
        {"machine_scopes": ("mcp.time",)},
        {"client_id": "https://client.example/metadata.json"},
    ],
)
def test_a_client_that_authenticates_has_no_siblings(change: dict[str, Any]) -> None:
    one, other = (dataclasses.replace(make_client(client_id=name), **change) for name in ("one", "two"))
    assert not are_siblings(one, other)
    assert not may_act_for(dataclasses.replace(one, client_id="three"), other)


def test_members_other_than_metadata_make_no_difference() -> None:
    other = dataclasses.replace(
        make_client(client_id="two"), issued_at=9, registration_token_hash="x", registration_permissions=()
    )
    assert may_act_for(make_client(), other)
    assert not may_act_for(make_client(), None)
