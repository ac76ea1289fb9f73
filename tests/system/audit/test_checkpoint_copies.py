"""Copies of checkpoints outside the audit folder: they arrive, even if the target was unreachable for a while."""

from __future__ import annotations

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from oauth_core.audit_log.checkpoints import open_checkpoint
from oauth_core.audit_log.signed_notes import VerifierKey
from oauth_core.errors import SettingsError
from oauth_core.settings import SealSettings, load
from portcullis.audit.copies import FileCopy, WebhookCopy
from portcullis.audit.sealed_folder import notes_in
from tests.support.audit_segments import event, write_segment
from tests.support.http_servers import serving
from tests.support.programs import plain_environment, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60.0
TIME = "2026-11-30T06:00:00.000000Z"


class Receiver:
    """A webhook. It answers with `status`, and keeps the body of each request with its answer."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}/checkpoints?secret=hush"
        self.status = 204
        self.received: list[tuple[int, str, str]] = []

    def notes(self, status: int = 204) -> list[str]:
        """The notes that got this answer."""
        return [note for answered, _, note in self.received if answered == status]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            note = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found.received.append((found.status, str(self.headers["Content-Type"]), note))
            self.send_response(found.status)
            if found.status == 302:
                self.send_header("Location", found.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(server)
    with serving(server):
        yield found


@contextmanager
def sending(url: str) -> Iterator[tuple[WebhookCopy, list[str]]]:
    """A webhook copy that retries soon, and its reports."""
    reports: list[str] = []
    copy = WebhookCopy(url, reports.append, first_wait=0.01, longest_wait=0.05)
    try:
        yield copy, reports
    finally:
        copy.stop(PATIENCE)


def test_a_sealer_sends_every_checkpoint_and_keeps_the_newest_in_a_file(
    receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    file, log = tmp_path / "elsewhere/checkpoint", tmp_path / "seal.log"
    key = tmp_path / "audit_seal.key"
    arguments = ["audit", "seal", "--audit-dir", str(tmp_path / "audit"), "--key-file", str(key)]
    with running([*arguments[:1], "key", *arguments[2:]], tmp_path / "key.log") as made:
        assert made.wait(PATIENCE) == 0
    verifier = VerifierKey.from_text(key.with_suffix(".pub").read_text(encoding="utf-8").strip())
    environment = plain_environment(AUDIT_CHECKPOINT_URL=receiver.url, AUDIT_CHECKPOINT_FILE=str(file))

    def sizes() -> list[int]:
        return [open_checkpoint(note, verifier).size for note in receiver.notes()]

    with running(arguments, log, environment):
        until(sizes, "the first checkpoint")
        write_segment(tmp_path / "audit", batches=[[event(1)]])
        until(lambda: sizes()[-1] == 3, "a checkpoint of all frames")
        until(lambda: open_checkpoint(file.read_text(encoding="utf-8"), verifier).size == 3, "the file")
    assert {kind for _, kind, _ in receiver.received} == {"text/plain; charset=utf-8"}
    assert log.read_text() == ""


@pytest.mark.parametrize("status", [302, 404, 503])
def test_a_note_that_a_webhook_refuses_is_sent_again_until_it_is_accepted(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with sending(receiver.url) as (copy, reports):
        copy.publish("one")
        until(lambda: len(receiver.notes(status)) > 2, "some attempts")
        receiver.status = 204
        until(receiver.notes, "success")
    assert receiver.notes() == ["one"]
    assert reports == [
        f"the webhook for checkpoints: it answers {status}; trying again",
        "checkpoints reach the webhook again",
    ]


def test_the_newest_checkpoint_replaces_waiting_ones(receiver: Receiver) -> None:
    receiver.status = 503
    with sending(receiver.url) as (copy, _):
        for number in range(50):
            copy.publish(f"note {number}")
        until(lambda: receiver.notes(503)[-1:] == ["note 49"], "an attempt with the newest")
        receiver.status = 204
        until(receiver.notes, "success")
    assert receiver.notes() == ["note 49"]


def test_an_unreachable_webhook_is_tried_again_and_no_report_shows_its_address(tmp_path: Path) -> None:
    with receiving() as gone:
        url = gone.url
    with sending(url) as (copy, reports):
        copy.publish("one")
        until(lambda: reports, "a report")
    assert len(reports) == 1
    assert "hush" not in reports[0]
    assert "127.0.0.1" not in reports[0]


def test_a_stop_sends_the_waiting_checkpoint(receiver: Receiver) -> None:
    with sending(receiver.url) as (copy, _):
        copy.publish("the last one")
    assert receiver.notes() == ["the last one"]


# -- files -----------------------------------------------------------------------------------------------------


def test_a_file_has_the_newest_checkpoint(tmp_path: Path) -> None:
    reports: list[str] = []
    copy = FileCopy(tmp_path / "checkpoint", reports.append)
    for note in ("one", "two"):
        copy.publish(note, TIME)
    assert (tmp_path / "checkpoint").read_text() == "two"
    assert reports == []


def test_a_folder_gets_a_checkpoint_for_each_minute_in_a_file_for_each_day(tmp_path: Path) -> None:
    copy = FileCopy(tmp_path, lambda _: None)
    for minute in ("06:00:00", "06:00:59", "06:01:00"):
        copy.publish(f"text {minute}\n\nsignature\n", f"2026-11-30T{minute}Z")
    copy.publish("text\n\nsignature\n", "2026-12-01T00:00:00Z")
    with (tmp_path / "2026-11-30.txt").open("rb") as file:
        texts = [note.splitlines()[0] for note in notes_in(file)]
    assert texts == ["text 06:00:00", "text 06:01:00"]
    assert (tmp_path / "2026-12-01.txt").exists()


def test_an_unavailable_place_is_reported_once_and_tried_again(tmp_path: Path) -> None:
    reports: list[str] = []
    path = tmp_path / "mount" / "checkpoint"
    copy = FileCopy(path, reports.append)
    for _ in range(3):
        copy.publish("one", TIME)
    assert len(reports) == 1
    path.parent.mkdir()
    copy.publish("two", TIME)
    assert path.read_text() == "two"


# -- settings --------------------------------------------------------------------------------------------------


SERVICES = 'issuer = "http://localhost:8080"\n[[services]]\nname = "time"\ncommand = ["mcp-server-time"]\n'


@pytest.mark.parametrize(
    "url", ["https://checkpoints.example/a?key=b", "http://127.0.0.1:8000/", "http://localhost/"]
)
def test_a_webhook_has_https_or_is_on_loopback(tmp_path: Path, url: str) -> None:
    settings = settings_of(tmp_path, f'[audit]\ncheckpoint_url = "{url}"\n')
    assert settings.audit_checkpoint_url == url


@pytest.mark.parametrize(
    "url", ["http://checkpoints.example/", "checkpoints.example", "ftp://localhost/", "https://"]
)
def test_another_webhook_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_of(tmp_path, f'[audit]\ncheckpoint_url = "{url}"\n')
    assert any("audit.checkpoint_url" in fault and "https" in fault for fault in refused.value.faults)


def settings_of(tmp_path: Path, table: str) -> SealSettings:
    config = tmp_path / "portcullis.toml"
    config.write_text(SERVICES + table, encoding="utf-8")
    return load(SealSettings, config, {})


def test_the_commands_find_folder_and_key_in_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "portcullis.toml"
    places = f'dir = "{tmp_path}/record"\nseal_key = "{tmp_path}/keys/seal.key"\nnode = "machine-7"\n'
    config.write_text(f"{SERVICES}[audit]\n{places}", encoding="utf-8")
    (tmp_path / "keys").mkdir()
    log = tmp_path / "key.log"
    with running(["audit", "key", "--config", str(config)], log) as made:
        assert made.wait(PATIENCE) == 0, log.read_text()
    assert log.read_text().startswith("machine-7/portcullis-audit+")
    assert (tmp_path / "keys/seal.pub").read_text() == log.read_text()
    assert (tmp_path / "record/sealed").is_dir()
