"""One gateway for all these tests, without a listener at its public address: each test starts an Envoy there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def gateway() -> Iterator[RunningGateway]:
    """The gateway without its public Envoy."""
    environ = {
        "ISSUER": f"http://localhost:{free_port()}",
        "ENVOY_LISTEN": f"127.0.0.1:{free_port()}",
    }
    with running_gateway(environ=environ) as gateway:
        yield gateway
