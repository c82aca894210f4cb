"""The bench of runs: what it sends is answered as it expects, and what is left behind becomes figures."""

import pytest

from bench import cold
from bench.figures import runs
from bench.held import Held
from bench.load import Call
from tests.conftest import Server


def test_every_fourth_client_imports_all_six_libraries() -> None:
    assert runs.calls_of(8) == [runs.PLAIN, runs.PLAIN, runs.PLAIN, runs.SIX] * 2


def test_what_is_left_behind_is_a_figure_of_each_kind() -> None:
    before = Held(processes=12, descriptors=100, memory_bytes=50 * 2**20)
    after = Held(processes=12, descriptors=101, memory_bytes=51 * 2**20)
    left = list(before.growth_to(after, "after 400 runs"))
    assert [figure.value for figure in left] == [0, 1, pytest.approx(1.0)]
    assert [figure.met for figure in left] == [True, False, True]
    assert all(figure.name.endswith("after 400 runs") for figure in left)


def test_a_cold_process_is_timed_to_its_end() -> None:
    assert cold.seconds("import time; time.sleep(0.05)") > 0.05


@pytest.mark.parametrize("call", [runs.PLAIN, runs.SIX])
def test_a_run_answers_what_the_load_generator_expects(server: Server, call: Call) -> None:
    headers = {"Content-Type": "application/json"}
    answer = server.http.post(f"{server.url}{call.path}", data=call.body, headers=headers, timeout=30)
    assert answer.status_code == 200
    assert call.expected in answer.content
