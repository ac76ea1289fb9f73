"""The stack of the compose files under a real Docker engine; skipped if there is none (see `engine.py`)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.ports import free_port
from tests.system.containers import engine as engines
from tests.system.containers.stack import compose, images, running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.containers.engine import Engine
    from tests.system.containers.stack import Stack


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    try:
        with engines.engine() as found:
            yield found
    except engines.NoEngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def chosen_images(engine: Engine) -> dict[str, str]:
    """The environment of compose: its images and its engine."""
    compose()
    return images(engine)


@pytest.fixture(scope="session")
def stack(engine: Engine, chosen_images: dict[str, str]) -> Iterator[Stack]:
    """`compose.yaml` unchanged."""
    issuer = f"http://localhost:{free_port()}"
    with (
        tempfile.TemporaryDirectory(prefix="portcullis-stack-") as name,
        running_stack(
            engine,
            chosen_images,
            Path(name),
            ISSUER=issuer,
            PUBLISH=issuer.removeprefix("http://").replace("localhost", "127.0.0.1"),
            GITHUB_URL=f"{issuer}/_github",
        ) as running,
    ):
        yield running
