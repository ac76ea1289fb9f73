"""Requests that Envoy refuses itself are in the audit record, although no check and no program sees them."""

from __future__ import annotations

from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.audit_record import recorded
from tests.support.gateway import running_gateway
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.gateway import RunningGateway

_FLOOD = 300
_TOO_LARGE = "x" * 40_000
_LOCAL = "127.0.0.1"


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    with running_gateway(environ={"WEB_RATE_PER_ADDRESS": "1"}) as running:
        yield running


def _ask(connection: HTTPConnection, **headers: str) -> int:
    connection.request("POST", "/token?secret=1", b"", headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _recorded(gateway: RunningGateway, kind: str) -> list[dict[str, Any]]:
    return [event for event in recorded(gateway.audit_dir) if event["event"] == kind]


def _stand_for(events: list[dict[str, Any]]) -> int:
    return sum(event.get("count", 1) for event in events)


def test_every_request_of_a_flood_that_envoy_refuses_is_in_a_count(gateway: RunningGateway) -> None:
    with closing(HTTPConnection(gateway.url.removeprefix("http://"), timeout=60)) as connection:
        # The last letter of the name is no UTF-8.
        statuses = [_ask(connection, **{"User-Agent": "flood/\xff"}) for _ in range(_FLOOD)]
    refused = statuses.count(429)
    assert refused
    until(lambda: _stand_for(_recorded(gateway, "rate.limited")) >= refused, "each refusal is counted")
    events = _recorded(gateway, "rate.limited")
    assert _stand_for(events) == refused
    assert all(event["outcome"] == "denied" and event["source"] == _LOCAL for event in events)
    assert all(event["reason"] == "Envoy answered 429: local_rate_limited" for event in events)
    # The count of a second that ended meanwhile can stand before it.
    first = next(event for event in events if "count" not in event)
    assert (first["method"], first["path"], first["user_agent"]) == ("POST", "/token", "flood/\ufffd")
    assert first["request_id"]
    assert "peer" not in first


def test_headers_that_are_too_large_for_envoy_leave_an_event(gateway: RunningGateway) -> None:
    with closing(HTTPConnection(gateway.url.removeprefix("http://"), timeout=60)) as connection:
        assert _ask(connection, **{"X-Large": _TOO_LARGE}) == 431
    until(lambda: _recorded(gateway, "request.refused"), "the refusal is recorded")
    (event,) = _recorded(gateway, "request.refused")
    assert event["reason"].startswith("Envoy answered 431: ")
    assert event["source"] == _LOCAL
    assert _TOO_LARGE[:300] not in str(event)
