"""Every test here that depends on the transport runs on each transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the test on both transports, unless it names the transport itself."""
    named = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "transport" in metafunc.fixturenames and "transport" not in named:
        metafunc.parametrize("transport", ["http2", "grpcio"], indirect=True)
