"""Which versions of Envoy are accepted: `up` refuses an older one with a message before it starts a program."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from oauth_core.errors import SettingsError
from portcullis.programs.envoy import OLDEST, check_version, envoy_server
from tests.support.envoy import envoy_path
from tests.support.programs import PORTCULLIS, plain_environment
from tests.support.supervised import CONFIG

if TYPE_CHECKING:
    from pathlib import Path

OLDER = "version: dc2d3098ae5641555f15c71d5bb5ce0060a8015c/1.35.9/Clean/RELEASE/BoringSSL"


def a_program(folder: Path, says: str, code: int = 0) -> str:
    """A program that prints `says` for any arguments."""
    file = folder / "envoy"
    file.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    file.chmod(0o755)
    return str(file)


def test_the_envoy_of_these_tests_is_accepted() -> None:
    check_version(envoy_path())


@pytest.mark.parametrize("version", ["1.36.0", "1.36.2", "1.40.0-dev", "2.0.0"])
def test_newer_versions_are_accepted(tmp_path: Path, version: str) -> None:
    check_version(a_program(tmp_path, f"envoy  version: 0a1b/{version}/Clean/RELEASE/BoringSSL"))


@pytest.mark.parametrize("version", ["1.35.9", "1.9.0", "0.99.1"])
def test_an_older_version_is_refused_with_both_versions(tmp_path: Path, version: str) -> None:
    program = a_program(tmp_path, f"envoy  version: 0a1b/{version}/Clean/RELEASE/BoringSSL")
    with pytest.raises(SettingsError) as refusal:
        check_version(program)
    have, want = version.rpartition(".")[0], ".".join(map(str, OLDEST))
    assert refusal.value.faults == (f"{program} is Envoy {have}; Portcullis needs Envoy {want} or later",)


def test_a_program_that_is_not_envoy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not Envoy"):
        check_version(a_program(tmp_path, "hello"))
    with pytest.raises(SettingsError, match="No such file"):
        check_version(str(tmp_path / "nothing"))


def test_an_operator_can_name_another_program(tmp_path: Path) -> None:
    program = a_program(tmp_path, OLDER)
    assert envoy_server({"ENVOY_SERVER": program, "PATH": ""}) == program
    assert envoy_server({"PATH": str(tmp_path)}) == program
    for environ in ({"ENVOY_SERVER": str(tmp_path / "nothing")}, {"PATH": ""}):
        with pytest.raises(SettingsError):
            envoy_server(environ)


def test_up_refuses_an_older_envoy_before_it_starts_a_program(tmp_path: Path) -> None:
    program = a_program(tmp_path, OLDER)
    file = tmp_path / "portcullis.toml"
    file.write_text(CONFIG)
    state = tmp_path / "state"
    done = subprocess.run(
        [*PORTCULLIS, "up", "--config", str(file), "--state-dir", str(state), "--port", "0"],
        env=plain_environment(ENVOY_SERVER=program, PATH=os.environ["PATH"]),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.splitlines() == [
        f"portcullis: {program} is Envoy 1.35; Portcullis needs Envoy 1.36 or later"
    ]
    logs = state / "logs"
    assert not logs.exists() or list(logs.iterdir()) == []
