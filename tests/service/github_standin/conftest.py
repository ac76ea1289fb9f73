"""One stand-in, started as the command line starts it, for all tests of its endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.github_standin.standin_client import CLIENT_ID, CLIENT_SECRET, ISSUER, StandinClient
from tests.support.programs import plain_environment, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandinClient]:
    folder = tmp_path_factory.mktemp("standin")
    environment = plain_environment(ISSUER=ISSUER, GITHUB_CLIENT_ID=CLIENT_ID, GITHUB_CLIENT_SECRET=CLIENT_SECRET)
    with (
        serving(["github-standin"], folder, environment, "/_github/healthz") as socket,
        StandinClient(socket) as client,
    ):
        yield client
