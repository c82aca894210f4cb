"""The manifests: a cluster takes them, they hold together, and their pods keep to the restricted profile."""

import copy
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest

from cluster import subjects
from tests.deploy.manifests import (
    CRDS,
    DEPLOY,
    KUBERNETES,
    Document,
    documents,
    environment,
    health_command,
    image_environment,
    manifests,
    ours,
    pods,
    told,
)
from tests.deploy.restricted import RULES, violations

NODE, GATEWAY, NATS = "Deployment/node", "Deployment/gateway", "StatefulSet/nats"


@pytest.mark.parametrize("name", [name for name, found in manifests().items() if found["apiVersion"] not in CRDS])
def test_a_cluster_takes_it(name: str) -> None:
    kubernetes_validate.validate(manifests()[name], "1.37", strict=True)


def test_a_slip_in_a_manifest_would_be_seen() -> None:
    wrong = copy.deepcopy(manifests()[NODE])
    wrong["spec"]["template"]["spec"]["terminationGraceSeconds"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


@pytest.mark.parametrize("folder", [KUBERNETES, KUBERNETES / "keda", KUBERNETES / "monitoring"])
def test_kustomize_finds_each_manifest(folder: Any) -> None:
    (kustomization,) = documents(folder / "kustomization.yaml")
    there = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "secrets.example.yaml"}
    assert set(kustomization["resources"]) == there
    assert kustomization["namespace"] == manifests()["Namespace/pyrunner"]["metadata"]["name"]


# --- pods ---


@pytest.mark.parametrize("name", pods())
def test_a_pod_keeps_to_the_restricted_profile(name: str) -> None:
    assert violations(pods()[name]["spec"]) == []


def test_the_namespace_holds_them_to_it() -> None:
    labels = manifests()["Namespace/pyrunner"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


BREACHES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "no_host_namespaces": lambda spec, container: spec.update(hostPID=True),
    "no_host_process": lambda spec, container: spec["securityContext"].update(windowsOptions={"hostProcess": True}),
    "not_privileged": lambda spec, container: container["securityContext"].update(privileged=True),
    "no_host_ports": lambda spec, container: container["ports"][0].update(hostPort=80),
    "no_host_in_probes": lambda spec, container: container["livenessProbe"]["httpGet"].update(host="example.org"),
    "only_the_default_apparmor": lambda spec, container: spec["securityContext"].update(
        appArmorProfile={"type": "Unconfined"}
    ),
    "only_container_selinux": lambda spec, container: spec["securityContext"].update(seLinuxOptions={"user": "root"}),
    "default_proc_mount": lambda spec, container: container["securityContext"].update(procMount="Unmasked"),
    "only_safe_sysctls": lambda spec, container: spec["securityContext"].update(
        sysctls=[{"name": "kernel.msgmax", "value": "1"}]
    ),
    "only_harmless_volumes": lambda spec, container: spec["volumes"].append(
        {"name": "host", "hostPath": {"path": "/"}}
    ),
    "no_escalation": lambda spec, container: container["securityContext"].pop("allowPrivilegeEscalation"),
    "not_as_root": lambda spec, container: spec["securityContext"].pop("runAsNonRoot"),
    "not_the_user_0": lambda spec, container: container["securityContext"].update(runAsUser=0),
    "a_seccomp_profile": lambda spec, container: spec["securityContext"].pop("seccompProfile"),
    "no_capabilities": lambda spec, container: container["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
}


@pytest.mark.parametrize("rule", [rule.__name__ for rule in RULES])
def test_a_breach_of_the_profile_would_be_seen(rule: str) -> None:
    spec = copy.deepcopy(pods()[NODE]["spec"])
    BREACHES[rule](spec, spec["containers"][0])
    assert violations(spec) == [rule]


@pytest.mark.parametrize("name", pods())
def test_a_pod_writes_nowhere_but_to_its_volumes_and_holds_no_key_of_the_cluster(name: str) -> None:
    spec = pods()[name]["spec"]
    for container in spec["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["limits"]["memory"]
    assert spec["automountServiceAccountToken"] is False
    # A Service called pyrunner would set PYRUNNER_PORT to an address.
    assert spec["enableServiceLinks"] is False


@pytest.mark.parametrize("name", ours())
def test_the_user_is_the_image_s(name: str) -> None:
    context = ours()[name]["spec"]["securityContext"]
    assert told("USER")[-1] == f"{context['runAsUser']}:{context['runAsGroup']}"


def test_a_node_can_start_the_programs_of_submissions_from_tmp() -> None:
    spec = pods()[NODE]["spec"]
    mounted = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == mounted["/tmp"]]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "512Mi"}


