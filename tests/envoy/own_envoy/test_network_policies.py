"""Which pod reaches which in a cluster with our network policies, evaluated as Kubernetes evaluates them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import pytest
import yaml

from tests.envoy.own_envoy.examples import Json, documents
from tests.support.project import ROOT

HERE = ROOT / "kubernetes"
PART_OF = {"app.kubernetes.io/part-of": "portcullis"}


@dataclass(frozen=True)
class Pod:
    """A pod with its labels, the labels of its namespace, and its address."""

    name: str
    namespace: str
    labels: tuple[tuple[str, str], ...]
    address: str
    namespace_labels: tuple[tuple[str, str], ...] = ()

    @property
    def around(self) -> dict[str, str]:
        """The labels of the pod's namespace. Kubernetes itself adds the name of the namespace."""
        return {"kubernetes.io/metadata.name": self.namespace, **dict(self.namespace_labels)}


def pod(name: str, namespace: str, address: str, around: dict[str, str] | None = None, **labels: str) -> Pod:
    found = {key.replace("__", "/").replace("_", "."): value for key, value in labels.items()}
    return Pod(name, namespace, tuple(found.items()), address, tuple((around or {}).items()))


def ours(name: str, address: str) -> Pod:
    labels = {"app.kubernetes.io/name": name, **PART_OF}
    return Pod(name, "portcullis", tuple(labels.items()), address)


GATEWAY = pod("gateway", "gateway", "10.0.0.1", {"portcullis.gateway": "true"})
WEB, CHECK = ours("oauth-web", "10.0.0.2"), ours("ext-authz", "10.0.0.3")
REDIS = pod("redis", "redis", "10.0.0.4", app="redis")
REPLICA = pod("replica", "redis", "10.0.0.5", app="redis")
TIME = pod("time", "mcp", "10.0.0.6", app="time")
NOTES = pod("notes", "mcp", "10.0.0.7", app="notes", portcullis_internet="true")
STRANGER = pod("stranger", "default", "10.0.0.8")
DNS = Pod("dns", "kube-system", (("k8s-app", "kube-dns"),), "10.0.0.9")
NODE_DNS = pod("node's DNS", "", "169.254.20.10")
INTERNET = pod("internet", "", "203.0.113.7")
METADATA = pod("the cloud's metadata", "", "169.254.169.254")
PODS = (GATEWAY, WEB, CHECK, REDIS, REPLICA, TIME, NOTES, STRANGER, DNS, NODE_DNS, INTERNET, METADATA)
PORTS = {WEB: 9000, CHECK: 9001, REDIS: 6379, REPLICA: 6379, TIME: 8000, NOTES: 8000, DNS: 53, NODE_DNS: 53}


def policies() -> list[Json]:
    """All policies, each with the namespace that its kustomization sets."""
    found = []
    for folder in ("base", "services", "redis"):
        kustomization = yaml.safe_load((HERE / folder / "kustomization.yaml").read_text(encoding="utf-8"))
        for policy in documents(HERE / folder / "network-policies.yaml"):
            policy["metadata"]["namespace"] = kustomization["namespace"]
            found.append(policy)
    return found


def matches(selector: Json, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "this test supports no other kind of selector"
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def is_peer(peer: Json, other: Pod, namespace: str) -> bool:
    if "ipBlock" in peer:
        address = ipaddress.ip_address(other.address)
        block = peer["ipBlock"]
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(excepted) for excepted in block.get("except", ())
        )
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        is_there = matches(peer["namespaceSelector"], other.around)
    else:
        is_there = other.namespace == namespace
    return is_there and matches(peer.get("podSelector", {}), dict(other.labels))


def allows(direction: str, subject: Pod, other: Pod, port: int) -> bool:
    """Whether the policies of `subject` let it communicate with `other` in one direction."""
    chosen: list[Any] = [
        policy
        for policy in policies()
        if policy["metadata"]["namespace"] == subject.namespace
        and direction in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"], dict(subject.labels))
    ]
    if not chosen:
        return True
    key, side = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    return any(
        any(is_peer(peer, other, subject.namespace) for peer in rule[side])
        and any(allowed["port"] == port for allowed in rule["ports"])
        for policy in chosen
        for rule in policy["spec"].get(key, ())
    )


def reaches(source: Pod, target: Pod, port: int | None = None) -> bool:
    port = port or PORTS.get(target, 443)
    return allows("Egress", source, target, port) and allows("Ingress", target, source, port)


@pytest.mark.parametrize("service", [TIME, NOTES], ids=lambda one: one.name)
def test_a_service_reaches_no_service_and_none_of_our_programs(service: Pod) -> None:
    reached = {target.name for target in PODS if target is not service and reaches(service, target)}
    assert reached == {"dns", "node's DNS"} | ({"internet"} if service is NOTES else set())
    for target in (TIME, NOTES, CHECK, WEB, REDIS, METADATA):
        assert not any(reaches(service, target, port) for port in (80, 443, 6379, 8000, 9000, 9001, 9102, 9103))


def test_only_the_named_pods_reach_our_programs_redis_and_the_services() -> None:
    reached = {
        target.name: {source.name for source in PODS if source is not target and reaches(source, target)}
        for target in (WEB, CHECK, REDIS, TIME, NOTES)
    }
    outside = {"internet", "the cloud's metadata", "node's DNS"}
    assert {name: sources - outside for name, sources in reached.items()} == {
        "oauth-web": {"gateway"},
        "ext-authz": {"gateway"},
        "redis": {"oauth-web", "ext-authz", "replica"},
        "time": {"gateway"},
        "notes": {"gateway"},
    }
    assert not any(sources & outside for sources in reached.values())


def test_our_programs_reach_only_what_they_need() -> None:
    for program in (WEB, CHECK):
        reached = {target.name for target in PODS if target is not program and reaches(program, target)}
        assert reached == {"dns", "node's DNS", "redis", "replica"} | ({"internet"} if program is WEB else set())


def test_without_the_policies_every_pod_reaches_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It proves that the tests above can fail."""
    monkeypatch.setitem(globals(), "policies", list)
    assert all(reaches(source, target) for source, target in permutations(PODS, 2))
