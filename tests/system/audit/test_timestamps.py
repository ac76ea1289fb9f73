"""Time stamps of checkpoints by a real time-stamping authority (RFC 3161): asked for, kept, and verified."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from oauth_core.audit_log.checkpoints import open_checkpoint
from oauth_core.errors import SettingsError
from oauth_core.settings import SealSettings, load
from portcullis.audit.timestamps import LONGEST_ANSWER, Authorities, Stamping, TimestampError, Timestamps
from portcullis.commands.audit_seal import command as seal
from portcullis.commands.audit_verify import command as verify
from tests.support.audit_sealing import SealedWorld
from tests.support.audit_segments import event, write_segment
from tests.support.metrics import read_samples, value
from tests.support.programs import client_of, plain_environment, running, until
from tests.support.timestamp_authority import TimestampAuthority, answering

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

HOUR = 3600.0
SERVICES = 'issuer = "http://localhost:8080"\n[[services]]\nname = "time"\ncommand = ["mcp-server-time"]\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimestampAuthority]:
    with answering(TimestampAuthority(tmp_path_factory.mktemp("tsa") / "authority")) as found:
        yield found


@pytest.fixture
def authority(made: TimestampAuthority) -> TimestampAuthority:
    """An authority that answers as it should."""
    made.status, made.change, made.asked = 200, bytes, 0
    return made


@pytest.fixture
def world(tmp_path: Path) -> SealedWorld:
    """A sealed record with three entries."""
    made = SealedWorld(tmp_path)
    write_segment(made.audit_dir, batches=[[event(1)]])
    made.seal()
    return made


def stamping(world: SealedWorld, authority: TimestampAuthority, ca: Path | None = None) -> Stamping:
    authorities = Authorities.read(ca or authority.ca)
    kept = Timestamps.of(world.folder.root)
    return Stamping(authority.url, authorities, kept, HOUR, world.reports.append)


def verified(world: SealedWorld, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Verify the record; return the exit code and the report."""
    result = CliRunner().invoke(verify, ["--audit-dir", str(world.audit_dir), "--json", *arguments])
    return result.exit_code, json.loads(result.stdout)


def test_a_stamp_of_a_checkpoint_is_kept_and_other_programs_verify_it(
    world: SealedWorld, authority: TimestampAuthority
) -> None:
    note = world.published[-1]
    assert stamping(world, authority).send(note) is None
    kept = Timestamps.of(world.folder.root)
    (name,) = kept.names()
    assert kept.read(name).note == note
    path = kept.folder / name
    assert authority.verifies(path.with_suffix(".checkpoint"), path)


def test_verification_shows_the_times_that_stamps_prove(world: SealedWorld, authority: TimestampAuthority) -> None:
    asking = stamping(world, authority)
    assert asking.send(world.published[-1]) is None
    write_segment(world.audit_dir, "oauth_web", batches=[[event(2)]])
    world.seal(seconds=HOUR)
    assert asking.send(world.published[-1]) is None
    code, report = verified(world, "--timestamp-ca", str(authority.ca))
    assert (code, report["findings"]) == (0, [])
    assert "2 checkpoints" in report["stamped"][-1]
    assert "6 entries" in report["stamped"][-1]
    # The clock of the sealer in this test is that of another day.
    assert "the authority" in report["stamped"][0]


def test_without_authorities_verification_says_that_stamps_were_not_verified(
    world: SealedWorld, authority: TimestampAuthority
) -> None:
    stamping(world, authority).send(world.published[-1])
    code, report = verified(world)
    assert code == 0
    assert report["stamped"] == ["1 checkpoints, not verified: name authorities with --timestamp-ca"]


