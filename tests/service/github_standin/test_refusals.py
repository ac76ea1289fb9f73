"""Conditions under which the stand-in does not start."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.programs import PORTCULLIS, plain_environment

if TYPE_CHECKING:
    from pathlib import Path

_APP = {"GITHUB_CLIENT_ID": "app", "GITHUB_CLIENT_SECRET": "secret"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (_APP | {"ISSUER": "https://auth.example.com"}, "loopback"),
        (_APP | {"ISSUER": "http://localhost.example.com"}, "loopback"),
        (_APP | {"ISSUER": "http://127.0.0.1@example.com"}, "loopback"),
        (_APP | {"ISSUER": "http://localhost:8080/"}, "trailing slash"),
        (_APP, "ISSUER is not set"),
        ({"ISSUER": "http://localhost:8080"}, "GITHUB_CLIENT_ID is not set"),
    ],
)
def test_it_does_not_start_for_a_public_issuer_or_without_settings(
    tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    command = [*PORTCULLIS, "github-standin", "--listen", f"unix:{tmp_path}/x.sock"]
    done = subprocess.run(
        command, env=plain_environment(**environment), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.sock").exists()
