"""Whatever the check service promises holds on every transport: its tests again, on each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.service.ext_authz.test_service import *  # noqa: F403 - every test of it

if TYPE_CHECKING:
    from tests.support.authz_process import AuthzProcess


def test_the_service_under_test_speaks_the_transport_of_this_run(authz: AuthzProcess, transport: str) -> None:
    listening = next(event for event in authz.log() if event["event"] == "server.listening")
    ready = next(event for event in authz.log() if event["event"] == "worker.ready")
    assert listening["transport"] == transport
    mapped = Path(f"/proc/{ready['pid']}/maps").read_text(encoding="utf-8")
    assert ("cygrpc" in mapped) == (transport == "grpcio")
