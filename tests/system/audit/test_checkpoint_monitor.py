"""Nodes keep each other's checkpoints: a record that was rolled back or replaced shows on the others."""

from __future__ import annotations

import json
import shutil
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.audit_log.checkpoints import Checkpoint, open_checkpoint
from oauth_core.audit_log.consistency import Consistency, open_consistency
from oauth_core.audit_log.signed_notes import NoteError, VerifierKey
from oauth_core.errors import SettingsError
from oauth_core.settings import MonitorSettings, SealSettings, load
from portcullis.audit.checkpoint_monitor import LONGEST_MESSAGE, Conflict, Contradiction, Monitor
from portcullis.audit.monitoring import Monitoring
from portcullis.audit.sealed_folder import notes_in
from portcullis.audit.tree import TreeReader
from portcullis.commands import audit_monitor
from portcullis.commands.audit_verify import command as verify
from tests.support.audit_record import recorded
from tests.support.audit_sealing import START, SealedWorld
from tests.support.audit_segments import event, write_segment
from tests.support.certificates import Authority
from tests.support.http_servers import serving
from tests.support.metrics import read_samples
from tests.support.ports import free_port
from tests.support.programs import client_of, plain_environment, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SERVICES = 'issuer = "http://localhost:8080"\n[[services]]\nname = "time"\ncommand = ["mcp-server-time"]\n'
OTHER_BOOT = "20261130T060001Z-00000002"


