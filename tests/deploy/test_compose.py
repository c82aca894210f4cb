"""The compose file: what is published, what a container may do, and what is left of one that crashed."""

import pytest
import yaml

from tests.deploy.manifests import DEPLOY, KUBERNETES, documents, image_environment, manifests, services


def test_a_gateway_and_two_nodes_share_one_image_and_nats() -> None:
    assert services()["node"]["deploy"]["replicas"] == 2
    assert "deploy" not in services()["gateway"]
    for name in ("gateway", "node"):
        service = services()[name]
        assert service["build"] == {"context": ".."} and service["image"] == "pyrunner:latest"
        assert service["depends_on"] == {"nats": {"condition": "service_healthy"}}
        assert "healthcheck" not in service, "the image has one"
    (statefulset,) = manifests()["StatefulSet/nats"]["spec"]["template"]["spec"]["containers"][:1]
    assert services()["nats"]["image"] == statefulset["image"]
    assert services()["nats"]["command"] == statefulset["command"]


def test_only_gateways_and_figures_are_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    port = image_environment()["PYRUNNER_PORT"]
    assert published == {"gateway": [f"127.0.0.1:8000:{port}"], "prometheus": ["127.0.0.1:9090:9090"]}
    inner = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["networks"]["cluster"]
    assert inner == {"internal": True}
    assert services()["node"]["networks"] == services()["nats"]["networks"] == ["cluster"]


@pytest.mark.parametrize("name", services())
def test_a_container_may_do_nothing_that_it_need_not(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] and service["cpus"] and service["pids_limit"]
    assert all(":ro" in volume for volume in service.get("volumes", []) if volume.startswith("."))


@pytest.mark.parametrize("name", services())
def test_the_log_of_a_container_that_crashed_is_kept_and_bounded(name: str) -> None:
    logging = services()[name]["logging"]
    assert logging == {"driver": "json-file", "options": {"max-size": "50m", "max-file": "5"}}
    assert services()[name]["restart"] == "unless-stopped", "the same container again, with its log"


def test_a_node_can_start_the_programs_of_submissions_from_tmp() -> None:
    assert services()["node"]["tmpfs"] == ["/tmp:exec,mode=1777,size=512m"]


def test_what_is_mounted_is_there() -> None:
    mounted = {
        volume.split(":")[0]
        for service in services().values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    }
    assert mounted == {"./nats.conf", "./prometheus"}
    assert all((DEPLOY / path).exists() for path in mounted)
    assert (DEPLOY / "prometheus" / "prometheus.yml").exists()


def test_the_images_of_others_have_versions() -> None:
    images = {service["image"] for name, service in services().items() if name not in ("gateway", "node")}
    for name in images:
        assert ":" in name and not name.endswith(":latest")
    (kustomization,) = documents(KUBERNETES / "kustomization.yaml")
    assert kustomization["images"][0]["name"] == "pyrunner"
