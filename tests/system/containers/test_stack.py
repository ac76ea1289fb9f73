"""The containers together: a client's complete way through them, and what each of them cannot reach or do."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.containers.stack import Stack

pytestmark = pytest.mark.timeout(2400)  # the first test waits for the images to be built

NETWORKS = {
    "envoy": {"edge", "programs", "service-time", "service-whoami"},
    "oauth_web": {"programs", "data"},
    "ext_authz": {"programs", "data"},
    "redis": {"data"},
    "sealer": {"seal"},
    "time": {"service-time"},
    "whoami": {"service-whoami"},
    "github-standin": {"programs"},
}
ENDS = {"config", "verification-key"}
"""Containers that prepare data and then exit."""
PORTS = {"oauth_web": 9000, "ext_authz": 9001, "redis": 6379, "time": 8000, "whoami": 8000, "github-standin": 9002}
SECRETS = {
    "envoy": set(),
    "oauth_web": {"redis_web_password", "master_key", "github_client_secret"},
    "ext_authz": {"redis_check_password"},
    "redis": {"redis_password", "redis_web_password", "redis_check_password"},
    "verification-key": {"master_key"},
    "sealer": set(),
    "time": set(),
    "whoami": set(),
    "github-standin": {"github_client_secret"},
}
_REACHED = """
import socket
from concurrent.futures import ThreadPoolExecutor
HELLO = b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
NOWHERE = "203.0.113.77"
def answer(host, port):
    # Every server says something to this, be it that it did not understand.
    said = b""
    try:
        with socket.create_connection((host, port), timeout=3) as connection:
            connection.sendall(HELLO)
            while len(said) < 33 and (more := connection.recv(33 - len(said))):
                said += more
    except OSError:
        pass
    return said
def is_reached(target):
    # There are networks whose gateway answers for any address whatever; so what nobody says is no answer.
    return answer(*target[1:]) not in (b"", answer(NOWHERE, target[2]))
targets = {targets!r}
with ThreadPoolExecutor(len(targets)) as pool:
    print(" ".join(target[0] for target, yes in zip(targets, pool.map(is_reached, targets)) if yes))
"""


def _places(stack: Stack) -> list[tuple[str, str, int]]:
    """Every listener behind Envoy: name, address, port."""
    return [(name, stack.address(name, n), port) for name, port in PORTS.items() for n in NETWORKS[name]]


def _reached_from(stack: Stack, network: str) -> set[str]:
    return set(stack.run_on(network, _REACHED.format(targets=_places(stack))).split())


def test_a_real_client_signs_in_and_calls_a_tool_and_every_attack_is_refused(stack: Stack) -> None:
    doctor = Path(sys.executable).with_name("portcullis")
    run = subprocess.run(
        [doctor, "doctor", "--url", stack.issuer, "--json"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    findings: list[dict[str, Any]] = json.loads(run.stdout)
    assert {finding["outcome"] for finding in findings} == {"ok", "untried"}, run.stdout
    # These two need the master key and Redis, which are not available outside the containers.
    untried = {finding["claim"] for finding in findings if finding["outcome"] == "untried"}
    assert untried == {
        "an expired token is refused",
        "Redis keeps records through a restart, and evicts none",
    }


def test_only_envoy_publishes_a_port_and_on_loopback_only(stack: Stack) -> None:
    published = {
        name: container.attrs["HostConfig"]["PortBindings"]
        for name, container in stack.containers().items()
        if container.attrs["HostConfig"]["PortBindings"] or container.attrs["HostConfig"]["PublishAllPorts"]
    }
    port = stack.issuer.rpartition(":")[2]
    assert published == {"envoy": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]}}


def test_every_container_is_on_its_own_networks_and_no_other(stack: Stack) -> None:
    containers = stack.containers()
    for name in ENDS:
        assert containers[name].attrs["HostConfig"]["NetworkMode"] == "none"
    seen = {
        name: {network.rpartition("_")[2] for network in container.attrs["NetworkSettings"]["Networks"]}
        for name, container in containers.items()
        if name not in ENDS
    }
    assert seen == NETWORKS


def test_no_program_behind_envoy_is_reachable_from_the_edge(stack: Stack) -> None:
    assert _reached_from(stack, "edge") == set()


@pytest.mark.parametrize("service", ["time", "whoami"])
def test_a_service_reaches_only_envoy(stack: Stack, service: str) -> None:
    """Neither another service, where it could forge an identity, nor the check, `oauth_web` or Redis."""
    envoy = [("envoy", stack.address("envoy", n), 8080) for n in NETWORKS["envoy"]]
    others = [place for place in _places(stack) if place[0] != service]
    script = _REACHED.format(targets=[*envoy, *others])
    assert set(stack.execute(service, "python3", "-c", script).split()) == {"envoy"}


@pytest.mark.parametrize("service", ["time", "whoami"])
def test_a_service_can_resolve_only_envoy_and_itself(stack: Stack, service: str) -> None:
    script = f"""
