"""The generated messages match the definitions, and the check of that can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def check(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "protos" / "compile.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def copied(folder: Path) -> Path:
    shutil.copytree(ROOT / "protos", folder / "protos")
    shutil.copytree(ROOT / "ext_authz" / "generated", folder / "ext_authz" / "generated")
    return folder


def test_the_committed_messages_are_up_to_date() -> None:
    done = check(ROOT)
    assert done.returncode == 0, done.stderr


def test_a_changed_definition_is_reported_until_it_is_compiled(tmp_path: Path) -> None:
    root = copied(tmp_path)
    definition = root / "protos" / "envoy_ext_authz.proto"
    definition.write_text(definition.read_text().replace("string sni = 1", "string sni = 2"))
    assert check(root).returncode == 1
    subprocess.run([sys.executable, str(root / "protos" / "compile.py")], check=True)
    assert check(root).returncode == 0


def test_a_file_generated_from_a_removed_definition_is_reported(tmp_path: Path) -> None:
    root = copied(tmp_path)
    (root / "ext_authz" / "generated" / "gone_pb2.py").touch()
    done = check(root)
    assert done.returncode == 1
    assert "gone_pb2.py" in done.stderr
