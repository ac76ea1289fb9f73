"""Event streams pass without delay, and end when the check service says so."""

from __future__ import annotations

import contextlib
import http.client
from typing import TYPE_CHECKING

import pytest

from tests.envoy.check_service import GOOD, allow

if TYPE_CHECKING:
    from tests.envoy.world import World


def test_an_event_arrives_while_the_stream_is_still_open(world: World) -> None:
    time = next(upstream for upstream in world.upstreams if upstream.name == "time")
    with contextlib.closing(world.gate.connect()) as connection:
        connection.request("GET", "/time/mcp/stream", headers=GOOD | {"Host": world.gate.host})
        response = connection.getresponse()
        assert response.headers["content-type"] == "text/event-stream"
        assert response.read1() == b"data: first\n\n"
        time.more.set()
        assert response.read() == b"data: second\n\n"


def test_the_answer_to_a_post_may_be_a_stream_too(world: World) -> None:
    time = next(upstream for upstream in world.upstreams if upstream.name == "time")
    with contextlib.closing(world.gate.connect()) as connection:
        json = {"Host": world.gate.host, "Content-Type": "application/json"}
        connection.request("POST", "/time/mcp/stream", body=b"{}", headers=GOOD | json)
        response = connection.getresponse()
        assert response.read1() == b"data: first\n\n"
        time.more.set()
        assert response.read() == b"data: second\n\n"
    assert world.only_received().body == b"{}"


def test_the_check_service_can_limit_the_duration_of_a_stream(world: World) -> None:
    world.checks.decide = lambda _: allow({"x-envoy-upstream-rq-timeout-ms": "300"})
    with contextlib.closing(world.gate.connect()) as connection:
        connection.request("GET", "/time/mcp/stream", headers=GOOD | {"Host": world.gate.host})
        response = connection.getresponse()
        assert response.read1() == b"data: first\n\n"
        with pytest.raises(http.client.IncompleteRead):  # cut off, not ended: the server had more to send
            response.read()
    assert "x-envoy-upstream-rq-timeout-ms" not in world.only_received().headers
