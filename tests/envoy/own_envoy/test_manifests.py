"""The manifests: Kubernetes accepts every field, they confine our programs, and our programs accept the settings.

Kubernetes' own kinds are validated with its published schemas. The schemas of custom resources are not in this
repository: if `CRDS` names a folder of `CustomResourceDefinition` files, the examples are validated with them
too.
"""

from __future__ import annotations

import copy
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from kubernetes_validate.utils import ValidationError, validate

from oauth_core.settings import AlertSettings, AuthzSettings, SealSettings, SinkSettings, WebSettings, load
from portcullis.cli.alert_options import WRITER
from portcullis.sinks.cursors import Cursors
from tests.envoy.own_envoy.examples import ENVOY_GATEWAY, ISTIO, ROUTES, SETTINGS, Json, document, documents
from tests.support.envoy import envoy_path
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

KUBERNETES = ("1.27", "1.34")
"""The oldest version that the page supports, and a new one."""

BASE = ROOT / "kubernetes" / "base"
METRICS = ROOT / "kubernetes" / "metrics"
ALERTS = ROOT / "kubernetes" / "alerts"
SINKS = ROOT / "kubernetes" / "sinks"
SERVICES = ROOT / "kubernetes" / "services"
REDIS = ROOT / "kubernetes" / "redis"
PROGRAMS = ("oauth-web", "ext-authz")
SECRETS = {
    "oauth-web": {"redis-password", "master-key", "github-client-secret"},
    "ext-authz": {"redis-check-password", "jwks-verification-key", "session-key"},
}


PATCHES = (METRICS / "proxy.yaml", ALERTS / "containers.yaml", SINKS / "containers.yaml")


def _patched(program: str) -> Json:
    """The StatefulSet of a program with the changes from `metrics/`, `alerts/` and `sinks/`."""
    deployment = document(BASE / f"{program}.yaml", "StatefulSet", program)
    pod = deployment["spec"]["template"]["spec"]
    for path in PATCHES:
        patch = document(path, "StatefulSet", program)
        for name in ("containers", "volumes"):
            pod[name] = [*pod[name], *patch["spec"]["template"]["spec"][name]]
    return deployment


def _all() -> list[Json]:
    files = [
        *BASE.glob("*.yaml"),
        *METRICS.glob("*.yaml"),
        *ALERTS.glob("*.yaml"),
        *SINKS.glob("*.yaml"),
        *SERVICES.glob("*.yaml"),
        *REDIS.glob("*.yaml"),
        *ISTIO.glob("*.yaml"),
        *ENVOY_GATEWAY.glob("*.yaml"),
        ROUTES,
    ]
    found = [d for path in files if path not in PATCHES for d in documents(path) if "kind" in d]
    return [*(d for d in found if d["kind"] != "Kustomization"), *map(_patched, PROGRAMS)]


def _name(resource: Json) -> str:
    return f"{resource['kind']} {resource['metadata'].get('namespace', '')}/{resource['metadata']['name']}"


OURS = [d for d in _all() if "." not in d["apiVersion"] or ".k8s.io/" in d["apiVersion"]]
BUILT_IN = [d for d in OURS if not d["apiVersion"].startswith("gateway.networking")]
CUSTOM = [d for d in _all() if d not in BUILT_IN]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("resource", BUILT_IN, ids=_name)
def test_kubernetes_accepts_every_field(resource: Json, version: str) -> None:
    validate(resource, version, strict=True)