import socket
for name in {sorted(NETWORKS)!r}:
    try:
        socket.getaddrinfo(name, 80)
        print(name)
    except OSError:
        pass
"""
    assert set(stack.execute(service, "python3", "-c", script).split()) == {"envoy", service}


def test_redis_is_not_reachable_from_the_network_of_our_programs(stack: Stack) -> None:
    assert _reached_from(stack, "programs") == {"oauth_web", "ext_authz", "github-standin"}


def test_redis_is_reachable_from_the_data_network(stack: Stack) -> None:
    """This shows that the tests above can fail."""
    assert _reached_from(stack, "data") == {"redis", "oauth_web", "ext_authz"}


def test_the_host_reaches_only_envoy(stack: Stack) -> None:
    """The engine's own machine is a neighbour too: programs there must not find an unguarded listener."""
    inside = [("envoy within", stack.address("envoy", n), 8080) for n in NETWORKS["envoy"] - {"edge"}]
    front = ("envoy", stack.address("envoy", "edge"), 8080)
    script = _REACHED.format(targets=[*_places(stack), *inside, front])
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["envoy"]


@pytest.mark.parametrize(
    ("network", "internal"),
    [
        ("edge", False),
        ("programs", True),
        ("data", True),
        ("seal", True),
        ("service-time", True),
        ("service-whoami", True),
    ],
)
def test_the_engine_isolates_the_inner_networks(stack: Stack, network: str, internal: bool) -> None:
    assert stack.client.networks.get(f"{stack.project}_{network}").attrs["Internal"] is internal


def test_every_process_is_confined(stack: Stack) -> None:
    for name, container in stack.containers().items():
        host = container.attrs["HostConfig"]
        assert container.attrs["Config"]["User"].partition(":")[0] not in {"", "0", "root"}, name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert not host["Privileged"], name


def test_no_container_can_exhaust_the_machine(stack: Stack) -> None:
    for name, container in stack.containers().items():
        host = container.attrs["HostConfig"]
        assert 0 < host["Memory"] <= 1 << 30, name
        assert 0 < host["NanoCpus"] <= 1_000_000_000, name
        assert 0 < host["PidsLimit"] <= 512, name
        assert "max-size" in host["LogConfig"]["Config"], name


def test_every_lasting_program_has_a_health_check_and_is_healthy(stack: Stack) -> None:
    def states() -> dict[str, str]:
        containers = {name: c for name, c in stack.containers().items() if name not in ENDS}
        return {
            name: c.attrs["State"].get("Health", {}).get("Status", "unwatched") for name, c in containers.items()
        }

    _eventually(lambda: set(states().values()) == {"healthy"}, states)


def test_each_container_gets_only_the_secrets_that_it_needs(stack: Stack) -> None:
    for name, expected in SECRETS.items():
        mounts = stack.containers()[name].attrs["Mounts"]
        given = {mount["Destination"] for mount in mounts if mount["Destination"].startswith("/run/secrets/")}
        assert given == {f"/run/secrets/{secret}" for secret in expected}, name


def test_no_secret_is_in_an_environment_a_command_line_or_a_log(stack: Stack) -> None:
    for name, container in stack.containers().items():
        visible = json.dumps(container.attrs) + container.logs().decode()
        if container.status == "running":
            visible += json.dumps(container.top())
        found = [secret for secret, value in stack.secret_values.items() if value in visible]
        assert found == [], name


def test_the_check_services_user_of_redis_can_change_nothing(stack: Stack) -> None:
    script = """
import os, redis
password = open(os.environ["REDIS_PASSWORD_FILE"]).read().strip()
client = redis.Redis.from_url(os.environ["REDIS_URL"], password=password)
print(client.exists("token:x"), client.exists("signed-jwks"), client.get("isolated-services"))
for command in (
    ["SET", "token:x", "1"], ["DEL", "token:x"], ["DEL", "isolated-services"], ["GET", "keyring"], ["KEYS", "*"],
    ["CONFIG", "GET", "*"], ["ACL", "LIST"], ["FLUSHALL"],
):
    try:
        print("did", client.execute_command(*command))
    except redis.exceptions.NoPermissionError:
        print("refused")
"""
    output = stack.execute("ext_authz", "python3", "-c", script)
    assert output.splitlines() == ["0 1 None", *["refused"] * 8]