def test_a_stamp_of_another_authority_is_refused(
    world: SealedWorld, authority: TimestampAuthority, tmp_path: Path
) -> None:
    other = TimestampAuthority(tmp_path / "other")
    fault = stamping(world, authority, other.ca).send(world.published[-1])
    assert fault is not None
    assert "does not verify" in fault
    assert Timestamps.of(world.folder.root).names() == []
    assert stamping(world, authority).send(world.published[-1]) is None
    code, report = verified(world, "--timestamp-ca", str(other.ca))
    assert (code, [finding["word"] for finding in report["findings"]]) == (1, ["forged"])


def test_an_old_answer_is_refused_because_of_its_nonce(world: SealedWorld, authority: TimestampAuthority) -> None:
    asking = stamping(world, authority)
    note = world.published[-1]
    assert asking.send(note) is None
    kept = Timestamps.of(world.folder.root)
    old = kept.read(kept.names()[0]).answer
    authority.change = lambda _: old
    fault = asking.send(note)
    assert fault is not None
    assert "Nonce" in fault


def test_a_stamp_of_something_else_is_refused(world: SealedWorld, authority: TimestampAuthority) -> None:
    asking = stamping(world, authority)
    assert asking.send(world.published[-1]) is None
    kept = Timestamps.of(world.folder.root)
    answer = kept.read(kept.names()[0]).answer
    with pytest.raises(TimestampError, match="does not verify"):
        Authorities.read(authority.ca).verify(answer, "another note")


@pytest.mark.parametrize("cut", [0, 1, 40, 400, -1])
def test_an_answer_that_is_no_stamp_is_a_fault(
    world: SealedWorld, authority: TimestampAuthority, cut: int
) -> None:
    authority.change = lambda answer: answer[:cut]
    fault = stamping(world, authority).send(world.published[-1])
    assert fault is not None
    assert Timestamps.of(world.folder.root).names() == []


def test_an_endless_answer_and_another_status_are_faults(
    world: SealedWorld, authority: TimestampAuthority
) -> None:
    asking = stamping(world, authority)
    authority.change = lambda answer: answer + b"\0" * LONGEST_ANSWER
    assert "more than" in str(asking.send(world.published[-1]))
    authority.status, authority.change = 503, bytes
    assert asking.send(world.published[-1]) == "it answers 503"
    assert (asking.counts.stamps, asking.counts.failures) == (0, 2)


@pytest.mark.parametrize("place", [0, 7, 30, 60, 100, 200, 500, -300, -40, -1])
def test_an_altered_stamp_is_found(world: SealedWorld, authority: TimestampAuthority, place: int) -> None:
    """A byte of the answer that is not covered by the signature may differ; the proof then stays the same."""
    stamping(world, authority).send(world.published[-1])
    kept = Timestamps.of(world.folder.root)
    path = kept.folder / kept.names()[0]
    data = bytearray(path.read_bytes())
    data[place] ^= 0x55
    path.write_bytes(data)
    code, report = verified(world, "--timestamp-ca", str(authority.ca))
    assert code == 1 or authority.verifies(path.with_suffix(".checkpoint"), path)
    assert code == (1 if report["findings"] else 0)


def test_a_stamped_checkpoint_shows_a_rollback_and_a_missing_note_is_found(
    world: SealedWorld, authority: TimestampAuthority, tmp_path: Path
) -> None:
    shutil.copytree(world.folder.root, tmp_path / "before")
    write_segment(world.audit_dir, "oauth_web", batches=[[event(2)]])
    world.seal()
    stamping(world, authority).send(world.published[-1])
    copy = shutil.copytree(world.folder.root / "timestamps", tmp_path / "elsewhere")
    shutil.rmtree(world.folder.root)
    (tmp_path / "before").rename(world.folder.root)
    world.key.checkpoint.unlink()
    options = ("--timestamp-ca", str(authority.ca), "--timestamps", str(copy))
    code, report = verified(world, *options)
    assert code == 1
    assert "rolled back" in {finding["word"] for finding in report["findings"]}
    next(copy.glob("*.checkpoint")).unlink()
    _, report = verified(world, *options)
    assert "missing" in {finding["word"] for finding in report["findings"]}