def test_a_field_that_an_old_kubernetes_lacks_is_detected() -> None:
    resource = document(BASE / "ext-authz.yaml", "StatefulSet", "ext-authz")
    resource["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = {"preStop": {"sleep": {"seconds": 10}}}
    validate(resource, KUBERNETES[1], strict=True)
    with pytest.raises(ValidationError):
        validate(resource, KUBERNETES[0], strict=True)


def test_the_page_creates_the_namespace_before_its_contents() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    commands = [line.strip() for line in page.splitlines() if line.strip().startswith("kubectl ")]
    assert commands[0] == "kubectl apply -f kubernetes/base/namespace.yaml"
    assert any("create secret" in command for command in commands[1:])


def test_a_field_that_kubernetes_lacks_is_detected() -> None:
    resource = document(BASE / "ext-authz.yaml", "StatefulSet", "ext-authz")
    resource["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(ValidationError):
        validate(resource, KUBERNETES[1], strict=True)


@pytest.mark.skipif("CRDS" not in os.environ, reason="CRDS names no folder of CustomResourceDefinition files")
@pytest.mark.parametrize("resource", CUSTOM, ids=_name)
def test_the_published_definition_has_every_field(resource: Json) -> None:
    group, _, version = resource["apiVersion"].partition("/")
    schemas = [
        served["schema"]["openAPIV3Schema"]
        for definition in _definitions()
        if (definition["spec"]["group"], definition["spec"]["names"]["kind"]) == (group, resource["kind"])
        for served in definition["spec"]["versions"]
        if served["name"] == version
    ]
    assert schemas, f"no definition of {resource['apiVersion']} {resource['kind']} in CRDS"
    (schema,) = schemas
    schema["properties"] |= dict.fromkeys(("apiVersion", "kind", "metadata"), True)
    jsonschema.Draft202012Validator(_closed(schema)).validate(resource)


@cache
def _definitions() -> list[Json]:
    files = Path(os.environ["CRDS"]).glob("*.yaml")
    found = [d for path in files for d in yaml.load_all(path.read_bytes(), yaml.CSafeLoader)]
    return [d for d in found if d["kind"] == "CustomResourceDefinition"]


def _closed(schema: Any) -> Any:
    """The schema as the API server interprets it: unnamed members are unknown."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    if (
        isinstance(schema.get("properties"), dict)
        and schema.get("type") == "object"
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        closed.setdefault("additionalProperties", False)
    return closed


def _pods() -> Iterator[tuple[str, Json]]:
    for program in PROGRAMS:
        yield program, _patched(program)["spec"]["template"]["spec"]


def _environment(container: Json) -> dict[str, str]:
    """The variables of a container in a pod with the name `pod-0`. A value from a Secret raises KeyError."""
    return {
        each["name"]: "pod-0"
        if each.get("valueFrom") == {"fieldRef": {"fieldPath": "metadata.name"}}
        else each["value"]
        for each in container["env"]
    }


def test_every_pod_meets_the_restricted_pod_security_standard() -> None:
    labels = document(BASE / "namespace.yaml", "Namespace", "portcullis")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in _pods():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}
            # Calls must not depend on the sealer, on alerts or on sinks.
            is_needed = container["name"] not in {"sealer", "alerts", "sinks"}
            assert ("readinessProbe" in container) == is_needed
            assert ("--stay" in container["command"]) != is_needed, "a pod with an ended container gets no calls"
        assert {"livenessProbe", "startupProbe", "lifecycle"} <= set(pod["containers"][0])


def test_the_probes_of_both_programs_differ_only_in_their_kind() -> None:
    probes = [
        {kind: dict(container[kind]) for kind in ("readinessProbe", "livenessProbe", "startupProbe")}
        for container in (pod["containers"][0] for _, pod in _pods())
    ]
    for each in probes:
        for probe in each.values():
            for question in ("httpGet", "grpc", "tcpSocket"):
                probe.pop(question, None)
    assert probes[0] == probes[1]


def test_secrets_are_files_and_each_program_has_only_its_own() -> None:
    for name, pod in _pods():
        container = pod["containers"][0]
        env = _environment(container)
        paths = {Path(value) for key, value in env.items() if key.endswith("_FILE")}
        (mount,) = (m["mountPath"] for m in container["volumeMounts"] if m["name"] == "secrets")
        assert {path.name for path in paths} == SECRETS[name]
        assert {str(path.parent) for path in paths} == {mount}
        assert [v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v] == [name, "alerts", "sinks"]
        for other in pod["containers"]:
            names = {mount["name"] for mount in other["volumeMounts"]}
            assert ("secrets" in names) == (other["name"] == name)
            assert ("alerts" in names) == (other["name"] == "alerts")
            assert ("sinks" in names) == (other["name"] == "sinks")
    assert not any(d["kind"] == "Secret" for d in _all()), "a manifest contains a secret"


def _container(pod: Json, name: str) -> Json:
    found: Json
    (found,) = (container for container in pod["containers"] if container["name"] == name)
    return found


def _mounts(container: Json) -> dict[str, Json]:
    """The mounts of a container by their paths."""
    return {mount.pop("mountPath"): mount for mount in copy.deepcopy(container["volumeMounts"])}


def test_each_pod_has_a_persistent_audit_record_and_only_the_sealer_has_the_key() -> None:
    audit, key = "/var/lib/portcullis/audit", "/var/lib/portcullis/audit-key"
    for name, pod in _pods():
        spec = document(BASE / f"{name}.yaml", "StatefulSet", name)["spec"]
        claims = {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
        assert claims == {"audit", "audit-sealed", "audit-key"}
        assert "persistentVolumeClaimRetentionPolicy" not in spec, "claims must not be deleted with a pod"
        program, sealer = _container(pod, name), _container(pod, "sealer")
        assert _mounts(program)[audit] == {"name": "audit"}
        assert _mounts(sealer)[f"{audit}/segments"] == {"name": "audit", "subPath": "segments"}
        assert _mounts(sealer)[audit] == {"name": "audit-sealed"}
        assert _mounts(sealer)[key] == {"name": "audit-key"}
        others = [container for container in pod["containers"] if container is not sealer]
        for mount in (mount for container in others for mount in _mounts(container).values()):
            assert mount["name"] != "audit-key", "only the sealer has the key"
            # The folders of the outbox and of cursors are next to the sealed tree, and the sealer ignores them.
            is_own_folder = mount.get("subPath") in {"alerts", "sinks"}
            assert mount["name"] != "audit-sealed" or is_own_folder or mount["readOnly"]
        for reader in ("alerts", "sinks"):
            mounts = _mounts(_container(pod, reader))
            assert mounts[audit]["readOnly"]
            assert mounts[f"{audit}/segments"]["readOnly"]
            assert _mounts(sealer).keys() >= {audit, f"{audit}/segments"} <= mounts.keys()


def test_the_sealer_accepts_its_settings_and_has_the_node_name_of_its_program() -> None:
    for name, pod in _pods():
        program = load(SealSettings, SETTINGS, {"AUDIT_DIR": "", **_environment(_container(pod, name))})
        sealer = load(SealSettings, SETTINGS, _environment(_container(pod, "sealer")))
        assert (sealer.audit_dir, sealer.audit_node) == (program.audit_dir, program.audit_node)
        assert sealer.audit_node == "pod-0"
        assert sealer.audit_seal_key == Path("/var/lib/portcullis/audit-key/audit_seal.key")
        assert sealer.audit_dir is not None
        assert not sealer.audit_seal_key.is_relative_to(sealer.audit_dir)


def test_the_alerts_program_accepts_its_settings_and_writes_only_its_outbox_and_its_own_events() -> None:
    for _, pod in _pods():
        container = _container(pod, "alerts")
        settings = load(AlertSettings, SETTINGS, _environment(container))
        assert settings.audit_node == "pod-0"
        assert settings.alerts_metrics_listen == "127.0.0.1:9105"
        assert settings.alerts_outbox is not None
        writable = {path for path, mount in _mounts(container).items() if not mount.get("readOnly")}
        own = f"{settings.audit_dir}/segments/{WRITER}"
        assert writable == {str(settings.alerts_outbox.parent), own, "/tmp"}  # noqa: S108 - a mount of its own
        assert _mounts(container)[own] == {"name": "audit", "subPath": f"segments/{WRITER}"}, "the sealer reads it"


def test_the_program_for_sinks_accepts_its_settings_and_writes_only_the_places_of_sinks() -> None:
    for _, pod in _pods():
        container = _container(pod, "sinks")
        settings = load(SinkSettings, SETTINGS, _environment(container))
        assert settings.audit_sinks_metrics_listen == "127.0.0.1:9106"
        assert settings.audit_dir is not None
        writable = {path for path, mount in _mounts(container).items() if not mount.get("readOnly")}
        assert writable == {str(Cursors(settings.audit_dir).folder), "/tmp"}  # noqa: S108 - a mount of its own
        assert _mounts(container)[str(Cursors(settings.audit_dir).folder)]["subPath"] == "sinks", (
            "`audit prune` in the sealer's container looks for cursors there"
        )


def test_the_programs_accept_their_settings(tmp_path: Path) -> None:
    for name, pod in _pods():
        env = _environment(pod["containers"][0])
        for key in [key for key in env if key.endswith("_FILE")]:
            secret = tmp_path / key
            secret.write_text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", encoding="utf-8")
            env[key] = str(secret)
        assert env["REDIS_URL"].endswith("redis.redis:6379/0")
        ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
        if name == "oauth-web":
            web = load(WebSettings, SETTINGS, env)
            assert web.web_listen == f"0.0.0.0:{ports['http']}"
            assert web.web_metrics_listen == "127.0.0.1:9102"
        else:
            check = load(AuthzSettings, SETTINGS, env)
            assert check.authz_listen == (f"0.0.0.0:{ports['grpc']}",)
            assert check.metrics_listen == "127.0.0.1:9102"


def test_related_resources_have_matching_names_and_labels() -> None:
    monitor = document(METRICS / "pod-monitor.yaml", "PodMonitor", "portcullis")["spec"]
    for name in PROGRAMS:
        found = {d["kind"]: d for d in documents(BASE / f"{name}.yaml") if d["metadata"]["name"] == name}
        labels = found["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
        wanted = {"app.kubernetes.io/name": name}
        assert wanted.items() <= labels.items()
        assert found["StatefulSet"]["spec"]["selector"]["matchLabels"] == wanted
        assert found["Service"]["spec"]["selector"] == wanted
        pods = document(BASE / f"{name}.yaml", "Service", found["StatefulSet"]["spec"]["serviceName"])["spec"]
        assert (pods["clusterIP"], pods["selector"]) == ("None", wanted)
        assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == wanted
        assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == name
        assert found["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2
        assert "replicas" not in found["StatefulSet"]["spec"], "both would set the number of replicas"
        pod = found["StatefulSet"]["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
        assert monitor["selector"]["matchLabels"].items() <= labels.items()
        ports = [
            port["name"]
            for container in _patched(name)["spec"]["template"]["spec"]["containers"]
            for port in container.get("ports", ())
        ]
        assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} <= set(ports)


def test_all_traffic_is_denied_by_default_and_every_rule_names_peers_and_ports() -> None:
    policies = {d["metadata"]["name"]: d["spec"] for d in documents(BASE / "network-policies.yaml")}
    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        for rule in policy.get("ingress", ()):
            assert rule["from"], name
            assert rule["ports"], name
        for rule in policy.get("egress", ()):
            assert rule["to"], name
            assert rule["ports"], name


def test_prometheus_reaches_only_the_metrics_page(tmp_path: Path) -> None:
    config = METRICS / "envoy.yaml"
    subprocess.run([envoy_path(), "--mode", "validate", "-c", config], check=True, capture_output=True)
    listener = yaml.safe_load(config.read_text(encoding="utf-8"))["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][-1]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    paths = [route["match"]["path"] for route in routes]
    assert paths == ["/metrics", "/sealer/metrics", "/alerts/metrics", "/sinks/metrics"]
    monitor = document(METRICS / "pod-monitor.yaml", "PodMonitor", "portcullis")["spec"]
    assert {endpoint["path"] for endpoint in monitor["podMetricsEndpoints"]} <= set(paths)
    for route in routes:
        assert route["match"]["headers"] == [{"name": ":method", "string_match": {"exact": "GET"}}]
