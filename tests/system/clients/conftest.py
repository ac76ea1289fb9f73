"""The gateways for the clients, a person at a browser, and the record of the results of each client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway import WHOAMI_ALONE, RunningGateway, running_gateway
from tests.support.publisher import Publisher, running_publisher
from tests.system.clients import table
from tests.system.clients.kinds import Kind, selected
from tests.system.clients.lifetime import AGENT_LIFETIME, LIFETIME
from tests.system.clients.person import Person

if TYPE_CHECKING:
    from collections.abc import Iterator


_TWO_SERVICES = WHOAMI_ALONE + WHOAMI_ALONE.partition("[[services]]")[2].join(["\n[[services]]", ""]).replace(
    "whoami", "other"
)
"""Two services, so that a token of one can be used at the other."""

_GUARDED = WHOAMI_ALONE.partition("[[services]]")[2].replace("whoami", "guarded")
_RULES = """
[services.permissions]
tools = { "admin" = "mcp.guarded.admin" }
otherwise = "mcp.guarded.read"
"""
_SERVICES = f"{_TWO_SERVICES}\n[[services]]{_GUARDED}{_RULES}"
"""A third service has two permissions, so that one of its scopes is not sufficient."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these tests out unless they are named: they need Node and packages from npm."""
    here = Path(__file__).parent
    asked = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(here) for path in asked) else True


@pytest.fixture(scope="session")
def publisher() -> Iterator[Publisher]:
    """The server of the clients' metadata documents."""
    with running_publisher() as publisher:
        yield publisher


@pytest.fixture(scope="session")
def gateway(publisher: Publisher) -> Iterator[RunningGateway]:
    """A gateway like the one users start with, except that it may fetch documents from this machine."""
    environ = {
        "CLIENT_DOCUMENTS_CA_FILE": str(publisher.ca_file),
        "ALLOW_LOOPBACK_CLIENT_DOCUMENTS": "true",
    }
    with running_gateway(config=_SERVICES, environ=environ) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def short_lived() -> Iterator[RunningGateway]:
    """A gateway whose access tokens expire after seconds."""
    with running_gateway(config=WHOAMI_ALONE, environ=_expiring(LIFETIME)) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def short_lived_for_agents() -> Iterator[RunningGateway]:
    """A gateway whose access tokens expire after a minute."""
    with running_gateway(config=WHOAMI_ALONE, environ=_expiring(AGENT_LIFETIME)) as gateway:
        yield gateway


def _expiring(lifetime: int) -> dict[str, str]:
    return {"ACCESS_TOKEN_LIFETIME": str(lifetime), "ALLOW_SHORT_ACCESS_TOKENS": "true"}


@pytest.fixture(params=selected(), ids=lambda kind: kind.id)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each of the selected clients in turn."""
    assert isinstance(request.param, Kind)
    return request.param


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """A person at the browser that the client opens."""
    person = Person(tmp_path)
    person.move_in()
    return person


@pytest.fixture(scope="session")
def record() -> Iterator[table.Record]:
    """The record of the clients. It is written into `docs/generated/` at the end."""
    record = table.Record()
    yield record
    record.write()
