"""The stack of the compose files, as the tests start and query it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from docker.errors import DockerException

from tests.support.project import ROOT
from tests.system.containers import base_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from docker import DockerClient
    from docker.models.containers import Container

    from tests.system.containers.engine import Engine

SECRETS = ("master_key", "redis_password", "redis_web_password", "redis_check_password", "github_client_secret")
_OFFICIAL = ("python:3.12-slim", "redis:8", "envoyproxy/envoy:v1.40.0")
_BUILD_SECONDS = 1500
_START_SECONDS = 300


@dataclass(frozen=True)
class Stack:
    """The running containers, by their names in `compose.yaml`."""

    client: DockerClient
    project: str
    issuer: str
    gateway_image: str
    secret_values: Mapping[str, str]
    settings_file: Path
    compose: Callable[..., None]
    """Calls compose with these arguments; `variables` are added to its environment."""

    def containers(self) -> dict[str, Container]:
        """Every container of the stack, ended ones too."""
        label = f"com.docker.compose.project={self.project}"
        found = self.client.containers.list(all=True, filters={"label": label})
        found = [container for container in found if container.labels.get("com.docker.compose.oneoff") != "True"]
        return {container.labels["com.docker.compose.service"]: container for container in found}

    def address(self, service: str, network: str) -> str:
        """The IP address of a service on one of its networks."""
        networks: dict[str, Any] = self.containers()[service].attrs["NetworkSettings"]["Networks"]
        return str(networks[f"{self.project}_{network}"]["IPAddress"])

    def run_on(self, network: str, script: str) -> str:
        """Run a Python script in a separate container on a network. Return its output."""
        output: bytes = self.client.containers.run(
            self.gateway_image, ["python3", "-c", script], network=f"{self.project}_{network}", remove=True
        )
        return output.decode().strip()

    def execute(self, service: str, *command: str) -> str:
        """Run a command inside the container of a service.

        Return its output. Raises an error if the command fails.
        """
        code, output = self.containers()[service].exec_run(list(command))
        assert isinstance(output, bytes)
        assert code == 0, output.decode()
        return output.decode()


@contextlib.contextmanager
def running_stack(
    engine: Engine, images: Mapping[str, str], folder: Path, *files: str, **variables: str
) -> Iterator[Stack]:
    """The stack of `compose.yaml` with `files` laid over it; secrets and settings are copies in `folder`."""
    project = f"portcullis-test-{secrets.token_hex(4)}"
    values = {name: secrets.token_urlsafe(24) for name in SECRETS}
    values["master_key"] = secrets.token_urlsafe(32) + "="
    for name, value in values.items():
        file = folder / name
        file.write_text(value, encoding="utf-8")
        file.chmod(0o444)  # read by other users inside the containers; the folder above excludes all others
    settings_file = folder / "settings" / "compose.toml"
    settings_file.parent.mkdir(mode=0o755)
    shutil.copyfile(ROOT / "compose.toml", settings_file)
    environ = {
        **os.environ,
        **images,
        "SECRETS_DIR": str(folder),
        "CONFIG_FILE": str(settings_file),
        **variables,
    }

    def call(*arguments: str, seconds: float = _START_SECONDS, variables: Mapping[str, str] | None = None) -> None:
        over = [part for file in ("compose.yaml", *files) for part in ("--file", file)]
        command = [*compose(), *over, "--project-name", project, *arguments]
        subprocess.run(
            command,
            check=True,
            cwd=ROOT,
            env=environ | dict(variables or {}),
            timeout=seconds,
            stdout=sys.stderr,
        )

    call("build", seconds=_BUILD_SECONDS)
    try:
        call("up", "--detach")
        yield Stack(
            engine.client, project, variables["ISSUER"], images["GATEWAY_IMAGE"], values, settings_file, call
        )
    finally:
        call("down", "--volumes", "--timeout", "5")


def compose() -> list[str]:
    """The command for compose on this machine."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("neither `docker compose` nor `docker-compose` is installed")


def images(engine: Engine) -> dict[str, str]:
    """The environment of compose, above all its images: chosen by an operator, official ones, or made here."""
    ours = {
        "DOCKER_HOST": engine.host,
        "SERVICES_IMAGE": "portcullis-test/services:local",
        "GATEWAY_IMAGE": "portcullis-test/gateway:local",
        # Our own engine has no bridge with a route for builds to the internet.
        **({"BUILD_NETWORK": "host"} if engine.is_ours else {}),
    }
    if "PYTHON_IMAGE" in os.environ:
        return ours
    # Once they are made here, they exist; an unreachable registry is not asked.
    if not all(base_images.is_there(engine.client, image) for image in base_images.CHOICE.values()):
        try:
            for image in _OFFICIAL:
                if not base_images.is_there(engine.client, image):
                    engine.client.images.pull(image)
        except DockerException as error:
            if reason := base_images.missing_means():
                pytest.skip(f"the official base images cannot be pulled ({error}), and {reason}")
        else:
            return ours
    base_images.make(engine.client)
    return {**ours, **base_images.CHOICE, "BUILD_NETWORK": "host", "PIP_CERT": str(base_images.CERTIFICATES)}
