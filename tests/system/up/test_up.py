"""`portcullis up`: the complete gateway, started as a person starts it, without replaced parts."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from oauth_core.process import private_files
from portcullis.audit.sealed_folder import SealedFolder
from portcullis.supervisor import operator_environment
from tests.support.alerts import SECRET, Receiver, receiving
from tests.support.gateway import WHOAMI_ALONE
from tests.support.metrics import read_samples, value
from tests.support.ports import free_port
from tests.support.processes import alive, children_of, command_line
from tests.support.programs import PORTCULLIS, plain_environment, running, until
from tests.support.redis_server import running_redis
from tests.support.supervised import CONFIG, Gateway, gateway

if TYPE_CHECKING:
    from collections.abc import Iterator


METERED = {"server": "authorization server", "check": "check service", "audit": "sealer"}


@pytest.fixture(scope="module")
def metrics() -> dict[str, str]:
    """The metrics address of each program, by the table of its settings."""
    return {table: f"127.0.0.1:{free_port()}" for table in (*METERED, "sinks")}


@pytest.fixture(scope="module")
def sink() -> Iterator[Receiver]:
    """The webhook that gets the audit record."""
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def up(
    tmp_path_factory: pytest.TempPathFactory, metrics: dict[str, str], receiver: Receiver, sink: Receiver
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("up")
    tables = "".join(f'\n[{table}]\nmetrics_listen = "{metrics[table]}"\n' for table in METERED)
    tables = tables.replace("[audit]\n", f'[audit]\nsinks_metrics_listen = "{metrics["sinks"]}"\n')
    secret = private_files.write(folder / "webhook.secret", SECRET)
    tables += '\n[alerts]\ninterval = 1\n\n[[alerts.destinations]]\nname = "hook"\nkind = "webhook"\n'
    tables += f'url = "{receiver.url}"\nsecret_file = "{secret}"\n'
    # With a response the program for alerts does not start without the rights of an operator.
    tables += '\n[[detection.responses]]\nrule = "refresh_token_reuse"\naction = "revoke_grant"\n'
    tables += f'\n[[audit.sinks]]\nname = "siem"\nkind = "webhook"\nurl = "{sink.url}"\nsecret_file = "{secret}"\n'
    # With text of events, refusals show in the log too.
    with gateway(folder, CONFIG + tables, plain_environment(AUDIT_TEXT="true")) as running_gateway:
        yield running_gateway


def challenge(url: str) -> httpx2.Response | None:
    """The answer to a call without a token, if there is one."""
    try:
        return httpx2.post(url, json={}, timeout=60, trust_env=False)
    except httpx2.TransportError:
        return None


def refuses_strangers(up: Gateway) -> bool:
    return refuses_strangers_at(up, "time")


def refuses_strangers_at(up: Gateway, service: str) -> bool:
    answer = challenge(f"{up.issuer}/{service}/mcp")
    return answer is not None and answer.status_code == 401 and "WWW-Authenticate" in answer.headers


def the_doctor_is_content(up: Gateway) -> subprocess.CompletedProcess[str]:
    command = [*PORTCULLIS, "doctor", "--url", up.issuer, "--state-dir", str(up.state)]
    return subprocess.run(
        command, env=plain_environment(), capture_output=True, text=True, check=False, timeout=90
    )


def redis_as(up: Gateway, user: str, secret: str) -> Redis:
    password = (up.state / "secrets" / secret).read_text().strip()
    # The place of the socket depends on the length of the path of the state folder.
    url = operator_environment.read(up.state)["REDIS_URL"]
    return Redis.from_url(url, username=user, password=password)


def test_it_shows_progress_then_one_ready_line_then_the_next_commands(up: Gateway) -> None:
    before, _, after = up.output.partition("\nready ")
    assert [name for name in ("redis", "oauth_web", "ext_authz", "envoy") if f"  {name} " not in before] == []
    assert len(re.findall(r"^ready ", up.output, re.MULTILINE)) == 1
    url = f"{up.issuer}/time/mcp"
    assert f"claude mcp add --transport http time {url}\n" in after
    assert f"codex mcp add time --url {url}\n" in after
    assert f'''code --add-mcp '{{"name": "time", "type": "http", "url": "{url}"}}'\n''' in after
    assert "npx @modelcontextprotocol/inspector\n" in after


def test_it_reports_the_stand_in_and_the_people_who_may_sign_in(up: Gateway) -> None:
    assert "local stand-in" in up.output
    assert "every user of the stand-in may sign in" in up.output


def test_the_printed_curl_command_shows_the_401(up: Gateway) -> None:
    (line,) = re.findall(r"^  (curl .*)$", up.output, re.MULTILINE)
    shown = subprocess.run(["sh", "-c", f"{line} --silent"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("HTTP/1.1 401")
    assert "www-authenticate: bearer resource_metadata=" in shown.lower()


def test_a_real_client_signs_in_and_every_attack_is_refused(up: Gateway) -> None:
    result = the_doctor_is_content(up)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "a real MCP client signs in" in result.stdout


def test_every_program_has_metrics_and_they_report_that_events_are_sealed(
    up: Gateway, metrics: dict[str, str]
) -> None:
    assert refuses_strangers(up)

    def shown(table: str, name: str) -> float | None:
        found = read_samples(httpx2.get(f"http://{metrics[table]}/metrics", timeout=60, trust_env=False).text)
        return found.get((f"portcullis_{name}", ()))

    def has_checkpoint(table: str) -> bool:
        age = shown(table, "audit_checkpoint_age_seconds")
        return age is not None and age < float("inf")

    until(lambda: (shown("audit", "sealer_tree_entries") or 0) > 0, "a sealed event")
    for table, program in METERED.items():
        # The metrics of files may be missing while the machine is busy.
        until(partial(has_checkpoint, table), program)
    until(lambda: shown("server", "audit_available") == 1)
    until(lambda: shown("server", "audit_unsealed_events") == 0, "all events of the server to be sealed")


def test_forged_tokens_at_the_gateway_cause_an_alert_at_the_webhook(up: Gateway, receiver: Receiver) -> None:
    forged = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6Im5vbmUifQ.eyJzdWIiOiIxIn0.AAAA"
    for _ in range(20):
        headers = {"Authorization": f"Bearer {forged}"}
        answer = httpx2.post(f"{up.issuer}/time/mcp", json={}, headers=headers, timeout=60, trust_env=False)
        assert answer.status_code == 401
    until(lambda: any(one.data["rule"] == "forged_tokens" for one in receiver.taken()), "the alert")
    alert = next(one.data for one in receiver.taken() if one.data["rule"] == "forged_tokens")
    assert alert["gateway"] == up.issuer
    assert alert["extent"] == ["portcullis audit search --source 127.0.0.0/24 --since -1d"]
    place = ["--config", str(up.state.parent / "portcullis.toml"), "--audit-dir", str(up.state / "audit")]
    command = [*PORTCULLIS, "alerts", "list", "--json", *place]
    shown = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, check=True)
    assert alert["id"] in {one["id"] for one in json.loads(shown.stdout)["alerts"]}


def test_a_sink_of_the_settings_gets_the_record_and_can_prove_that_it_is_complete(
    up: Gateway, sink: Receiver, metrics: dict[str, str]
) -> None:
    export = up.state.parent / "received.jsonl"
    key = str(up.state / "audit_seal.pub")

    def is_proven() -> bool:
        export.write_bytes(b"\n".join(request.body for request in sink.taken()))
        command = [*PORTCULLIS, "audit", "verify-received", str(export), "--key", key, "--json"]
        shown = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, check=False)
        found = json.loads(shown.stdout)
        # A checkpoint comes once a minute: the newest events wait for it.
        return bool(found["complete"]) and found["events"] + found["unproven"] > 0

    assert refuses_strangers(up)
    until(is_proven, "the record with a checkpoint")
    place = ["--config", str(up.state.parent / "portcullis.toml"), "--audit-dir", str(up.state / "audit")]
    command = [*PORTCULLIS, "audit", "sinks", *place]
    shown = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("siem (webhook, http://127.0.0.1:")

    def has_everything() -> bool:
        page = read_samples(httpx2.get(f"http://{metrics['sinks']}/metrics", timeout=60).text)
        return (
            value(page, "portcullis_sink_records_total", sink="siem") > 0
            and value(page, "portcullis_sink_waiting_entries", sink="siem") == 0
        )

    until(has_everything, "a moment at which the sink has everything")


def test_no_secret_is_on_a_command_line_or_in_the_environment_of_another_program(up: Gateway) -> None:
    secrets = {file.name: file.read_text().strip() for file in (up.state / "secrets").iterdir()}
    assert {"master-key", "redis-password", "github-standin-secret"} <= secrets.keys()
    for pid in up.processes:
        environment = Path(f"/proc/{pid}/environ").read_text(errors="replace")
        for secret in secrets.values():
            assert secret not in command_line(pid)
            assert secret not in environment
        if "ext_authz" in command_line(pid):
            assert "MASTER_KEY" not in environment
            assert "GITHUB" not in environment
        if "portcullis alerts run" in command_line(pid):
            # It carries an automatic response out, as an operator would.
            assert "MASTER_KEY_FILE=" in environment
            assert "GITHUB" not in environment
        elif "oauth_web" not in command_line(pid):
            assert "MASTER_KEY" not in environment


def test_only_their_owner_can_read_secrets_and_sockets(up: Gateway) -> None:
    for folder in (up.state, up.state / "secrets", up.state / "run", up.state / "logs", up.state / "redis"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [*(up.state / "secrets").iterdir(), *(up.state / "run").glob("*.json"), *(up.state / "logs").iterdir()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_all_programs_listen_on_loopback_only(up: Gateway) -> None:
    owned = {os.readlink(fd) for pid in up.processes for fd in Path(f"/proc/{pid}/fd").iterdir()}  # noqa: PTH115
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as file:  # noqa: PTH123
            rows = [line.split() for line in file.readlines()[1:]]
        listening += [row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in owned]
    assert listening
    assert set(listening) <= {"0100007F", "00000000000000000000000001000000"}


def test_redis_requires_a_password_and_stores_every_write(up: Gateway) -> None:
    socket = str(up.state / "run/redis.sock")
    with Redis(unix_socket_path=socket) as nobody, pytest.raises(AuthenticationError):
        nobody.ping()
    with redis_as(up, "default", "redis-password") as operator:
        assert operator.config_get("appendonly") == {"appendonly": "yes"}
        assert operator.config_get("port") == {"port": "0"}


@pytest.mark.parametrize(
    "command",
    [
        "SET token:x 1",
        "DEL token:x",
        "GET keyring",
        "GET client:x",
        "KEYS *",
        "CONFIG GET *",
        "FLUSHALL",
        "ACL LIST",
    ],
)
def test_the_check_services_redis_user_can_only_read_what_it_needs(up: Gateway, command: str) -> None:
    with redis_as(up, "authz", "redis-password-authz") as redis:
        assert redis.exists("token:x") == 0
        with pytest.raises(NoPermissionError):
            redis.execute_command(*command.split())


@pytest.mark.parametrize(
    "command", ["FLUSHALL", "CONFIG GET *", "KEYS *", "SHUTDOWN", "ACL LIST", "MODULE LIST", "MONITOR"]
)
def test_the_authorization_servers_redis_user_has_no_administrative_rights(up: Gateway, command: str) -> None:
    with redis_as(up, "web", "redis-password-web") as redis, pytest.raises(NoPermissionError):
        redis.execute_command(*command.split())


@pytest.mark.parametrize(("user", "secret"), [("web", "redis-password-web"), ("default", "redis-password")])
def test_no_user_can_debug_redis(up: Gateway, user: str, secret: str) -> None:
    # Refused before rights are checked, so that the error is another one.
    with redis_as(up, user, secret) as redis, pytest.raises(ResponseError, match="DEBUG command not allowed"):
        redis.execute_command("DEBUG", "SLEEP", "0")


def test_an_oversized_log_is_rotated_and_no_refusal_is_lost(up: Gateway) -> None:
    log = up.state / "logs/ext_authz.log"
    before = log.stat().st_ino

    def refusals() -> int:
        pieces = (log, log.with_suffix(".log.1"))
        return sum(piece.read_text().count('"access.denied"') for piece in pieces if piece.exists())

    counted, sent = refusals(), 0
    with log.open("r+b") as file:
        file.truncate(103 * 1024 * 1024)  # a hole; programs append behind it

    def is_cut_while_calls_go_on() -> bool:
        nonlocal sent
        assert refuses_strangers(up)
        sent += 1
        return log.exists() and log.stat().st_ino != before

    until(is_cut_while_calls_go_on, "the log to be put aside", 60)
    assert refuses_strangers(up)
    until(lambda: refusals() == counted + sent + 1, "every refusal to be in one of the two files", 60)
    assert log.stat().st_size < 1024 * 1024
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize("what", ["valkey-server", "-m oauth_web", "-m ext_authz", "bin/envoy", "github-standin"])
def test_a_killed_child_is_reported_and_restarted(up: Gateway, what: str) -> None:
    # A child itself, not a worker of one.
    (pid,) = [pid for pid in children_of(up.process.pid) if what in command_line(pid)]
    said = len(up.output)
    os.kill(pid, signal.SIGKILL)
    until(lambda: "ready again" in up.output[said:], f"{what} to come back")
    assert "killed by SIGKILL; starting again in" in up.output[said:]
    until(lambda: refuses_strangers(up), "the gateway to answer again")


def test_a_killed_sealer_is_restarted_while_calls_continue_and_seals_all_events(up: Gateway) -> None:
    sealed = SealedFolder(up.state / "audit")
    first = int(sealed.lock.read_text())
    os.kill(first, signal.SIGKILL)
    assert refuses_strangers(up)
    until(lambda: sealed.lock.read_text() not in {"", f"{first}\n"}, "another sealer")

    def report() -> dict[str, object]:
        command = [*PORTCULLIS, "audit", "verify", "--json", "--audit-dir", str(up.state / "audit")]
        shown = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, check=False)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        found: dict[str, object] = json.loads(shown.stdout)
        return found

    until(lambda: report()["unsealed"] == [], "everything to be sealed")
    assert "sealer" in up.output


def test_the_gateway_works_after_all_these_faults(up: Gateway) -> None:
    result = the_doctor_is_content(up)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_second_gateway_on_the_same_state_is_refused(up: Gateway, tmp_path: Path) -> None:
    log = tmp_path / "second.log"
    config = tmp_path / "portcullis.toml"
    config.write_text(WHOAMI_ALONE)
    with running(["up", "--config", str(config), "--state-dir", str(up.state), "--port", "0"], log) as second:
        assert second.wait(60) == 2
    assert log.read_text().startswith(f"portcullis: another `portcullis up` (process {up.process.pid}) uses")
    assert refuses_strangers(up)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_during_the_start_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    config, log = tmp_path / "portcullis.toml", tmp_path / "up.log"
    config.write_text(WHOAMI_ALONE)
    with running(["up", "--config", str(config), "--state-dir", f"{tmp_path}/s", "--port", "0"], log) as process:
        until(lambda: "oauth_web        starting" in log.read_text(), "the second stage")
        pids = Gateway(process, log, tmp_path / "s").processes
        process.send_signal(number)
        assert process.wait(60) == 0
    assert pids
    assert [pid for pid in pids if alive(pid)] == []


def test_sigterm_ends_every_process_even_detached_ones(tmp_path: Path) -> None:
    stray = "import os, time; os.fork() and exit(3); os.setsid(); time.sleep(601)"
    service = f"[[services]]\nname = 'stray'\ntransport = 'http'\ncommand = ['python', '-c', '{stray}']\n"
    config = f"{WHOAMI_ALONE}\n{service}"
    with gateway(tmp_path, config) as up:
        assert "service-stray    ended with exit code 3" in up.output
        pids = up.processes
        assert any("601" in command_line(pid) for pid in pids)
        up.process.terminate()
        assert up.process.wait(60) == 0
    assert [command_line(pid) for pid in pids if alive(pid)] == []
    assert not (up.state / "run").exists()
    assert up.output.endswith("Stopped.\n")


def test_a_killed_supervisor_leaves_no_child_and_the_next_one_reuses_its_secrets(tmp_path: Path) -> None:
    with gateway(tmp_path, WHOAMI_ALONE) as up:
        key = (up.state / "secrets/master-key").read_text()
        with redis_as(up, "default", "redis-password") as redis:
            redis.set("mine", "kept")
            # Redis may keep a write in its memory while the disk is slow; the next signal would lose it.
            assert redis.execute_command("WAITAOF", 1, 0, 60_000)[0] == 1
        pids = up.processes
        logged = {name: (up.state / f"logs/{name}.log").read_text() for name in ("oauth_web", "ext_authz")}
        assert all(logged.values())
        up.process.kill()
        up.process.wait()
        until(lambda: not [pid for pid in pids if alive(pid)], "every child to go")
    with gateway(tmp_path, WHOAMI_ALONE) as again:
        assert (again.state / "secrets/master-key").read_text() == key
        with redis_as(again, "default", "redis-password") as redis:
            assert redis.get("mine") == b"kept"
        # The earlier lines are still there, in the same file.
        for name in ("oauth_web", "ext_authz"):
            assert (again.state / f"logs/{name}.log").read_text().startswith(logged[name])


def test_a_long_state_path_and_an_external_redis_work(tmp_path: Path) -> None:
    state = tmp_path / ("long-" * 25)
    with running_redis(password="theirs") as redis:
        environment = plain_environment(
            REDIS_URL=redis.url(), REDIS_PASSWORD="theirs", ALLOWED_GITHUB_USERS="octocat"
        )
        with gateway(tmp_path, WHOAMI_ALONE, environment=environment, state=state) as up:
            assert not any("valkey-server" in command_line(pid) for pid in up.processes)
            assert "everybody" not in up.output
            assert redis.client().exists("keyring")
            assert not (state / "run").exists()


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b#c?d%41,é'\"$x"
    with gateway(folder, WHOAMI_ALONE, state=folder / "state") as up:
        assert refuses_strangers_at(up, "whoami")
        with redis_as(up, "default", "redis-password") as redis:
            assert redis.ping()
        listed = subprocess.run(
            [*PORTCULLIS, "keys", "--state-dir", str(up.state), "list"],
            env=plain_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert listed.returncode == 0, listed.stderr
        assert "ES256" in listed.stdout


def test_a_child_that_cannot_start_is_reported_with_its_last_lines_and_no_process_stays(tmp_path: Path) -> None:
    config, log = tmp_path / "portcullis.toml", tmp_path / "up.log"
    config.write_text(CONFIG)
    (tmp_path / "s/redis").mkdir(parents=True)
    (tmp_path / "s/redis/appendonly.aof").write_text("not what Redis wrote")
    with running(["up", "--config", str(config), "--state-dir", f"{tmp_path}/s", "--port", "0"], log) as process:
        assert process.wait(60) == 1
    said = log.read_text()
    assert "portcullis: redis did not start: ended with exit code 1" in said
    assert "Bad file format reading the append only file" in said
    assert "Traceback" not in said
    assert "\nready " not in said
    assert not (tmp_path / "s/run").exists()