def test_only_gateways_know_the_keys() -> None:
    assert "PYRUNNER_API_KEYS_FILE" not in environment(pods()[NODE]["spec"]["containers"][0])
    spec = pods()[GATEWAY]["spec"]
    (mount,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "api-keys"]
    file = environment(spec["containers"][0])["PYRUNNER_API_KEYS_FILE"]
    (key,) = manifests()["Secret/api-keys"]["stringData"]
    assert file == f"{mount['mountPath']}/{key}"


def test_each_secret_and_map_that_a_pod_names_is_there() -> None:
    for pod in pods().values():
        for container in pod["spec"]["containers"]:
            for entry in container.get("env", []):
                if "valueFrom" in entry:
                    wanted = entry["valueFrom"]["secretKeyRef"]
                    assert wanted["key"] in manifests()[f"Secret/{wanted['name']}"]["stringData"]
        for volume in pod["spec"]["volumes"]:
            if "secret" in volume:
                assert f"Secret/{volume['secret']['secretName']}" in manifests()
            if "configMap" in volume:
                assert f"ConfigMap/{volume['configMap']['name']}" in manifests()


# --- ports, names ---


def ports(pod: Document) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for c in pod["spec"]["containers"] for port in c["ports"]}


def selected(selector: dict[str, str]) -> list[str]:
    """The owners of the pods that have these labels."""
    return [name for name, pod in pods().items() if selector.items() <= pod["metadata"]["labels"].items()]


@pytest.mark.parametrize("name", ours())
def test_the_server_listens_where_it_is_probed(name: str) -> None:
    (container,) = ours()[name]["spec"]["containers"]
    assert ports(ours()[name]) == {"http": int(image_environment()["PYRUNNER_PORT"])}
    assert told("EXPOSE") == [image_environment()["PYRUNNER_PORT"]]
    assert "PYRUNNER_PORT" not in environment(container)
    probes = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert probes["readinessProbe"]["path"] == "/readyz"
    assert probes["livenessProbe"]["path"] == probes["startupProbe"]["path"] == "/livez"
    assert "'/livez'" in health_command()[-1]


@pytest.mark.parametrize("name", [name for name in manifests() if name.startswith("Service/")])
def test_a_service_leads_to_ports_of_pods(name: str) -> None:
    spec = manifests()[name]["spec"]
    (owner,) = selected(spec["selector"])
    for port in spec["ports"]:
        assert port["targetPort"] in ports(pods()[owner])


@pytest.mark.parametrize("name", [name for name, found in manifests().items() if "selector" in found.get("spec", {})])
def test_a_selector_meets_one_owner_s_pods(name: str) -> None:
    selector = manifests()[name]["spec"]["selector"]
    found = selected(selector.get("matchLabels", selector))
    if name == "PodMonitor/pyrunner":
        assert sorted(found) == [GATEWAY, NODE]
    else:
        assert len(found) == 1
        if name.split("/")[0] in ("Deployment", "StatefulSet"):
            assert found == [name]


def test_gateways_and_nodes_find_nats() -> None:
    service = manifests()["Service/nats"]["spec"]
    port = {port["name"]: port["port"] for port in service["ports"]}["nats"]
    for pod in ours().values():
        url = environment(pod["spec"]["containers"][0])["PYRUNNER_NATS_URL"]
        assert url == f"nats://pyrunner:p0123456789abcdef@nats:{port}"


# --- who may talk to whom ---


