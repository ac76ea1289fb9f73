"""The doctor's verdict on the gateway that `make up` starts."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway


def test_everything_that_the_doctor_checks_holds(gateway: RunningGateway) -> None:
    state_dir = str(gateway.state_dir)
    doctor = subprocess.run(
        [sys.executable, "-m", "portcullis", "doctor", "--url", gateway.url, "--state-dir", state_dir],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    *lines, empty, verdict = doctor.stdout.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert empty == ""
    assert verdict == f"{len(lines)} of {len(lines)} hold."
    assert len(lines) >= 28
