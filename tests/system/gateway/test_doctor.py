"""The doctor's result for the gateway that `make up` starts."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway


def test_every_check_of_two_concurrent_doctors_passes(gateway: RunningGateway) -> None:
    """Each has a client of its own and deletes it. With identical registrations this could fail."""
    state_dir = str(gateway.state_dir)
    command = [sys.executable, "-m", "portcullis", "doctor", "--url", gateway.url, "--state-dir", state_dir]
    doctors = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for doctor in doctors:
        told, complaints = doctor.communicate(timeout=120)
        assert doctor.returncode == 0, told + complaints
        *lines, empty, verdict = told.splitlines()
        assert all(line.startswith("ok ") for line in lines)
        assert empty == ""
        assert verdict == f"{len(lines)} of {len(lines)} hold."
        assert len(lines) >= 28