def test_nothing_is_allowed_that_no_policy_lists() -> None:
    assert manifests()["NetworkPolicy/default-deny"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    for name in ("gateway", "node", "nats"):
        spec = manifests()[f"NetworkPolicy/{name}"]["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert [owner.split("/")[1] for owner in selected(spec["podSelector"]["matchLabels"])] == [name]


@pytest.mark.parametrize("name", ["node", "gateway"])
def test_a_pod_reaches_nats_and_names_and_nothing_else(name: str) -> None:
    spec = manifests()[f"NetworkPolicy/{name}"]["spec"]
    to_nats, to_names = spec["egress"]
    (nats,) = to_nats["to"]
    assert selected(nats["podSelector"]["matchLabels"]) == [NATS] and to_nats["ports"] == [{"port": 4222}]
    assert "namespaceSelector" not in nats
    assert {port["port"] for port in to_names["ports"]} == {53}
    (names,) = to_names["to"]
    assert names["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


def test_a_node_hears_nobody_but_those_who_look_at_its_figures() -> None:
    (ingress,) = manifests()["NetworkPolicy/node"]["spec"]["ingress"]
    assert ingress == {
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "ports": [{"port": 8000}],
    }


def test_nats_reaches_nobody_and_hears_on_ports_that_it_has() -> None:
    spec = manifests()["NetworkPolicy/nats"]["spec"]
    assert "egress" not in spec
    open_ports = {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
    assert open_ports == set(ports(pods()[NATS]).values())
    assert all(rule["from"] for rule in spec["ingress"])


# --- more and fewer of them ---


def test_what_is_scaled_by_others_says_no_number_itself() -> None:
    for name in (NODE, GATEWAY):
        assert "replicas" not in manifests()[name]["spec"]
    target = manifests()["HorizontalPodAutoscaler/gateway"]["spec"]["scaleTargetRef"]
    assert f"{target['kind']}/{target['name']}" == GATEWAY
    assert "cpu" in pods()[GATEWAY]["spec"]["containers"][0]["resources"]["requests"]


@pytest.mark.parametrize("name", [NODE, GATEWAY])
def test_one_at_a_time_leaves(name: str) -> None:
    assert manifests()[name]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert manifests()[f"PodDisruptionBudget/{name.split('/')[1]}"]["spec"]["maxUnavailable"] == 1


def test_keda_looks_at_the_work_queue_of_submissions() -> None:
    scaled = manifests()["ScaledObject/node"]
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    spec = scaled["spec"]
    assert set(spec) == {
        *("scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "fallback", "advanced", "triggers")
    }
    assert spec["scaleTargetRef"] == {"name": "node"}  # a Deployment, if nothing else is said
    assert 0 < spec["minReplicaCount"] <= spec["maxReplicaCount"]
    assert spec["fallback"]["replicas"] >= spec["minReplicaCount"]
    queue, cpu = spec["triggers"]
    monitor = {port["name"]: port["port"] for port in manifests()["Service/nats"]["spec"]["ports"]}["monitor"]
    assert queue["type"] == "nats-jetstream"
    assert queue["metadata"] == {
        "natsServerMonitoringEndpoint": f"nats.pyrunner.svc.cluster.local:{monitor}",
        "account": "$G",  # whoever has no account of their own is in this one
        "stream": subjects.STREAM,
        "consumer": subjects.CONSUMER,
        "lagThreshold": "10",
        "useHttps": "false",
    }
    assert (cpu["type"], cpu["metricType"], cpu["metadata"]) == ("cpu", "Utilization", {"value": "70"})
    assert "cpu" in pods()[NODE]["spec"]["containers"][0]["resources"]["requests"]
    # The part that a HorizontalPodAutoscaler has a schema of.
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    autoscaler = copy.deepcopy(manifests()["HorizontalPodAutoscaler/gateway"])
    autoscaler["spec"]["behavior"] = behavior
    kubernetes_validate.validate(autoscaler, "1.37", strict=True)


@pytest.mark.parametrize("name", ["pyrunner", "nats"])
def test_prometheus_finds_the_port_by_its_name(name: str) -> None:
    spec = manifests()[f"PodMonitor/{name}"]["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    for owner in selected(spec["selector"]["matchLabels"]):
        assert endpoint["port"] in ports(pods()[owner])


def test_nats_s_configuration_is_the_one_of_the_compose_file() -> None:
    assert manifests()["ConfigMap/nats"]["data"]["nats.conf"] == (DEPLOY / "nats.conf").read_text()
