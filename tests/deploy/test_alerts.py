"""The alerts: Prometheus can read them, each figure in them is one that a server tells, and each is explained."""

import re
from typing import Any

import promql_parser
import pytest
import requests

from tests.conftest import ROOT, Server
from tests.deploy.manifests import DEPLOY, documents, manifests, pods, services
from tests.prometheus import selectors

# Of NATS's exporter, with the arguments that the manifests give it.
NATS_FIGURES = {
    "jetstream_consumer_num_pending",
    "jetstream_server_total_message_bytes",
    "jetstream_server_max_storage",
}
PROMETHEUS_FIGURES = {"up"}
SCRAPED = {"job", "instance", "component"}  # labels that the scrape gives


def rules() -> dict[str, dict[str, Any]]:
    (file,) = documents(DEPLOY / "prometheus" / "alerts.yml")
    found = [rule for group in file["groups"] for rule in group["rules"]]
    named = {rule["alert"]: rule for rule in found}
    assert len(named) == len(found)
    return named


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """The labels of every sample that servers tell, by its name. A gateway tells its figures without NATS too."""
    found: dict[str, list[dict[str, str]]] = {}
    folder = tmp_path_factory.mktemp("metrics")
    for role in ("all", "gateway"):
        server = Server(folder / role, ROLE=role, NATS_URL="nats://127.0.0.1:1", SESSION_LIBRARIES="plain")
        try:
            for path in ("/", "/livez", "/readyz", "/metrics"):  # requests are told when there was one
                requests.get(f"{server.url}{path}", timeout=10)
            text = requests.get(f"{server.url}/metrics", timeout=10).text
        finally:
            server.stop()
        for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
            found.setdefault(name, []).append(dict(re.findall(r'(\w+)="([^"]*)"', labels)))
    return found


def is_told(matcher: Any, samples: list[dict[str, str]]) -> bool:
    """Whether each value that a matcher names is one that some sample has. One that leaves them out leaves others."""
    if matcher.name in SCRAPED:
        return True
    values = {sample.get(matcher.name) for sample in samples} - {None}
    if matcher.name in ("role", "status"):
        return bool(values)  # of other roles, and of answers that nobody got here
    named = set(matcher.value.split("|"))
    if matcher.op in (promql_parser.MatchOp.NotEqual, promql_parser.MatchOp.NotRe):
        return named < values
    return named <= values


@pytest.mark.parametrize("alert", rules())
def test_each_figure_of_an_alert_is_one_that_is_told(alert: str, told: dict[str, list[dict[str, str]]]) -> None:
    asked = list(selectors(promql_parser.parse(rules()[alert]["expr"])))
    assert asked
    for selector in asked:
        if selector.name in NATS_FIGURES | PROMETHEUS_FIGURES:
            continue
        assert selector.name in told, selector.name
        for matcher in selector.matchers.matchers:
            assert is_told(matcher, told[selector.name]), (selector.name, matcher.name, matcher.value)


@pytest.mark.parametrize("alert", rules())
def test_an_alert_says_how_grave_it_is_and_what_happens(alert: str) -> None:
    rule = rules()[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert re.fullmatch(r"\d+[sm]", rule.get("for", "0s"))
    assert alert.startswith("PyRunner")


def test_the_prometheus_operator_gets_the_same() -> None:
    (file,) = documents(DEPLOY / "prometheus" / "alerts.yml")
    assert manifests()["PrometheusRule/pyrunner"]["spec"] == file


def test_a_gateway_that_drains_is_not_down() -> None:
    longest_s = pods()["Deployment/gateway"]["spec"]["terminationGracePeriodSeconds"]
    assert services()["gateway"]["stop_grace_period"] == f"{longest_s}s"
    assert int(rules()["PyRunnerDown"]["for"].removesuffix("m")) * 60 > longest_s


def test_operations_explains_each_alert_and_no_other() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert re.findall(r"^\| `(PyRunner\w+)` \|", text, re.MULTILINE) == list(rules())


def test_the_backlog_is_the_one_that_nodes_take_from() -> None:
    queue = manifests()["ScaledObject/node"]["spec"]["triggers"][0]["metadata"]
    assert (
        f'stream_name="{queue["stream"]}",consumer_name="{queue["consumer"]}"' in rules()["PyRunnerBacklogOld"]["expr"]
    )


def test_prometheus_finds_each_service_that_tells_figures() -> None:
    (file,) = documents(DEPLOY / "prometheus" / "prometheus.yml")
    pyrunner, nats = file["scrape_configs"]
    (looked_up,) = pyrunner["dns_sd_configs"]
    assert set(looked_up["names"]) == {"gateway", "node"} <= set(services())
    assert looked_up["port"] == 8000
    ((target,),) = (config["targets"] for config in nats["static_configs"])
    name, _, port = target.partition(":")
    assert port in services()[name]["command"]
    exporter = manifests()["StatefulSet/nats"]["spec"]["template"]["spec"]["containers"][1]
    assert exporter["image"] == services()[name]["image"]
    assert exporter["args"][:4] == services()[name]["command"][:4]
    jobs = {pyrunner["job_name"], nats["job_name"]}
    used = {job for rule in rules().values() for job in re.findall(r'job="(\w+)"', rule["expr"])}
    assert used <= jobs
    for name in jobs:
        (endpoint,) = manifests()[f"PodMonitor/{name}"]["spec"]["podMetricsEndpoints"]
        assert {"targetLabel": "job", "replacement": name} in endpoint["relabelings"]


@pytest.mark.parametrize(
    "expression",
    [
        'sum(pyrunner_executions_total{outcome="lost"})',
        'sum(pyrunner_http_requests_total{route!="/ready"})',
        'sum(pyrunner_http_requests_total{route!~"/livez|/ready|/metrics"})',
    ],
)
def test_a_figure_that_nobody_tells_would_be_seen(expression: str, told: dict[str, list[dict[str, str]]]) -> None:
    (wrong,) = selectors(promql_parser.parse(expression))
    assert wrong.name in told
    assert not all(is_told(matcher, told[wrong.name]) for matcher in wrong.matchers.matchers)
