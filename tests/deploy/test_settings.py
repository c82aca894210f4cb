"""What the deployments set: names that are settings, values that fit each other, and patience enough."""

import math
import re
import shlex
from itertools import pairwise

import pytest

from sandbox.limits import MIB, SOURCE_CHARS
from server.body import MOST_BYTES
from server.settings import Settings
from tests.conftest import ROOT
from tests.deploy.manifests import (
    KUBERNETES,
    compose_environment,
    deployed,
    environment,
    image_environment,
    manifests,
    ours,
    quantity,
    services,
    settings_of,
)

NODES = ["Deployment/node", "compose/node"]
GATEWAYS = ["Deployment/gateway", "compose/gateway"]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
_OWN_MIB = 500 + 64  # the server, its zygotes and warm workers, the cache of submissions: docs/operations.md
_CODE_MIB = 4 * SOURCE_CHARS / MIB  # of each run that waits
_VALGRIND_MIB = 528  # of each submission, besides its program and twice that


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"PYRUNNER_{name.upper()}", raising=False)


@pytest.mark.parametrize("name", NODES + GATEWAYS)
def test_each_has_the_role_of_its_name(name: str) -> None:
    settings = deployed(name).settings
    assert settings.role == ("node" if name in NODES else "gateway")
    assert settings.host == "0.0.0.0" and settings.log_format == "json"


def test_a_name_that_is_no_setting_would_be_seen() -> None:
    with pytest.raises(AssertionError, match="maximum_sessions"):
        settings_of({"PYRUNNER_MAXIMUM_SESSIONS": "1"})


@pytest.mark.parametrize("name", NODES + GATEWAYS)
def test_every_variable_is_a_setting_or_part_of_one(name: str) -> None:
    kind, _, own = name.partition("/")
    env = compose_environment(own) if kind == "compose" else environment(ours()[name]["spec"]["containers"][0])
    others = {variable for variable in env if not variable.startswith("PYRUNNER_")}
    assert others <= {"NATS_PASSWORD"}, "a name without the prefix may be another program's too"
    assert all(variable.startswith("PYRUNNER_") for variable in image_environment())


@pytest.mark.parametrize("name", NODES + GATEWAYS)
def test_it_is_not_killed_while_it_drains(name: str) -> None:
    assert deployed(name).settings.drain_s + 10 <= deployed(name).patience_s, (
        "to close sessions and connections takes some seconds more"
    )


@pytest.mark.parametrize("name", NODES + GATEWAYS)
def test_what_runs_may_end_before_it_leaves(name: str) -> None:
    settings = deployed(name).settings
    longest = max(settings.max_timeout_seconds, settings.run_max_timeout_seconds, settings.submit_max_timeout_seconds)
    assert settings.drain_s > longest


@pytest.mark.parametrize(("gateway", "node"), list(zip(GATEWAYS, NODES, strict=True)))
def test_a_gateway_and_its_nodes_have_the_same_limits(gateway: str, node: str) -> None:
    words = ("timeout", "_limit_", "modules", "nats_url", "libraries")
    shared = [name for name in Settings.model_fields if any(word in name for word in words)]
    assert {"run_max_memory_limit_mb", "max_timeout_seconds", "output_limit_kb"} <= set(shared)
    there, here = deployed(gateway).settings, deployed(node).settings
    assert {name: getattr(here, name) for name in shared} == {name: getattr(there, name) for name in shared}


def worst_mib(settings: Settings) -> float:
    """What a node may come to hold, but for the executions that wait for busy sessions."""
    scratch_mib = 512
    streams_mib = 4 * settings.output_limit_kb / 1024 + 4  # of each session and run
    return (
        _OWN_MIB
        + scratch_mib
        + settings.max_sessions * (settings.memory_limit_mb + streams_mib)
        + settings.runs_at_once * (settings.run_max_memory_limit_mb + streams_mib)
        + settings.run_queue_size * _CODE_MIB
        + settings.submissions_at_once * (3 * settings.submit_max_memory_limit_mb + _VALGRIND_MIB)
    )


@pytest.mark.parametrize("name", NODES)
def test_the_memory_of_a_node_covers_the_worst_case(name: str) -> None:
    assert worst_mib(deployed(name).settings) <= deployed(name).memory_mib


def test_operations_reckons_with_the_node_of_the_manifests() -> None:
    node = deployed("Deployment/node")
    assert f"so {worst_mib(node.settings):,.0f} of their {node.memory_mib:,.0f} MiB" in OPERATIONS


def test_the_memory_of_the_single_container_covers_the_worst_case() -> None:
    (command,) = re.findall(r"^docker run (.*\\\n(?:.*\\\n)*.*) pyrunner$", OPERATIONS, re.MULTILINE)
    words = shlex.split(command)
    told = dict(pairwise(words))
    settings = settings_of(dict(value.split("=") for option, value in pairwise(words) if option == "-e"))
    assert settings.run_concurrency == settings.submit_concurrency == int(told["--cpus"])
    assert worst_mib(settings) <= quantity(told["--memory"].upper() + "i") / 2**20
    assert f"{worst_mib(settings):,.0f} MiB" in OPERATIONS


def test_no_more_runs_at_once_than_processors() -> None:
    """The server counts the machine's, whatever the limit of its container is."""
    node = ours()["Deployment/node"]["spec"]["containers"][0]["resources"]["limits"]
    for name, cpus in (("Deployment/node", quantity(node["cpu"])), ("compose/node", services()["node"]["cpus"])):
        settings = deployed(name).settings
        assert 0 < settings.run_concurrency <= cpus and 0 < settings.submit_concurrency <= cpus


def test_a_full_queue_of_submissions_calls_for_all_nodes() -> None:
    spec = manifests()["ScaledObject/node"]["spec"]
    lag = int(spec["triggers"][0]["metadata"]["lagThreshold"])
    assert deployed("Deployment/gateway").settings.submit_queue_size / lag >= spec["maxReplicaCount"]


def test_the_trigger_for_places_is_what_the_alert_says() -> None:
    (threshold,) = re.findall(r'`threshold: "(\d+)"`', OPERATIONS)
    assert int(threshold) == 0.85 * deployed("Deployment/node").settings.max_sessions


def test_a_proxy_lets_the_largest_body_through() -> None:
    gateway = (KUBERNETES / "gateway.yaml").read_text()
    told = re.findall(r"(?:proxy-body-size:|client_max_body_size) (\d+)m", OPERATIONS)
    told += re.findall(r"let (\d+) MiB through", OPERATIONS) + re.findall(r"bodies of (\d+) MiB through", gateway)
    assert told == [str(math.ceil(MOST_BYTES / MIB))] * 4


def test_no_manifest_lets_the_wall_have_gaps() -> None:
    default = Settings(_env_file=None)  # type: ignore[call-arg]
    for name in NODES + GATEWAYS:
        assert deployed(name).settings.plan == default.plan


def test_the_example_of_a_key_is_none() -> None:
    """Whoever applies the example as it is must not let in everybody who has read it."""
    from server.keys import Keys, KeysError, Quota

    (listed,) = manifests()["Secret/api-keys"]["stringData"].values()
    with pytest.raises(KeysError):
        Keys.read(listed.strip(), "", Quota())


def test_secrets_are_not_kept_in_git() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    assert ".env" in ignored and "deploy/kubernetes/secrets.yaml" in ignored
