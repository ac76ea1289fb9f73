"""The metrics of a running sealer for Prometheus."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest

from oauth_core.audit_log.frames import FrameKind
from portcullis.audit.sealer_metrics import FAMILIES
from tests.support.audit_segments import event, write_segment
from tests.support.metrics import Samples, families, read_samples, value
from tests.support.ports import free_port
from tests.support.programs import PATIENCE, PORTCULLIS, client_of, plain_environment, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OTHER = "20261130T060001Z-00000002"


@pytest.fixture
def audit_dir(tmp_path: Path) -> Path:
    """An audit folder with a key beside it."""
    folder = tmp_path / "audit"
    folder.mkdir()
    subprocess.run(
        [*PORTCULLIS, "audit", "key", "--audit-dir", str(folder)],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
        env=plain_environment(),
    )
    return folder


@contextmanager
def sealing(audit_dir: Path, listen: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running sealer with its metrics at `listen`."""
    key = str(audit_dir.with_name("audit_seal.key"))
    arguments = ["audit", "seal", "--audit-dir", str(audit_dir), "--key-file", key]
    environment = plain_environment(AUDIT_METRICS_LISTEN=listen)
    with running(arguments, audit_dir.with_name("seal.log"), environment) as process:
        yield process


def samples(place: str) -> Samples:
    try:
        return read_samples(httpx2.get(f"http://{place}/metrics", timeout=60).text)
    except httpx2.TransportError:
        return {}


def test_the_metrics_report_the_work_and_the_lag_of_the_sealer(audit_dir: Path) -> None:
    write_segment(audit_dir, batches=[[event(1)], [event(2)]])  # four frames, with opening and closing
    place = f"127.0.0.1:{free_port()}"
    with sealing(audit_dir, place):

        def shows(name: str, wanted: float) -> bool:
            return value(samples(place), f"portcullis_{name}") == wanted

        until(lambda: shows("sealer_tree_entries", 4), "four entries")
        until(lambda: shows("sealer_entries_total", 4))
        until(lambda: value(samples(place), "portcullis_sealer_checkpoints_total") >= 1)
        until(lambda: value(samples(place), "portcullis_audit_free_bytes") > 0)
        assert value(samples(place), "portcullis_audit_checkpoint_age_seconds") < float("inf")
        assert shows("sealer_faults_total", 0)
        assert shows("sealer_failures_total", 0)
        kinds = families(httpx2.get(f"http://{place}/metrics", timeout=60).text)
        assert kinds.items() <= {family.name: family.kind for family in FAMILIES}.items()

        other = write_segment(audit_dir, "oauth_web", OTHER, [[event(3)]], closed=False)
        until(lambda: shows("sealer_tree_entries", 6))
        until(lambda: shows("sealer_unsealed_bytes", 0))
        with other.path.open("ab") as file:
            file.write(other.encoder.encode(FrameKind.EVENTS, [b"{}"])[:-7])
        until(lambda: value(samples(place), "portcullis_sealer_unsealed_bytes") > 0, "half a frame")
        with other.path.open("ab") as file:
            file.write(b"7 bytes and more, which are no end of that frame" * 10)
        until(lambda: value(samples(place), "portcullis_sealer_faults_total") > 0, "a fault")


def test_an_unwritable_folder_is_reported_as_failures(audit_dir: Path) -> None:
    place = f"127.0.0.1:{free_port()}"
    with sealing(audit_dir, place):
        until(lambda: value(samples(place), "portcullis_sealer_checkpoints_total") >= 1)
        (audit_dir / "sealed").rename(audit_dir / "away")
        (audit_dir / "sealed").write_text("no folder")
        write_segment(audit_dir, batches=[[event(1)]])
        until(lambda: value(samples(place), "portcullis_sealer_failures_total") > 0)
        (audit_dir / "sealed").unlink()
        (audit_dir / "away").rename(audit_dir / "sealed")
        until(lambda: value(samples(place), "portcullis_sealer_tree_entries") == 3)


def test_only_its_owner_can_open_the_socket_and_it_serves_only_metrics(audit_dir: Path) -> None:
    socket = audit_dir.with_name("metrics.sock")
    with sealing(audit_dir, f"unix:{socket}"):
        until(socket.exists)
        assert socket.stat().st_mode & 0o077 == 0
        with client_of(socket) as client:
            assert client.get("/metrics").status_code == 200
            assert client.get("/metrics/sum").status_code == 404
            assert client.post("/metrics").status_code == 404
    assert not socket.exists()


@pytest.mark.parametrize("listen", ["0.0.0.0:9104", "192.0.2.1:9104", "example.com:9104", "nonsense"])
def test_an_address_that_other_machines_could_reach_is_refused(audit_dir: Path, listen: str) -> None:
    with sealing(audit_dir, listen) as process:
        assert process.wait(PATIENCE) == 2
    assert "AUDIT_METRICS_LISTEN" in audit_dir.with_name("seal.log").read_text()


def test_a_port_in_use_is_refused(audit_dir: Path) -> None:
    place = f"127.0.0.1:{free_port()}"
    with sealing(audit_dir, place):
        until(lambda: samples(place))
        second = audit_dir.with_name("second")
        second.mkdir()
        (second / "audit").mkdir()
        (second / "audit_seal.key").write_bytes(audit_dir.with_name("audit_seal.key").read_bytes())
        with sealing(second / "audit", place) as process:
            assert process.wait(PATIENCE) == 2
        assert "cannot listen" in (second / "seal.log").read_text()
