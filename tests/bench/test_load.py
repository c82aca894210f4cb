"""The load generator and the echo: what they measure is what was answered, and a wrong answer ends them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.connection import Connection, execute_body
from bench.load import Call, Load, NoCompiler
from bench.servers import Echo

BODY = execute_body("print(1)", "an id")


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    return Load(tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Echo]:
    with Echo(tmp_path_factory.mktemp("echo")) as server:
        yield server


def test_a_leg_counts_and_times_every_answer(load: Load, echo: Echo) -> None:
    leg = load.run(echo.port, [Call(BODY, b'"id":"an id"')] * 3, warm_s=0.1, run_s=0.3)
    assert 0 < leg.requests <= leg.all_requests
    assert 0 < leg.p50_us <= leg.p95_us <= leg.p99_us <= leg.max_us
    assert leg.seconds == pytest.approx(0.3, abs=0.01)
    assert leg.cpu_s > 0


def test_a_burst_sends_so_many_requests_a_client(load: Load, echo: Echo) -> None:
    leg = load.run(echo.port, [Call(BODY, b'"stdout":"1\\n"')] * 5, warm_s=0, run_s=30, most=2)
    assert leg.requests == leg.all_requests == 10
    assert leg.seconds < 30


def test_an_answer_without_the_expected_text_ends_the_run(load: Load, echo: Echo) -> None:
    with pytest.raises(RuntimeError, match="expected 200 and something else"):
        load.run(echo.port, [Call(BODY, b"something else")], warm_s=0, run_s=0.1)


def test_an_answer_that_is_not_200_ends_the_run(load: Load, echo: Echo) -> None:
    with pytest.raises(RuntimeError, match="404"):
        load.run(echo.port, [Call(BODY, b"", path="/nowhere")], warm_s=0, run_s=0.1)


def test_the_echo_answers_as_execute_does(echo: Echo) -> None:
    with Connection(echo.port) as http:
        answer, seconds = http.execute("print(1)", "an id")
    assert answer["id"] == "an id" and answer["stdout"] == "1\n" and answer["error"] is None
    assert seconds > 0


def test_without_a_compiler_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompiler, match="install gcc or clang"):
        Load(tmp_path)