@dataclass
class Watched:
    """A sealed record, and the monitor of another node that knows its key."""

    world: SealedWorld
    root: Path
    conflicts: list[Conflict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.again()

    def again(self) -> None:
        """Start the monitor again."""
        self.monitor = Monitor(
            self.root, [self.world.signer.verifier], self.conflicts.append, lambda: START.timestamp() + 600
        )

    @property
    def kept(self) -> Path:
        """The folder of the node."""
        return self.root / f"node-1-{self.world.signer.verifier.key_id.hex()}"

    def grow(self, number: int) -> str:
        """Record and seal more; return the checkpoint."""
        write_segment(self.world.audit_dir, f"ext_authz.{number}", batches=[[event(number)]])
        self.world.seal()
        return self.world.published[-1]

    def message(self, note: str, old: int, **changed: Any) -> bytes:
        """A checkpoint with the statement that its tree continues one of `old` entries."""
        checkpoint = open_checkpoint(note, self.world.signer.verifier)
        path = TreeReader(self.world.folder.root, checkpoint.size).consistency_path(old)
        statement = Consistency(checkpoint.origin, old, checkpoint.size, checkpoint.root, path)
        return f"{replace(statement, **changed).sign(self.world.signer)}\n{note}\n".encode()

    def take(self, note: str, old: int) -> tuple[int, str]:
        """Give the monitor a checkpoint; return its answer."""
        reply = self.monitor.take(self.message(note, old))
        return reply.status.value, reply.text

    def signed(self, checkpoint: Checkpoint) -> bytes:
        """A message with a checkpoint that no sealer made, signed by the key of the node."""
        statement = Consistency(checkpoint.origin, 0, checkpoint.size, checkpoint.root, ())
        signer = self.world.signer
        return f"{statement.sign(signer)}\n{checkpoint.sign(signer)}\n".encode()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    root = tmp_path / "monitor"
    root.mkdir()
    return Watched(SealedWorld(tmp_path / "node"), root)


def test_checkpoints_of_a_tree_that_grows_are_kept(watched: Watched) -> None:
    first = watched.grow(1)
    assert watched.take(first, 0) == (200, "")
    second = watched.grow(2)
    assert watched.take(second, 0) == (409, "3"), "the proof has to begin with the tree that is kept"
    assert watched.take(second, 3) == (200, "")
    assert (watched.kept / "checkpoint").read_text(encoding="utf-8") == second
    assert watched.conflicts == []
    (counts,) = watched.monitor.counts.values()
    assert (counts.taken, counts.size, counts.conflicts) == (2, 6, 0)


def test_a_quiet_node_shows_that_it_is_there(watched: Watched) -> None:
    assert watched.take(watched.grow(1), 0) == (200, "")
    watched.world.seal(seconds=60)
    assert watched.take(watched.world.published[-1], 3) == (200, "")
    (counts,) = watched.monitor.counts.values()
    assert counts.taken == 2


def test_an_old_checkpoint_that_is_sent_again_is_no_conflict(watched: Watched) -> None:
    old = watched.message(watched.grow(1), 0)
    assert watched.monitor.take(old).status == HTTPStatus.OK
    assert watched.take(watched.grow(2), 3) == (200, "")
    reply = watched.monitor.take(old)
    assert (reply.status, reply.text) == (HTTPStatus.CONFLICT, "6")
    assert watched.conflicts == []


def test_a_newer_checkpoint_of_a_smaller_tree_is_a_rollback(watched: Watched) -> None:
    small = watched.world.seal()
    assert watched.take(watched.grow(1), 0) == (200, "")
    watched.world.seconds += 10
    later = replace(small, time=(START + timedelta(seconds=60)).isoformat(timespec="microseconds")[:-6] + "Z")
    assert watched.monitor.take(watched.signed(later)).status == HTTPStatus.CONFLICT
    (conflict,) = watched.conflicts
    assert (conflict.node, conflict.kind, conflict.kept, conflict.got) == (
        "node-1",
        Contradiction.ROLLED_BACK,
        3,
        0,
    )
    assert later.sign(watched.world.signer) in (watched.kept / "conflicts.txt").read_text(encoding="utf-8")


def test_a_checkpoint_of_before_the_clock_went_back_is_no_rollback_when_others_send_it_again(
    watched: Watched,
) -> None:
    assert watched.take(watched.grow(1), 0) == (200, "")
    before = replace(watched.world.checkpoint(), time="2026-11-30T06:01:40.000000Z")
    assert watched.monitor.take(watched.signed(before)).status == HTTPStatus.OK
    assert watched.take(watched.grow(2), 3) == (200, ""), "the clock went back by more than a minute"
    assert watched.take(watched.grow(3), 6) == (200, "")
    watched.again()
    reply = watched.monitor.take(watched.signed(before))
    assert (reply.status, reply.text, watched.conflicts) == (HTTPStatus.CONFLICT, "9", [])
    assert watched.monitor.take(watched.signed(replace(before, time="2026-11-30T06:01:41Z"))).text == "9"
    assert [conflict.kind for conflict in watched.conflicts] == [Contradiction.ROLLED_BACK]


def test_a_node_that_signs_checkpoints_of_all_years_adds_one_a_minute_of_our_clock(watched: Watched) -> None:
    watched.grow(1)
    for year in range(1926, 2026):
        message = watched.signed(replace(watched.world.checkpoint(), time=f"{year}-11-30T06:00:00Z"))
        assert watched.monitor.take(message).status == HTTPStatus.OK
    (day,) = watched.kept.glob("*.txt")
    with day.open("rb") as file:
        assert len(list(notes_in(file))) == 1


def test_another_tree_of_the_same_size_is_a_fork(watched: Watched) -> None:
    assert watched.take(watched.grow(1), 0) == (200, "")
    other = replace(watched.world.checkpoint(), root=b"\1" * 32)
    assert watched.monitor.take(watched.signed(other)).status == HTTPStatus.CONFLICT
    assert [conflict.kind for conflict in watched.conflicts] == [Contradiction.FORKED]


def test_a_larger_tree_that_does_not_continue_the_kept_one_is_a_fork(watched: Watched, tmp_path: Path) -> None:
    before = shutil.copytree(tmp_path / "node", tmp_path / "before")
    assert watched.take(watched.grow(1), 0) == (200, "")
    shutil.rmtree(tmp_path / "node")
    before.rename(tmp_path / "node")
    watched.world = SealedWorld(tmp_path / "node")
    watched.grow(2)
    assert watched.take(watched.grow(3), 3) == (422, "3")
    assert [conflict.kind for conflict in watched.conflicts] == [Contradiction.FORKED]
    assert open_checkpoint((watched.kept / "checkpoint").read_text(), watched.world.signer.verifier).size == 3


def test_a_wrong_proof_that_the_node_has_not_signed_is_no_conflict(watched: Watched, tmp_path: Path) -> None:
    assert watched.take(watched.grow(1), 0) == (200, "")
    note = watched.grow(2)
    statement, checkpoint = watched.message(note, 3).decode().split("\n\n", 1)
    forged = statement.replace(statement.splitlines()[-1], "A" * 43 + "=") + "\n\n" + checkpoint
    assert watched.monitor.take(forged.encode()).status == HTTPStatus.FORBIDDEN
    assert (watched.conflicts, watched.monitor.refused) == ([], 1)
    assert watched.take(note, 3) == (200, "")


def test_a_checkpoint_of_another_key_is_refused(watched: Watched, tmp_path: Path) -> None:
    other = Watched(SealedWorld(tmp_path / "other"), tmp_path / "monitor")
    note = other.grow(1)
    assert watched.monitor.take(other.message(note, 0)).status == HTTPStatus.NOT_FOUND
    assert not watched.kept.exists()


def test_a_checkpoint_of_another_century_is_refused(watched: Watched) -> None:
    assert watched.take(watched.grow(1), 0) == (200, "")
    ahead = replace(watched.world.checkpoint(), time="2126-11-30T06:00:00Z")
    assert watched.monitor.take(watched.signed(ahead)).status == HTTPStatus.BAD_REQUEST
    impossible = replace(watched.world.checkpoint(), time="2026-02-31T06:00:00Z")
    assert watched.monitor.take(watched.signed(impossible)).status == HTTPStatus.FORBIDDEN
    assert watched.take(watched.grow(2), 3) == (200, "")


def test_a_restarted_monitor_remembers_and_an_altered_checkpoint_stops_it(watched: Watched) -> None:
    assert watched.take(watched.grow(1), 0) == (200, "")
    watched.again()
    (counts,) = watched.monitor.counts.values()
    assert (counts.size, counts.taken) == (3, 0)
    assert watched.take(watched.grow(2), 3) == (200, "")
    path = watched.kept / "checkpoint"
    path.write_text(path.read_text(encoding="utf-8").replace("\n6\n", "\n5\n"), encoding="utf-8")
    with pytest.raises(NoteError):
        watched.again()


def test_a_node_whose_folder_was_removed_begins_again(watched: Watched) -> None:
    assert watched.take(watched.grow(1), 0) == (200, "")
    shutil.rmtree(watched.kept)
    assert watched.take(watched.grow(2), 0) == (200, "")
    assert watched.conflicts == []


@given(st.binary(max_size=300))
def test_no_message_stops_the_monitor(tmp_path_factory: pytest.TempPathFactory, message: bytes) -> None:
    key = VerifierKey("node-1/portcullis-audit", b"\x9a" * 32)
    monitor = Monitor(tmp_path_factory.getbasetemp(), [key], lambda _: None)
    assert monitor.take(message).status in {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}


def test_a_statement_is_read_as_it_was_written(watched: Watched) -> None:
    signer = watched.world.signer
    statement = Consistency(signer.verifier.name, 3, 7, b"\2" * 32, (b"\3" * 32, b"\4" * 32))
    assert open_consistency(statement.sign(signer), signer.verifier) == statement
    with pytest.raises(NoteError):
        open_consistency(watched.world.seal().sign(signer), signer.verifier)


def test_verification_with_the_folder_of_a_monitor_shows_a_rollback(watched: Watched, tmp_path: Path) -> None:
    watched.grow(1)
    before = shutil.copytree(tmp_path / "node", tmp_path / "before")
    assert watched.take(watched.world.published[-1], 0) == (200, "")
    assert watched.take(watched.grow(2), 3) == (200, "")

    def words(audit_dir: Path) -> tuple[int, set[str]]:
        arguments = ["--audit-dir", str(audit_dir), "--checkpoint", str(watched.kept), "--json"]
        result = CliRunner().invoke(verify, arguments)
        return result.exit_code, {finding["word"] for finding in json.loads(result.stdout)["findings"]}

    assert words(watched.world.audit_dir) == (0, set())
    assert words(before / "audit") == (1, {"rolled back"})
    (tmp_path / "empty").mkdir()
    empty = ["--audit-dir", str(before / "audit"), "--checkpoint", str(tmp_path / "empty")]
    assert isinstance(CliRunner().invoke(verify, empty).exception, SettingsError)


# -- a monitor that was taken over -----------------------------------------------------------------------------


@contextmanager
def answering(answers: Sequence[tuple[int, str]]) -> Iterator[str]:
    """A monitor with these answers, and at the end the last one of them again; yields its address."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


def sent(watched: Watched, *answers: tuple[int, str]) -> tuple[str | None, int]:
    """Send the newest checkpoint; return the fault, and the number of conflicts that the sealer counts."""
    world = watched.world
    with answering(answers) as url:
        monitoring = Monitoring(url, None, world.key, world.folder)
        return monitoring.send(world.published[-1]), monitoring.counts.conflicts


@pytest.mark.parametrize("status", [409, 422])
def test_a_monitor_cannot_call_a_sound_record_rolled_back(watched: Watched, tmp_path: Path, status: int) -> None:
    old = watched.grow(1)
    watched.grow(2)
    larger = Checkpoint(watched.world.signer.verifier.name, 99, b"\1" * 32, "2026-11-30T06:00:00Z")
    foreign = SealedWorld(tmp_path / "other").signer
    for body in ("99\n", "", "99\nnonsense\n", f"99\n{larger.sign(foreign)}", f"99\n{old}", f"3\n{old}"):
        fault, conflicts = sent(watched, (status, body))
        assert fault is not None
        assert "CONFLICT" not in fault
        assert conflicts == 0, body


def test_a_monitor_that_has_a_newer_checkpoint_than_the_sent_one_shows_no_rollback(watched: Watched) -> None:
    older = watched.grow(1)
    newer = watched.grow(2)
    watched.world.published.append(older)
    fault, conflicts = sent(watched, (409, f"6\n{newer}"))
    assert (fault, conflicts) == ("its tree changes while it is asked", 0)


def test_a_monitor_that_shows_a_checkpoint_of_the_own_key_proves_a_conflict(watched: Watched) -> None:
    watched.grow(1)
    kept = watched.world.checkpoint()
    for other in (replace(kept, size=99), replace(kept, root=b"\1" * 32)):
        fault, conflicts = sent(watched, (409, f"{other.size}\n{other.sign(watched.world.signer)}"))
        assert fault is not None
        assert "CONFLICT" in fault
        assert conflicts == 1


# -- two nodes -------------------------------------------------------------------------------------------------


@dataclass
class Node:
    """One node with a sealer and a monitor."""

    root: Path
    port: int = field(default_factory=free_port)

    @cached_property
    def authority(self) -> Authority:
        """The authority of its certificate."""
        return Authority(self.root, "authority")

    def make(self) -> str:
        """Make its key; return the public half."""
        (self.root / "audit").mkdir(parents=True)
        named = plain_environment(AUDIT_NODE=self.root.name)
        with running(["audit", "key", *self.place], self.root / "key.log", named) as made:
            assert made.wait(60) == 0
        return (self.root / "audit_seal.pub").read_text(encoding="utf-8")

    @property
    def place(self) -> list[str]:
        return ["--audit-dir", str(self.root / "audit"), "--key-file", str(self.root / "audit_seal.key")]

    @contextmanager
    def sealing(self, other: Node) -> Iterator[None]:
        """A sealer that sends its checkpoints to `other`."""
        environment = plain_environment(
            AUDIT_MONITORS=f"https://127.0.0.1:{other.port}",
            AUDIT_MONITOR_CA_FILE=str(other.authority.cert),
            AUDIT_METRICS_LISTEN=f"unix:{self.root / 'seal.sock'}",
            AUDIT_NODE=self.root.name,
        )
        with running(["audit", "seal", *self.place], self.root / "seal.log", environment):
            yield

    @contextmanager
    def monitoring(self, keys: str, *, has_tls: bool = True) -> Iterator[None]:
        """A monitor that knows `keys`."""
        (self.root / "keys").write_text(f"# the other node\n{keys}", encoding="utf-8")
        config = self.root / "portcullis.toml"
        identity = self.authority.identity("monitor")
        tls = f'monitor_cert = "{identity.cert}"\nmonitor_cert_key = "{identity.key}"\n'
        config.write_text(
            f'{SERVICES}[audit]\ndir = "{self.root}/audit"\nnode = "{self.root.name}"\n'
            f'monitor_listen = "127.0.0.1:{self.port}"\nmonitor_keys = "{self.root}/keys"\n'
            f"{tls if has_tls else ''}"
            f'monitor_metrics_listen = "unix:{self.root}/monitor.sock"\n',
            encoding="utf-8",
        )
        with running(["audit", "monitor", "--config", str(config)], self.root / "monitor.log"):
            yield

    def shown(self, name: str, program: str = "monitor") -> float:
        """A metric of the monitor or the sealer; 0 before it answers."""
        path = self.root / ("seal.sock" if program == "sealer" else "monitor.sock")
        if not path.exists():
            return 0.0
        with client_of(path) as client:
            samples = read_samples(client.get("/metrics").text)
        return sum(value for (found, _), value in samples.items() if found == f"portcullis_{program}_{name}")


def test_a_node_that_was_rolled_back_is_found_by_the_other_one(tmp_path: Path) -> None:
    one, other = Node(tmp_path / "node-1"), Node(tmp_path / "node-2")
    keys = one.make(), other.make()
    write_segment(one.root / "audit", batches=[[event(1)]])
    with other.monitoring(keys[0]):
        with one.sealing(other):
            until(lambda: other.shown("tree_entries") == 3, "the first checkpoint")
        before = shutil.copytree(one.root, tmp_path / "before", ignore=shutil.ignore_patterns("*.sock"))
        write_segment(one.root / "audit", "oauth_web", OTHER_BOOT, batches=[[event(2)]])
        with one.sealing(other):
            until(lambda: other.shown("tree_entries") == 6, "a checkpoint of the tree that grew")
        assert (other.shown("conflicts_total"), other.shown("refused_total")) == (0, 0)

        shutil.rmtree(one.root)
        before.rename(one.root)
        with one.sealing(other):
            until(lambda: other.shown("conflicts_total") > 0, "a conflict")
            until(lambda: one.shown("monitor_conflicts_total", "sealer") > 0, "the same at the sealer")
    assert "CONFLICT: the record of node-1: it was rolled back" in (other.root / "monitor.log").read_text()
    assert "was rolled back" in (one.root / "seal.log").read_text()
    (kept,) = (other.root / "audit_monitor").glob("node-1-*")
    assert (kept / "conflicts.txt").exists()
    events = recorded(other.root / "audit", "monitor")
    (conflict,) = (found for found in events if found["event"] == "audit.checkpoint_conflict")
    assert conflict["outcome"] == "failure"
    assert "node-1/portcullis-audit+" in str(conflict["key"])
    arguments = ["--audit-dir", str(one.root / "audit"), "--checkpoint", str(kept), "--json"]
    report = json.loads(CliRunner().invoke(verify, arguments).stdout)
    assert "rolled back" in {finding["word"] for finding in report["findings"]}


def test_a_monitor_refuses_everything_else_and_ends_silent_connections(tmp_path: Path) -> None:
    node = Node(tmp_path / "node-1")
    with node.monitoring(node.make(), has_tls=False):
        until((node.root / "monitor.sock").exists, "the metrics")
        address = ("127.0.0.1", node.port)

        def answer(request: bytes) -> bytes:
            with socket.create_connection(address, timeout=60) as connection:
                connection.sendall(request)
                return connection.makefile("rb").readline()

        def listens() -> bool:
            try:
                socket.create_connection(address, timeout=60).close()
            except OSError:
                return False
            return True

        until(listens, "the door")
        assert b" 404 " in answer(b"GET /checkpoints HTTP/1.1\r\n\r\n")
        assert b" 404 " in answer(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert b" 411 " in answer(b"POST /checkpoints HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        twice = b"POST /checkpoints HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
        assert b" 411 " in answer(twice)
        large = f"POST /checkpoints HTTP/1.1\r\nContent-Length: {LONGEST_MESSAGE + 1}\r\n\r\n"
        assert b" 413 " in answer(large.encode())
        assert b" 400 " in answer(b"POST /checkpoints HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
        silent = [socket.create_connection(address, timeout=60) for _ in range(6)]
        try:
            # Four of one address may be open; the others are ended at once, and these after their time.
            assert all(_is_ended(connection) for connection in silent)
        finally:
            for connection in silent:
                connection.close()
        assert b" 400 " in answer(b"POST /checkpoints HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")


def _is_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


# -- settings --------------------------------------------------------------------------------------------------


def test_two_keys_with_one_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_monitor, "folder_of", lambda _: "node-1-00000000")  # a search for one takes hours
    one, other = (VerifierKey(f"node-1/{name}", b"\x9a" * 32).text for name in ("one", "other"))
    config = tmp_path / "portcullis.toml"
    config.write_text(
        f'{SERVICES}[audit]\nmonitor_listen = "127.0.0.1:9443"\nmonitor_keys = "{tmp_path}/keys"\n',
        encoding="utf-8",
    )

    def refusal(keys: str) -> str:
        (tmp_path / "keys").write_text(keys, encoding="utf-8")
        (tmp_path / "audit_monitor").write_text("no folder", encoding="utf-8")  # so that it never begins to listen
        arguments = ["--config", str(config)]
        error = (
            CliRunner(env={"AUDIT_DIR": str(tmp_path / "audit")})
            .invoke(audit_monitor.command, arguments)
            .exception
        )
        assert isinstance(error, SettingsError)
        return str(error)

    assert "two keys have the name and id node-1-00000000" in refusal(f"{one}\n{other}\n")
    assert "two keys" not in refusal(f"{one}\n{one}\n")


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ('monitor_listen = "127.0.0.1:9443"', "monitor_keys"),
        ('monitor_listen = "0.0.0.0:9443"\nmonitor_keys = "keys"', "monitor_cert"),
        ('monitor_listen = "nonsense"\nmonitor_keys = "keys"', "monitor_listen"),
        ('monitor_listen = "127.0.0.1:9443"\nmonitor_keys = "keys"\nmonitor_cert = "c"', "monitor_cert_key"),
        ('monitors = ["http://other.example:9443"]', "https"),
        ('monitor_metrics_listen = "0.0.0.0:9443"', "monitor_metrics_listen"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, table: str, named: str) -> None:
    config = tmp_path / "portcullis.toml"
    config.write_text(f"{SERVICES}[audit]\n{table}\n", encoding="utf-8")
    kind = SealSettings if "monitors" in table else MonitorSettings
    with pytest.raises(SettingsError) as refused:
        load(kind, config, {})
    assert any(named in fault for fault in refused.value.faults)
