"""What is printed: bounds are computed from the values, and the JSON holds what the table shows."""

import json

import pytest

from bench import report
from bench.results import Cost, Figure, Result, Row, percentile


@pytest.mark.parametrize(
    ("figure", "met", "aim_met"),
    [
        (Figure("ratio", 0.5, at_least=0.4, aim=0.6), True, False),
        (Figure("ratio", 0.7, at_least=0.4, aim=0.6), True, True),
        (Figure("ratio", 0.3, at_least=0.4), False, None),
        (Figure("late", 1.9, "%", at_most=2), True, None),
        (Figure("left", 1, at_most=0), False, None),
        (Figure("left", 0, at_most=0), True, None),
        (Figure("shown only", 5.0), None, None),
        (Figure("memory", None, "MiB", at_most=8, note="not measured"), None, None),
    ],
)
def test_a_bound_is_met_or_not(figure: Figure, met: bool | None, aim_met: bool | None) -> None:
    assert (figure.met, figure.aim_met) == (met, aim_met)


def test_percentiles_are_values_that_were_measured() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert percentile(ordered, 0) == 1
    assert percentile(ordered, 0.95) == 95
    assert percentile(ordered, 1) == 100
    assert percentile([7.0], 0.5) == 7


RESULTS: list[Result] = [
    Row.of_seconds("a new session", [0.001, 0.002, 0.003]),
    Figure("warm / echo", 0.39, at_least=0.4),
    Figure("timeout", 0.5, "%", at_most=2),
    Cost("/execute", 250.0, 19.0, 138.0, 85.0, 2.4, 1.0),
]


def test_the_table_names_what_is_not_met() -> None:
    text = report.as_text(RESULTS)
    assert "2.000" in text and "138.0" in text
    assert text.endswith("1 of 2 bounds are met. Not met: warm / echo.")


def test_the_json_holds_the_same() -> None:
    document = json.loads(json.dumps(report.as_json(RESULTS, quick=True)))
    assert document["quick"] is True
    assert document["rows"][0]["p50_ms"] == pytest.approx(2.0)
    assert [figure["met"] for figure in document["figures"]] == [False, True]
    assert document["costs"][0]["server_us"] == 138.0
