"""Compiles the definitions beside it into `ext_authz/generated`, or says with `--check` that this is overdue.

The result is committed, so that running the product needs no compiler. The gRPC stubs are left out: the service
registers its one method by name, and passes bytes to the decision itself.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.rpc import status_pb2
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
GENERATED = HERE.parent / "ext_authz" / "generated"
SUFFIXES = ("_pb2.py", "_pb2.pyi")

_BESIDE = re.compile(rb"^import (envoy_\w+_pb2) as ", re.MULTILINE)
"""An import of another definition. The compiler writes it as a module without a package."""


def compile_into(folder: Path) -> None:
    """Compile every definition into `folder`. Raises `SystemExit` when the compiler refuses one."""
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    googleapis = Path(status_pb2.__file__).parents[2]
    includes = (HERE, well_known, googleapis)
    status = protoc.main(
        [
            "protoc",
            *(f"--proto_path={include}" for include in includes),
            f"--python_out={folder}",
            f"--pyi_out={folder}",
            *sorted(path.name for path in HERE.glob("*.proto")),
        ]
    )
    if status:
        raise SystemExit(status)


def contents(folder: Path) -> dict[str, bytes]:
    """The generated files of `folder`, by name. Their imports of one another name the package."""
    return {
        path.name: _BESIDE.sub(rb"from ext_authz.generated import \1 as ", path.read_bytes())
        for path in folder.iterdir()
        if path.name.endswith(SUFFIXES)
    }


def main() -> int:
    """Compile; return 0, or 1 when `--check` finds that the committed files are not what the definitions say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the files are stale")
    check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory() as name:
        compile_into(Path(name))
        fresh = contents(Path(name))
    current = contents(GENERATED)
    if check:
        stale = sorted(name for name in fresh.keys() | current.keys() if fresh.get(name) != current.get(name))
        if stale:
            sys.stderr.write(f"stale: {' '.join(stale)}; run: make protos\n")
        return 1 if stale else 0
    for name in current.keys() - fresh.keys():
        (GENERATED / name).unlink()
    for name, content in fresh.items():
        (GENERATED / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