def test_the_next_stamp_waits_for_the_interval_after_a_restart_too(
    world: SealedWorld, authority: TimestampAuthority
) -> None:
    assert stamping(world, authority).pause() <= 0
    signed = open_checkpoint(world.published[-1], world.signer.verifier)
    now = replace(signed, time=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"))
    first = stamping(world, authority)
    assert first.send(now.sign(world.signer)) is None
    assert first.pause() > 0
    assert HOUR >= stamping(world, authority).pause() > 0
    assert world.reports == []


def test_a_sealer_goes_on_while_the_authority_is_away_and_stamps_when_it_is_back(
    authority: TimestampAuthority, tmp_path: Path
) -> None:
    write_segment(tmp_path / "audit", batches=[[event(1)]])
    socket, log = tmp_path / "metrics.sock", tmp_path / "seal.log"
    authority.status = 503
    environment = plain_environment(
        AUDIT_TIMESTAMP_URL=authority.url,
        AUDIT_TIMESTAMP_CA_FILE=str(authority.ca),
        AUDIT_METRICS_LISTEN=f"unix:{socket}",
    )
    folder, key = tmp_path / "audit", tmp_path / "audit_seal.key"
    arguments = ["audit", "seal", "--make-key", "--audit-dir", str(folder), "--key-file", str(key)]

    def shown(name: str) -> float:
        with client_of(socket) as client:
            return value(read_samples(client.get("/metrics").text), f"portcullis_sealer_{name}")

    with running(arguments, log, environment):
        until(socket.exists)
        until(lambda: shown("timestamp_failures_total") > 0, "a failure")
        until(lambda: shown("tree_entries") == 3, "sealing")
        assert shown("timestamp_newest_seconds") == 0
        authority.status = 200
        until(lambda: shown("timestamps_total") == 1, "a stamp")
        assert shown("timestamp_newest_seconds") > 0
    said = log.read_text()
    assert "the time-stamping authority for checkpoints: it answers 503; trying again" in said
    assert "hush" not in said
    assert len(Timestamps.of(folder / "sealed").names()) == 1


# -- settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ('timestamp_url = "http://tsa.example/"\ntimestamp_ca_file = "ca.pem"', "https"),
        ('timestamp_url = "https://tsa.example/"', "timestamp_ca_file"),
        ("timestamp_minutes = 0", "timestamp_minutes"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, table: str, named: str) -> None:
    config = tmp_path / "portcullis.toml"
    config.write_text(f"{SERVICES}[audit]\n{table}\n", encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load(SealSettings, config, {})
    assert any(named in fault for fault in refused.value.faults)


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("AUDIT_KEEP_BYTES", "1000", "greater than or equal to 67108864"),
        ("AUDIT_KEEP_DAYS", "0", "greater than or equal to 1"),
        ("AUDIT_KEEP_DAYS", "99999", "less than or equal to 36500"),
        ("AUDIT_KEEP_DAYS", "soon", "valid integer"),
        ("AUDIT_CHECKPOINT_URL", "http://other.example/", "https"),
        ("AUDIT_TIMESTAMP_URL", "http://other.example/", "https"),
        ("AUDIT_TIMESTAMP_URL", "https://other.example/", "timestamp_ca_file"),
        ("AUDIT_TIMESTAMP_MINUTES", "0", "greater than or equal to 1"),
        ("AUDIT_METRICS_LISTEN", "0.0.0.0:9104", "AUDIT_METRICS_LISTEN"),
    ],
)
def test_variables_of_a_sealer_have_the_bounds_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, said: str
) -> None:
    monkeypatch.setenv(variable, text)
    (tmp_path / "audit").mkdir()
    place = ["--audit-dir", str(tmp_path / "audit"), "--key-file", str(tmp_path / "seal.key"), "--make-key"]
    result = CliRunner().invoke(seal, place)
    assert isinstance(result.exception, SettingsError)
    assert said in " ".join(result.exception.faults)


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(ValueError, match=name):
            Authorities.read(tmp_path / name)
