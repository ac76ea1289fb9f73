"""Addresses of Redis in the settings."""

from __future__ import annotations

import pytest

from oauth_core.net.redis_address import Topology, is_on_this_machine, read_redis_url


def test_sentinels_have_a_service_and_a_database() -> None:
    address = read_redis_url("rediss+sentinel://user@a:1,b,[::1]:3/main/2?ssl_ca_certs=/ca.pem")
    assert address.topology is Topology.SENTINEL
    assert address.hosts == (("a", 1), ("b", 26379), ("::1", 3))
    assert address.service == "main"
    assert address.url == "rediss://user@redis.invalid/2?ssl_ca_certs=/ca.pem"


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "redis+sentinel://a:1",
        "redis+sentinel://a:1,/main",
        "redis+sentinel://a:1/main/x",
        "redis+cluster://a:1/1",
        "redis+cluster://a:0",
        "unix+cluster://a",
    ],
)
def test_an_invalid_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^is not the address of a Redis server") as refused:
        read_redis_url(url.replace("//", "//user:secret@"))
    assert "secret" not in str(refused.value)


def test_redis_is_local_only_if_every_server_is() -> None:
    assert is_on_this_machine("redis+cluster://127.0.0.1:1,[::1]:2,localhost:3")
    assert is_on_this_machine("unix:///run/redis.sock")
    assert not is_on_this_machine("redis+sentinel://127.0.0.1:1,elsewhere:2/main")