def test_an_operator_disables_a_service_from_inside_and_enables_it(stack: Stack) -> None:
    stack.execute("oauth_web", "portcullis", "services", "isolate", "whoami", "--reason", "Being repaired.")
    _eventually(lambda: _status(stack, "/whoami/mcp") == 503)
    assert _status(stack, "/time/mcp") == 401
    stack.execute("oauth_web", "portcullis", "services", "restore", "whoami")
    _eventually(lambda: _status(stack, "/whoami/mcp") == 401)


def test_one_record_has_the_events_of_all_programs_and_survives_the_recreation_of_containers(
    stack: Stack,
) -> None:
    assert _status(stack, "/time/mcp") == 401
    assert _status(stack, "/register", b'{"redirect_uris": ["http://127.0.0.1/back"]}') == 201
    stack.execute("oauth_web", "portcullis", "services", "isolate", "whoami")
    stack.execute("oauth_web", "portcullis", "services", "restore", "whoami")
    wanted = {"access.denied", "client.registered", "service.disabled", "service.enabled"}
    _eventually(lambda: wanted <= {event["event"] for event in _recorded(stack)}, lambda: _recorded(stack))
    before = {_place(event) for event in _recorded(stack)}
    assert {event["node"] for event in _recorded(stack)} == {"portcullis"}
    old = {name: container.id for name, container in stack.containers().items()}

    # A changed variable recreates these two, and `--force-recreate` all three.
    changed = ("oauth_web", "ext_authz", "sealer")
    stack.compose(
        "up", "--detach", "--force-recreate", "--no-deps", *changed, variables={"ALLOWED_GITHUB_USERS": "octocat"}
    )
    assert all(stack.containers()[name].id != old[name] for name in changed)
    stack.compose("restart", "envoy")
    _eventually(lambda: _is_serving(stack))
    assert before <= {_place(event) for event in _recorded(stack)}
    _eventually(lambda: len({event["boot"] for event in _recorded(stack) if event["writer"] == "oauth_web"}) > 1)
    stack.execute("sealer", "portcullis", "audit", "verify")
    # The operator's own container has all of the record and its key.
    stack.compose("run", "--rm", "-T", "audit", "portcullis", "audit", "verify")
    stack.compose("run", "--rm", "-T", "audit", "portcullis", "audit", "compact")


def test_only_the_sealer_can_read_its_key_and_it_cannot_change_events(stack: Stack) -> None:
    for name in ("oauth_web", "ext_authz"):
        assert stack.execute(name, "python3", "-c", _OPENED.format(path="audit-key/audit_seal.key", mode="r")) == (
            "FileNotFoundError\n"
        )
    assert stack.execute("sealer", "python3", "-c", _OPENED.format(path="audit/segments/x", mode="w")) == (
        "OSError\n"  # a read-only file system
    )


def test_no_program_can_change_the_events_of_another_one(stack: Stack) -> None:
    assert _status(stack, "/time/mcp") == 401
    _eventually(
        lambda: {"oauth_web", "ext_authz"} <= {event["writer"].partition(".")[0] for event in _recorded(stack)}
    )
    for name, other in (("oauth_web", "ext_authz"), ("ext_authz", "oauth_web")):
        listed = stack.execute(name, "python3", "-c", _FILES.format(writer=other))
        assert listed == "[]\n", f"{name} sees segments of {other}"
    assert stack.execute("sealer", "python3", "-c", _FILES.format(writer="oauth_web")) != "[]\n"


