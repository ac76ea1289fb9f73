"""Every rule at the edge refuses a request that breaks it.

A complete run writes `docs/generated/edge-rules.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.envoy.edge.case import FORGED, Case
from tests.envoy.edge.cases import CASES
from tests.envoy.edge.table import Record
from tests.envoy.world import World, world_of
from tests.support.gateway import running_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.gateway import RunningGateway

PRODUCTION = "https://gate.example.com"


@pytest.fixture(scope="module")
def usual() -> Iterator[World]:
    """A gateway as in production, except that it closes a refused connection without a delay of one second."""

    def change(manager: dict[str, Any]) -> None:
        manager["delayed_close_timeout"] = "0.05s"

    with world_of(issuer=PRODUCTION, local=False, change=change) as world:
        yield world


@pytest.fixture(scope="module")
def hasty() -> Iterator[World]:
    """The same with timeouts shorter than any setting allows, so that these tests do not take a minute."""

    def change(manager: dict[str, Any]) -> None:
        manager["request_headers_timeout"] = manager["request_timeout"] = "0.5s"

    with world_of(issuer=PRODUCTION, local=False, change=change) as world:
        yield world


@pytest.fixture(scope="module")
def strict() -> Iterator[World]:
    """The same with a limit of five requests at once and then one a minute for each address."""

    def change(manager: dict[str, Any]) -> None:
        _refill_every_minute(manager)

    with world_of(issuer=PRODUCTION, local=False, change=change, web_rate_per_address=1) as world:
        yield world


def _refill_every_minute(part: Any) -> None:
    """Make every token bucket in `part` refill slowly, so that the speed of this test makes no difference."""
    match part:
        case {"fill_interval": _}:
            part["fill_interval"] = "60s"
        case dict():
            _refill_every_minute(list(part.values()))
        case list():
            for each in part:
                _refill_every_minute(each)


@pytest.fixture(scope="module")
def whole() -> Iterator[RunningGateway]:
    """A gateway with the real authorization server."""
    with running_gateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def record() -> Iterator[Record]:
    """The record of the results."""
    record = Record(CASES)
    yield record
    if record.is_complete:
        record.write()


def test_case_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", [case for case in CASES if case.gate != "whole"], ids=lambda case: case.name)
def test_a_request_that_breaks_a_rule_is_refused_or_made_harmless(
    case: Case, request: pytest.FixtureRequest, record: Record
) -> None:
    world: World = request.getfixturevalue(case.gate)
    world.forget()
    back = case.request.send(world.gate.port, world.gate.host)
    reached = [f"{received.upstream} {received.target}" for received in world.received]
    assert str(back) in case.wanted, back.text
    assert reached == (list(case.reaches) if "200" in back.answers else [])
    for line in case.says:
        assert line.lower() in back.text.lower()
    for received in world.received:
        assert FORGED not in str(received.headers)
        # Every request that arrived at a service was checked for that service.
        if received.upstream != "oauth_web":
            assert received.upstream in {check.service for check in world.checks.asked}
            assert "authorization" not in received.headers
    record.saw(case, str(back), ", ".join(f"`{each}`" for each in dict.fromkeys(reached)) or "nothing")


@pytest.mark.parametrize("case", [case for case in CASES if case.gate == "whole"], ids=lambda case: case.name)
def test_the_authorization_server_refuses_a_request_that_breaks_a_rule(
    case: Case, whole: RunningGateway, record: Record
) -> None:
    place = urlsplit(whole.url)
    back = case.request.send(place.port or 80, place.netloc)
    assert str(back) in case.wanted, back.text
    assert FORGED not in back.text
    record.saw(case, str(back), "the authorization server")
