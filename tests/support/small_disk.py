"""A small disk for one test, to fill it."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """The folder of a disk of this size. Skips the test where no disk can be mounted."""
    with tempfile.TemporaryDirectory(prefix="disk-") as folder:
        options = f"size={megabytes}m"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "portcullis-test", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("mounting a small disk needs root")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Use all space of a disk with one file, and return it."""
    file = disk / "of-somebody-else"
    with file.open("ab", buffering=0) as writer:
        for size in (64 * 1024, 512):
            try:
                while True:
                    writer.write(b"x" * size)
            except OSError:
                continue
    return file