def test_alerts_are_made_of_the_record_of_all_programs_and_sent(stack: Stack) -> None:
    with stack.settings_file.open("a", encoding="utf-8") as file:
        file.write(
            '\n[alerts]\nlevel = "informational"\n[[alerts.destinations]]\nname = "here"\nkind = "webhook"\n'
            'url = "http://127.0.0.1:9/closed"\nsecret_file = "/etc/portcullis/alerts/secret"\n'
        )
    folder = stack.settings_file.parent / "alerts"
    folder.mkdir(mode=0o755)
    secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    (folder / "secret").write_text(secret, encoding="utf-8")
    (folder / "secret").chmod(0o444)
    stack.compose("--profile", "alerts", "up", "--detach", "alerts", variables={"ALERTS_DIR": str(folder)})
    try:

        def has_looked() -> bool:
            listed = json.loads(stack.execute("alerts", "portcullis", "alerts", "list", "--json"))
            return listed["last_look"] is not None and listed["fault"] is None

        _eventually(has_looked)
        output = stack.execute("alerts", "sh", "-c", "portcullis alerts test || true")
        assert "here (http://127.0.0.1): not taken: no answer (ConnectError)" in output
        assert stack.execute("alerts", "python3", "-c", _OPENED.format(path="audit/x", mode="w")) == "OSError\n"
        _eventually(lambda: stack.containers()["alerts"].attrs["State"]["Health"]["Status"] == "healthy")
        silence = ("silence", "forged_tokens", "--for", "1h", "--reason", "a test", "--json")
        made = json.loads(stack.execute("alerts", "portcullis", "alerts", *silence))
        listed = json.loads(stack.execute("alerts", "portcullis", "alerts", "list", "--json"))
        assert [one["id"] for one in listed["silences"]] == [made["id"]]
        stack.execute("alerts", "portcullis", "alerts", "unsilence", made["id"])
        _eventually(
            lambda: {"alert.silenced", "alert.silence_ended"} <= {one["event"] for one in _recorded(stack)}
        )
    finally:
        stack.compose("--profile", "alerts", "rm", "--force", "--stop", "alerts")


def test_the_record_is_sent_to_sinks_by_a_container_that_cannot_change_it(stack: Stack) -> None:
    with stack.settings_file.open("a", encoding="utf-8") as file:
        file.write(
            '\n[[audit.sinks]]\nname = "here"\nkind = "webhook"\nurl = "http://127.0.0.1:8000/hook"\n'
            'secret_file = "/etc/portcullis/sinks/secret"\n'
        )
    folder = stack.settings_file.parent / "sinks"
    folder.mkdir(mode=0o755)
    secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    key = stack.execute("sealer", "portcullis", "audit", "key")
    for name, text in (("secret", secret), ("audit_seal.pub", key)):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o444)
    stack.compose("--profile", "sinks", "up", "--detach", "sinks", variables={"SINKS_DIR": str(folder)})
    try:

        def sink() -> dict[str, Any]:
            shown = stack.execute("sinks", "sh", "-c", "portcullis audit sinks --json || true")
            (found,) = json.loads(shown)
            return dict(found)

        _eventually(lambda: "no answer (ConnectError)" in sink()["fault"])
        assert sink()["lag_entries"] > 0
        assert stack.execute("sinks", "python3", "-c", _OPENED.format(path="audit/x", mode="w")) == "OSError\n"
        _eventually(lambda: stack.containers()["sinks"].attrs["State"]["Health"]["Status"] == "healthy")
    finally:
        stack.compose("--profile", "sinks", "rm", "--force", "--stop", "sinks")


_FILES = """
from pathlib import Path
print([str(path) for path in Path("/var/lib/portcullis/audit/segments").glob("{writer}*/*/*")])
"""

_OPENED = """
try:
    open("/var/lib/portcullis/{path}", "{mode}")
    print("opened")
except OSError as error:
    print(type(error).__name__)
"""


def _recorded(stack: Stack) -> list[dict[str, Any]]:
    """The events of the record, as an operator reads them."""
    found = stack.execute("sealer", "portcullis", "audit", "search", "--json")
    return [json.loads(line) for line in found.splitlines() if line.startswith("{")]


def _place(event: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(event[name] for name in ("node", "writer", "boot", "sequence", "event"))


def _is_serving(stack: Stack) -> bool:
    """Whether Envoy reaches the programs."""
    try:
        return _status(stack, "/time/mcp") == 401 and _status(stack, "/register") == 400
    except OSError:
        return False


def test_both_programs_follow_the_mounted_settings_file(stack: Stack) -> None:
    text = stack.settings_file.read_text(encoding="utf-8")
    everything = '\n[roles.tester]\npermissions = ["*"]\neveryone = true\n'
    stack.settings_file.write_text(text + everything, encoding="utf-8")
    for name in ("oauth_web", "ext_authz"):
        _eventually(partial(_has_followed, stack, name))


def _has_followed(stack: Stack, name: str) -> bool:
    return b"policy.changed" in stack.containers()[name].logs()


def _status(stack: Stack, path: str, body: bytes = b"{}") -> int:
    with closing(http.client.HTTPConnection(stack.issuer.removeprefix("http://"), timeout=10)) as connection:
        connection.request("POST", path, body=body, headers={"Content-Type": "application/json"})
        return connection.getresponse().status


def _eventually(happens: Callable[[], bool], told: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + 120
    while not happens():
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)
