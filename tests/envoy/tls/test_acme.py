"""Certificates from an ACME authority: the first one, its renewal under load, and failures.

The tests that share a gateway run in the order of its life.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.envoy.tls.edge import HOST, TIME, Edge, edge
from tests.envoy.tls.pebble import IS_HERE, Pebble, pebble
from tests.support.ports import free_port
from tests.support.programs import PORTCULLIS, plain_environment, running, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.certificates import Authority

pytestmark = pytest.mark.skipif(not IS_HERE, reason="pebble is not on PATH: as root, apt-get install pebble")

_SERVICES = f"""
[[services]]
name = "time"
url = "https://{TIME}/mcp"
upstream = "http://127.0.0.1:1/mcp"
"""


@dataclass
class World:
    """An authority, a gateway's edge, and the process that obtains its certificate."""

    authority: Pebble
    edge: Edge
    folder: Path
    environment: dict[str, str]
    log: Path

    def events(self, name: str) -> list[dict[str, Any]]:
        """The logged events of this name."""
        lines = (line for line in self.log.read_text(encoding="utf-8").splitlines() if line.startswith("{"))
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def acme(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `portcullis acme ARGUMENTS`."""
        return subprocess.run(
            [*PORTCULLIS, "acme", *arguments], env=self.environment, capture_output=True, text=True, check=False
        )

    def serial(self) -> int | None:
        """The serial number of the certificate in use; `None` if callers do not trust it."""
        try:
            with self.edge.connect() as connection:
                return int(str((connection.getpeercert() or {})["serialNumber"]), 16)
        except ssl.SSLCertVerificationError:
            return None


@contextlib.contextmanager
def world(
    tmp_path: Path, authority: Authority, *, validity: int, folder: Path | None = None, asked_at: int | None = None
) -> Iterator[World]:
    """Start all programs. `asked_at` is the port for the authority's challenges, if it is not Envoy's."""
    folder, plain, answers = folder or tmp_path / "acme", free_port(), free_port()
    config = tmp_path / "portcullis.toml"
    config.write_text(f'issuer = "https://{HOST}"\n{_SERVICES}', encoding="utf-8")
    with pebble(tmp_path, authority, http_port=asked_at or plain, validity=validity) as ca:
        environment = plain_environment(
            PORTCULLIS_CONFIG=str(config),
            ACME_EMAIL="operator@example.com",
            ACME_DIRECTORY=ca.directory,
            ACME_CA_FILE=str(ca.ca_file),
            ACME_DIR=str(folder),
            ACME_LISTEN=f"127.0.0.1:{answers}",
            HTTP_REDIRECT_LISTEN=f"127.0.0.1:{plain}",
        )
        prepared = subprocess.run([*PORTCULLIS, "acme", "prepare"], env=environment, check=False)
        assert prepared.returncode == 0
        options: dict[str, Any] = {
            "acme_email": "operator@example.com",
            "acme_dir": folder,
            "acme_upstream": f"127.0.0.1:{answers}",
            "http_redirect_listen": (f"127.0.0.1:{plain}",),
        }
        with edge(ca.root, folder / "secret.json", **options) as gateway:
            log = tmp_path / "acme.log"
            seen = World(ca, gateway, folder, environment, log)
            assert seen.serial() is None, "there is a temporary certificate that no client trusts"
            with running(["acme", "run"], log, environment):
                yield seen


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 64 KiB where one can be mounted, otherwise an ordinary folder."""
    folder = tmp_path_factory.mktemp("disk")
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    )
    yield folder
    if mounting.returncode == 0:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def seen(disk: Path, tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[World]:
    """A gateway whose certificates are valid for twelve seconds."""
    with world(tmp_path_factory.mktemp("acme"), authority, validity=24, folder=disk / "acme") as made:
        until(lambda: made.serial() is not None, "a certificate that callers trust")
        yield made


def test_the_first_certificate_has_every_name_and_is_used_at_once(seen: World) -> None:
    with seen.edge.connect(host=TIME) as connection:
        shown_names = (connection.getpeercert() or {})["subjectAltName"]
    assert set(shown_names) == {("DNS", HOST), ("DNS", TIME)}
    assert seen.edge.ask("/").status == 200
    shown = seen.acme("status", "--json")
    assert json.loads(shown.stdout)["names"] == [HOST, TIME]


def test_only_the_owner_can_read_keys_and_no_log_contains_them(seen: World) -> None:
    for file in seen.folder.iterdir():
        assert file.stat().st_mode & 0o077 == 0, f"{file.name} is open to others"
    assert "PRIVATE KEY" not in seen.log.read_text(encoding="utf-8")


def test_only_one_process_manages_a_folder(seen: World) -> None:
    second = seen.acme("run")
    assert second.returncode == 1
    assert "another process" in second.stderr


def test_an_unknown_challenge_is_not_answered(seen: World) -> None:
    challenges = "/.well-known/acme-challenge"
    for path in (f"{challenges}/x", f"{challenges}/", f"{challenges}/%2e"):
        assert seen.edge.ask_plainly(path).status in {400, 404}
    assert seen.edge.ask(f"{challenges}/x").status == 404


@dataclass
class Load:
    """Callers that send requests without a pause, some on persistent connections and some on new ones."""

    edge: Edge
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    serials: set[str] = field(default_factory=set)
    _stopping: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send requests until the block ends."""
        threads = [threading.Thread(target=work) for work in (self._on_new_ones, self._on_one_kept)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _on_new_ones(self) -> None:
        while not self._stopping.is_set():
            try:
                with self.edge.connect() as connection:
                    self.serials.add(str((connection.getpeercert() or {})["serialNumber"]))
                    self._ask(connection)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))

    def _on_one_kept(self) -> None:
        try:
            with self.edge.connect() as connection:
                while not self._stopping.is_set():
                    self._ask(connection)
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))

    def _ask(self, connection: ssl.SSLSocket) -> None:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection, method="GET")
        answer.begin()
        body = answer.read()
        if answer.status == http.client.OK:
            self.answered += 1
        else:
            self.failures.append(f"{answer.status} {body[:60]!r}")


def test_renewals_under_load_fail_no_request(seen: World, record_property: Callable[[str, object], None]) -> None:
    load = Load(seen.edge)
    with load.running():
        until(lambda: len(load.serials) >= 3, "two renewals")
    assert load.failures == []
    assert load.answered > 0
    record_property("certificates", len(load.serials))
    record_property("requests", load.answered)


def test_a_full_disk_loses_nothing_and_renewal_resumes_afterwards(seen: World, disk: Path) -> None:
    if not disk.is_mount():
        pytest.skip("a small disk can only be mounted by root")
    before, failures = seen.serial(), len(seen.events("certificate.failed"))
    with contextlib.suppress(OSError), (disk / "filler").open("wb") as filler:
        while True:
            filler.write(b"x" * 1024)
            filler.flush()
    until(lambda: len(seen.events("certificate.failed")) > failures, "the disk is found full")
    assert "No space left" in seen.events("certificate.failed")[-1]["error"]
    assert seen.acme("status", "--json").stdout, "the stored state is complete"
    (disk / "filler").unlink()
    until(lambda: seen.serial() not in {before, None}, "a new certificate once there is room")


def test_without_the_authority_the_old_certificate_stays_and_the_failure_is_logged(seen: World) -> None:
    failures = len(seen.events("certificate.failed"))
    seen.authority.stop()
    until(lambda: len(seen.events("certificate.failed")) >= failures + 2, "it tries again and again")
    failure = seen.events("certificate.failed")[-1]
    assert failure["good_until"] > 0
    assert "connection" in failure["error"].lower()
    assert seen.acme("status").stdout.startswith(HOST)


def test_a_failed_challenge_is_logged_with_its_reason(tmp_path: Path, authority: Authority) -> None:
    with world(tmp_path, authority, validity=60, asked_at=free_port()) as seen:
        until(lambda: seen.events("certificate.failed"), "it fails")
        failure = seen.events("certificate.failed")[0]
        assert "could not verify" in failure["error"]
        assert HOST in failure["error"]
        assert failure["next_try_in"] >= 60, "authorities limit failed attempts"
        assert seen.serial() is None
        assert seen.edge.ask("/", context=_trusting_anybody(seen.edge)).status == 200
        shown = seen.acme("status")
        assert (shown.returncode, "no certificate" in shown.stderr) == (1, True)


def _trusting_anybody(gateway: Edge) -> ssl.SSLContext:
    context = gateway.context(check_hostname=False)
    context.verify_mode = ssl.CERT_NONE
    return context
