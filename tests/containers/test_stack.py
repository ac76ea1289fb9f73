"""The containers together: a client's whole way through them, and what each of them cannot reach or do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.containers.conftest import ROOT

if TYPE_CHECKING:
    from tests.containers.conftest import Stack

pytestmark = pytest.mark.timeout(2400)  # the first test waits for the images to be built

NETWORKS = {
    "envoy": {"edge", "service"},
    "oauth_web": {"service", "data"},
    "ext_authz": {"service", "data"},
    "redis": {"data"},
    "time": {"service"},
    "whoami": {"service"},
    "github-standin": {"service"},
}
PORTS = {"oauth_web": 9000, "ext_authz": 9001, "redis": 6379, "time": 8000, "whoami": 8000, "github-standin": 9002}
SECRETS = {
    "envoy": set(),
    "oauth_web": {"redis_password", "master_key", "github_client_secret"},
    "ext_authz": {"redis_check_password"},
    "redis": {"redis_password", "redis_check_password"},
    "time": set(),
    "whoami": set(),
    "github-standin": {"github_client_secret"},
}
_REACHED = """
import socket
reached = []
for name, host, port in {targets!r}:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        continue
    reached.append(name)
print(" ".join(reached))
"""


def _reached_from(stack: Stack, network: str) -> set[str]:
    targets = [(name, stack.address(name, n), port) for name, port in PORTS.items() for n in NETWORKS[name]]
    return set(stack.run_on(network, _REACHED.format(targets=targets)).split())


def test_a_real_client_signs_in_and_calls_a_tool_and_every_attack_is_refused(stack: Stack) -> None:
    doctor = Path(sys.executable).with_name("portcullis")
    run = subprocess.run(
        [doctor, "doctor", "--url", stack.issuer, "--json"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    findings: list[dict[str, Any]] = json.loads(run.stdout)
    assert {finding["outcome"] for finding in findings} == {"ok", "untried"}, run.stdout
    untried = [finding["claim"] for finding in findings if finding["outcome"] == "untried"]
    assert untried == ["an expired token is refused"], "only the master key could make such a token"


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
    assert containers["config"].attrs["HostConfig"]["NetworkMode"] == "none"
    seen = {
        name: {network.rpartition("_")[2] for network in container.attrs["NetworkSettings"]["Networks"]}
        for name, container in containers.items()
        if name != "config"
    }
    assert seen == NETWORKS


def test_nothing_behind_envoy_is_reached_from_the_edge(stack: Stack) -> None:
    assert _reached_from(stack, "edge") == set()


def test_redis_is_not_reached_from_the_network_of_the_services(stack: Stack) -> None:
    assert _reached_from(stack, "service") == set(PORTS) - {"redis"}


def test_redis_is_reached_from_the_data_network(stack: Stack) -> None:
    """So that the two tests above could have failed."""
    assert _reached_from(stack, "data") == {"redis", "oauth_web", "ext_authz"}


@pytest.mark.parametrize(("network", "internal"), [("edge", False), ("service", True), ("data", True)])
def test_the_engine_keeps_the_inner_networks_from_the_outside(stack: Stack, network: str, internal: bool) -> None:
    assert stack.client.networks.get(f"{stack.project}_{network}").attrs["Internal"] is internal


def test_every_process_is_confined(stack: Stack) -> None:
    for name, container in stack.containers().items():
        host = container.attrs["HostConfig"]
        assert container.attrs["Config"]["User"].partition(":")[0] not in {"", "0", "root"}, name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert not host["Privileged"], name


def test_each_container_is_given_the_secrets_it_needs_and_no_other(stack: Stack) -> None:
    for name, expected in SECRETS.items():
        mounts = stack.containers()[name].attrs["Mounts"]
        given = {mount["Destination"] for mount in mounts if mount["Destination"].startswith("/run/secrets/")}
        assert given == {f"/run/secrets/{secret}" for secret in expected}, name


def test_no_secret_stands_in_an_environment_a_command_line_or_a_log(stack: Stack) -> None:
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
print(client.exists("token:x"), client.exists("jwks"))
for command in (["SET", "token:x", "1"], ["DEL", "token:x"], ["GET", "keyring"], ["KEYS", "*"], ["FLUSHALL"]):
    try:
        print("did", client.execute_command(*command))
    except redis.exceptions.NoPermissionError:
        print("refused")
"""
    _, output = stack.containers()["ext_authz"].exec_run(["python3", "-c", script])
    assert isinstance(output, bytes)
    assert output.decode().splitlines() == ["0 1", *["refused"] * 5]
