"""The dashboard asks for figures that are told, by labels that they have, and shows each of them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest

from tests.conftest import ROOT, Server
from tests.prometheus import Samples, scrape, selectors

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "pyrunner.json").read_text())
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
ADDED = {"instance": "127.0.0.1:8000", "job": "pyrunner"}  # by Prometheus
VARIABLES = {"$role": ".+", "$instance": ".+", "$__rate_interval": "1m"}
UNLIMITED = {"process_max_fds", "process_virtual_memory_bytes"}  # told, and not worth a panel


def filled_in(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def groupings(expression: Any) -> Iterator[tuple[list[str], list[str]]]:
    """The labels that an expression sums by, each with the figures in it."""
    if isinstance(expression, promql_parser.AggregateExpr) and expression.modifier is not None:
        yield expression.modifier.labels, [selector.name for selector in selectors(expression)]
    for name in ("expr", "lhs", "rhs"):
        if (inner := getattr(expression, name, None)) is not None:
            yield from groupings(inner)
    for argument in getattr(expression, "args", []):
        yield from groupings(argument)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """The labels of every sample, by its name: of a server that has run code, of a gateway and a node without NATS."""
    found: dict[str, list[dict[str, str]]] = {}
    folder = tmp_path_factory.mktemp("metrics")
    for role in ("all", "gateway", "node"):
        server = Server(folder / role, ROLE=role, NATS_URL="nats://127.0.0.1:1", SESSION_LIBRARIES="plain")
        try:
            samples = told_by(server, runs_code=role == "all")
        finally:
            server.stop()
        for name, labels in samples:
            found.setdefault(name, []).append(dict(labels) | ADDED)
    return found


def told_by(server: Server, *, runs_code: bool) -> Samples:
    if runs_code:
        server.wait_ready("plain")
        server.execute("print(1)")
        server.run("print(1)")
        server.http.post(f"{server.url}/submit", json={"code": "int f;", "valgrind": False}, timeout=60)
        server.http.post(f"{server.url}/submit", json={}, timeout=60)
    return scrape(server)


def targets() -> list[tuple[str, str]]:
    return [(title, target["expr"]) for title, panel in PANELS.items() for target in panel["targets"]]


@pytest.mark.parametrize(("panel", "expression"), targets())
def test_each_expression_finds_something(panel: str, expression: str, told: dict[str, list[dict[str, str]]]) -> None:
    parsed = promql_parser.parse(filled_in(expression))
    asked = list(selectors(parsed))
    assert asked
    for selector in asked:
        assert selector.name in told, selector.name
        found = told[selector.name]
        for matcher in selector.matchers.matchers:
            assert all(matcher.name in sample for sample in found), (selector.name, matcher.name)
            is_regex = matcher.op in (promql_parser.MatchOp.Re, promql_parser.MatchOp.NotRe)
            pattern = matcher.value if is_regex else re.escape(matcher.value)
            is_meant = matcher.op in (promql_parser.MatchOp.Re, promql_parser.MatchOp.Equal)
            found = [sample for sample in found if bool(re.fullmatch(pattern, sample[matcher.name])) is is_meant]
        assert found, f"no sample of {selector.name} has these labels"
    for labels, names in groupings(parsed):
        for name in names:
            assert all(label in sample for label in labels for sample in told[name]), (name, labels)


@pytest.mark.parametrize("panel", PANELS)
def test_a_legend_names_labels_that_are_left(panel: str) -> None:
    for target in PANELS[panel]["targets"]:
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        summed = re.match(r"(?:60 \* )?sum by \(([\w, ]+)\)", target["expr"])
        aggregated = "sum(" in target["expr"] or "quantile" in target["expr"]
        left = set(summed[1].split(", ")) if summed else set() if aggregated else {"role", "instance"}
        assert shown <= left, target["expr"]


def test_each_figure_of_ours_is_shown(told: dict[str, list[dict[str, str]]]) -> None:
    asked = {selector.name for _, text in targets() for selector in selectors(promql_parser.parse(filled_in(text)))}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in told} - UNLIMITED
    assert families - {re.sub(r"_bucket$", "", name) for name in asked} == set()


def test_operations_explains_each_figure_and_no_other(told: dict[str, list[dict[str, str]]]) -> None:
    section = (ROOT / "docs" / "operations.md").read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    explained = {}
    for names, labels in re.findall(
        r"^\| ((?:`(?:pyrunner|process)_\w+`(?:, )?)+) \| ([^|]*)\|", section, re.MULTILINE
    ):
        for name in re.findall(r"`(\w+)`", names):
            explained[name] = set(re.findall(r"`(\w+)`", labels))
    families: dict[str, set[str]] = {}
    for name, samples in told.items():
        family = re.sub(r"_(bucket|count|sum)$", "", name)
        families.setdefault(family, set()).update(*samples)
    assert explained == {name: labels - {"role", "le", *ADDED} for name, labels in families.items()}


def test_the_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_data_source_role_and_instance_are_chosen_at_the_top() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "role", "instance"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for name in ("role", "instance"):
        assert re.fullmatch(rf"label_values\(pyrunner_build_info.*, {name}\)", variables[name]["definition"])
    for panel in PANELS.values():
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            for matched in re.findall(r"\{([^{}]*)\}", target["expr"]):
                assert 'role=~"$role"' in matched and 'instance=~"$instance"' in matched
