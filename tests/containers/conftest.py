"""The stack of `compose.yaml` under a real Docker engine, started once; skipped where no engine answers."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest
from docker.errors import DockerException

from tests.containers import base_images
from tests.envoy.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docker import DockerClient
    from docker.models.containers import Container

ROOT = Path(__file__).parents[2]
SECRETS = ("master_key", "redis_password", "redis_check_password", "github_client_secret")
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

    def containers(self) -> dict[str, Container]:
        """Every container of the stack, ended ones too."""
        label = f"com.docker.compose.project={self.project}"
        found = self.client.containers.list(all=True, filters={"label": label})
        return {container.labels["com.docker.compose.service"]: container for container in found}

    def address(self, service: str, network: str) -> str:
        """The IP address of a service on one of its networks."""
        networks: dict[str, Any] = self.containers()[service].attrs["NetworkSettings"]["Networks"]
        return str(networks[f"{self.project}_{network}"]["IPAddress"])

    def run_on(self, network: str, script: str) -> str:
        """Run a Python script in a container of its own on a network; return what it printed."""
        output: bytes = self.client.containers.run(
            self.gateway_image, ["python3", "-c", script], network=f"{self.project}_{network}", remove=True
        )
        return output.decode().strip()


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    _require_a_socket()
    try:
        client = docker.from_env(timeout=_START_SECONDS)
    except DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    with contextlib.closing(client):
        yield client


def _require_a_socket() -> None:
    """Knock before the library does: it leaves its socket open when nobody answers."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(host.removeprefix("unix://"))
        except OSError as error:
            pytest.skip(f"no Docker engine answers at {host}: {error.strerror or error}")


@pytest.fixture(scope="session")
def stack(engine: DockerClient) -> Iterator[Stack]:
    compose = _compose()
    project = f"portcullis-test-{secrets.token_hex(4)}"
    issuer = f"http://localhost:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="portcullis-secrets-") as folder:
        values = {name: secrets.token_urlsafe(24) for name in SECRETS}
        values["master_key"] = secrets.token_urlsafe(32) + "="
        for name, value in values.items():
            file = Path(folder, name)
            file.write_text(value, encoding="utf-8")
            file.chmod(0o444)  # read by other users inside the containers; the folder keeps everybody else out
        environ = {
            **os.environ,
            **_images(engine),
            "SERVICES_IMAGE": "portcullis-test/services:local",
            "GATEWAY_IMAGE": "portcullis-test/gateway:local",
            "SECRETS_DIR": folder,
            "ISSUER": issuer,
            "PUBLISH": issuer.removeprefix("http://").replace("localhost", "127.0.0.1"),
            "GITHUB_URL": f"{issuer}/_github",
        }

        def call(*arguments: str, seconds: float) -> None:
            command = [*compose, "--project-name", project, *arguments]
            subprocess.run(command, check=True, cwd=ROOT, env=environ, timeout=seconds, stdout=sys.stderr)

        call("build", seconds=_BUILD_SECONDS)
        try:
            call("up", "--detach", seconds=_START_SECONDS)
            yield Stack(engine, project, issuer, environ["GATEWAY_IMAGE"], values)
        finally:
            call("down", "--volumes", "--timeout", "5", seconds=_START_SECONDS)


def _compose() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("neither `docker compose` nor `docker-compose` is here")


def _images(engine: DockerClient) -> dict[str, str]:
    """The operator's choice, or the official images, or ones made here where no registry is reached."""
    if "PYTHON_IMAGE" in os.environ:
        return {}
    try:
        for image in _OFFICIAL:
            if not base_images.is_there(engine, image):
                engine.images.pull(image)
    except DockerException as error:
        if reason := base_images.missing_means():
            pytest.skip(f"the official base images cannot be pulled ({error}), and {reason}")
    else:
        return {}
    base_images.make(engine)
    return base_images.CHOICE | {"BUILD_NETWORK": "host", "PIP_CERT": str(base_images.CERTIFICATES)}
