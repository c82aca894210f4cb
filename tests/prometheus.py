"""Reading /metrics and expressions as Prometheus does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import promql_parser
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Server

Series = tuple[str, frozenset[tuple[str, str]]]
Samples = dict[Series, float]


def scrape(server: Server) -> Samples:
    """Each series that it tells now."""
    answer = requests.get(f"{server.url}/metrics", timeout=10)
    assert answer.status_code == 200, answer.text
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): float(sample.value) for sample in samples}
    assert len(found) == len(samples), "no series is told twice"
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the series of that name that have these labels; there must be one."""
    found = [v for (n, having), v in samples.items() if n == name and having >= labels.items()]
    assert found, (name, labels)
    return sum(found)


def moved(before: Samples, after: Samples, *names: str) -> dict[str, float]:
    """What has changed of the series of these names: `name{label=…}` without the role, and by how much."""
    changes: dict[str, float] = {}
    for (name, labels), now in after.items():
        change = now - before.get((name, labels), 0.0)
        if name in names and change:
            shown = ",".join(f"{key}={text}" for key, text in sorted(labels) if key != "role")
            changes[f"{name}{{{shown}}}"] = change
    return changes


def selectors(expression: Any) -> Iterator[Any]:
    """Each figure that an expression asks for, with its labels."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if (inner := getattr(expression, name, None)) is not None:
            yield from selectors(inner)
    for argument in getattr(expression, "args", []):
        yield from selectors(argument)


@contextmanager
def watched(server: Server, *names: str) -> Iterator[dict[str, float]]:
    """What has changed of these while the block ran; filled at its end."""
    before = scrape(server)
    changes: dict[str, float] = {}
    yield changes
    changes.update(moved(before, scrape(server), *names))
