"""The kernel's limit of connections of one address, with the commands of `docs/hostile.md`."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.system.hostile.table import PAGE

_PROGRAM = """
import socket
with socket.create_server(("0.0.0.0", 443), backlog=1000) as server:
    def opened(source, most):
        held = []
        for _ in range(most):
            try:
                held.append(socket.create_connection(("127.0.0.1", 443), 5, source_address=(source, 0)))
            except ConnectionError:
                break
        return held
    first, second = opened("127.0.0.2", 300), opened("127.0.0.3", 150)
    print(len(first), len(second))
"""


def _in_a_network_of_its_own(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-n", "sh", "-c", " && ".join(command)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_commands_of_the_page_limit_the_connections_of_one_address() -> None:
    if not (shutil.which("iptables") and shutil.which("unshare")):
        pytest.skip("there is no iptables")
    block = PAGE.read_text(encoding="utf-8").split("<!-- begin kernel -->")[1].split("<!-- end kernel -->")[0]
    (line,) = [line for line in block.splitlines() if line.startswith("iptables ")]
    ready = _in_a_network_of_its_own("ip link set lo up", line)
    if ready.returncode:
        pytest.skip(f"no separate network with this rule can be made here: {ready.stderr.strip()}")
    run = _in_a_network_of_its_own("ip link set lo up", line, f"{sys.executable} -c '{_PROGRAM}'")
    assert run.stdout.split() == ["200", "150"], run.stderr
