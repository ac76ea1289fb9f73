"""Every rule at the edge holds against what breaks it. A complete run writes `docs/generated/edge-rules.md`."""

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
    """A gateway as in production, but that it waits no second before it closes a connection it gave up."""

    def change(manager: dict[str, Any]) -> None:
        manager["delayed_close_timeout"] = "0.05s"

    with world_of(issuer=PRODUCTION, local=False, change=change) as world:
        yield world


@pytest.fixture(scope="module")
def hasty() -> Iterator[World]:
    """The same, with less patience than any setting gives it, so that nobody has to wait a minute here."""

    def change(manager: dict[str, Any]) -> None:
        manager["request_headers_timeout"] = manager["request_timeout"] = "0.5s"

    with world_of(issuer=PRODUCTION, local=False, change=change) as world:
        yield world


@pytest.fixture(scope="module")
def strict() -> Iterator[World]:
    """The same, where an address may ask five times at once and then once a minute."""

    def change(manager: dict[str, Any]) -> None:
        _refill_every_minute(manager)

    with world_of(issuer=PRODUCTION, local=False, change=change, web_rate_per_address=1) as world:
        yield world


def _refill_every_minute(part: Any) -> None:
    """Make every token bucket in `part` slow, so that how fast this test runs makes no difference."""
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
    """What came back."""
    record = Record(CASES)
    yield record
    if record.is_complete:
        record.write()


def test_no_two_cases_have_one_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", [case for case in CASES if case.gate != "whole"], ids=lambda case: case.name)
def test_it_is_refused_or_made_harmless(case: Case, request: pytest.FixtureRequest, record: Record) -> None:
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
        # Whatever arrived at a service was checked, with the path and for the service it arrived at.
        if received.upstream != "oauth_web":
            assert received.upstream in {check.service for check in world.checks.asked}
            assert "authorization" not in received.headers
    record.saw(case, str(back), ", ".join(f"`{each}`" for each in dict.fromkeys(reached)) or "nothing")


@pytest.mark.parametrize("case", [case for case in CASES if case.gate == "whole"], ids=lambda case: case.name)
def test_the_authorization_server_refuses_it(case: Case, whole: RunningGateway, record: Record) -> None:
    place = urlsplit(whole.url)
    back = case.request.send(place.port or 80, place.netloc)
    assert str(back) in case.wanted, back.text
    assert FORGED not in back.text
    record.saw(case, str(back), "the authorization server")
