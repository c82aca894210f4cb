"""A rogue that runs costs nobody else anything: it gets a clear answer, and takes all that it started along."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
import requests

from tests.conftest import Server, running, until
from tests.rogues import _FIND, CRASHED, MEMORY, ROGUES, SPIKES, TIMEOUT, Rogue

AT_ONCE = 6
OUTPUT_BYTES = 2**20
VERDICTS = {
    None: {"success", "error"},
    TIMEOUT: {"timeout"},
    MEMORY: {"memory_exceeded"},
    CRASHED: {"error"},
}
ALL = ROGUES | SPIKES
BREAKS_OURS = {"clears our modules", "takes our objects apart", "clears what called it"}  # what is left may never end


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("runs") / "server.log"
    with running(log, RUN_CONCURRENCY=AT_ONCE, SESSION_LIBRARIES="numpy", POOL_SIZE=1, RUN_POOL_SIZE=1) as server:
        yield server.wait_ready("numpy")
        assert server.stop() == 0


def errors(rogue: Rogue) -> set[str | None]:
    return {error for error, _ in rogue.ends}


def unseen(code: str) -> str:
    """A program that the policy lets through, and that runs `code` in its own namespace."""
    return f"import statistics\nstatistics.sys.modules['builtins'].exec({code!r})"


def run(server: Server, code: str, timeout: int = 20) -> dict[str, Any]:
    """POST /run on a connection of its own, from any thread."""
    body = {"code": unseen(code), "timeout": timeout, "memory_limit": 100}
    answer = requests.post(f"{server.url}/run", json=body, timeout=90)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def at_rest(server: Server) -> bool:
    """Nothing runs, nothing is dead and unburied, and only warm workers are there."""
    runs = server.health()["runs"]
    processes = server.worker_processes()
    return (
        runs["active"] == runs["waiting"] == 0
        and len(processes) == 2 + 1 + 2  # zygotes, a warm session, a warm run of each tier
        and all(process.status() != psutil.STATUS_ZOMBIE for process in processes)
    )


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


@pytest.fixture(scope="module")
def answers(server: Server) -> dict[str, dict[str, Any]]:
    """What the rogues were told, that ran side by side."""
    until(lambda: at_rest(server))
    before = descriptors(server)

    def give(name: str) -> dict[str, Any]:
        return run(server, ALL[name].code, 1 if TIMEOUT in errors(ALL[name]) else 3 if name in BREAKS_OURS else 20)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = dict(zip(ALL, pool.map(give, ALL), strict=True))
    try:
        until(lambda: at_rest(server))
    except AssertionError:
        processes = [(process.pid, process.status()) for process in server.worker_processes()]
        raise AssertionError(f"not at rest: {server.health()} {processes} {server.log.read_text()}") from None
    until(lambda: descriptors(server) <= before)
    return told


@pytest.mark.parametrize(("name", "rogue"), ALL.items(), ids=ALL)
def test_a_rogue_gets_a_clear_answer(answers: dict[str, dict[str, Any]], name: str, rogue: Rogue) -> None:
    answer = answers[name]
    verdicts = set.union(*(VERDICTS[error] for error in errors(rogue)))
    assert answer["status"] in verdicts | ({"timeout"} if name in BREAKS_OURS else set()), answer
    assert (answer["error"] is None) == (answer["status"] == "success")
    assert answer["error"] is None or 0 < len(answer["error"]) <= 1000
    assert max(len(answer["stdout"]), len(answer["stderr"])) <= OUTPUT_BYTES
    if errors(rogue) == {CRASHED}:
        how = re.fullmatch("The run crashed: (.+)", answer["error"])
        told = rogue.detail + "|^exit status 0$"  # it had ended before all that it had written was read
        assert how and re.search(told, how[1]), answer["error"]
    if name in SPIKES:
        assert answer["memory_used"] < 120


def test_after_all_of_them_runs_are_as_good_as_ever(server: Server, answers: object) -> None:
    for _ in range(4):
        assert run(server, "print(6 * 7)")["stdout"] == "42\n"
        assert run(server, "import numpy\nprint(numpy.ones(2))")["stdout"] == "[1. 1.]\n"


# What a worker says is not to be believed

FORGES = _FIND + "words = sys.modules['sandbox.outcome']\nwire = sys.modules['sandbox.wire']\n"


@pytest.mark.parametrize("status", ["DONE", "INTERRUPTED", "OUT_OF_MEMORY", "FAILED", "ELSEWHERE"])
@pytest.mark.parametrize("result", ["None", "''", "'numpy'", "'plain'", "'nonsense'", "'x' * 10**5"])
def test_a_forged_answer_is_an_answer(server: Server, status: str, result: str) -> None:
    answer = run(
        server, f"{FORGES}_send(wire.answer(words.Ended(words.Status.{status}, words.Usage(), result={result})))"
    )
    assert answer["status"] in ("success", "error", "memory_exceeded")
    assert (answer["error"] is None) == (answer["status"] == "success")
    assert answer["error"] is None or 0 < len(answer["error"]) <= 1000
    assert run(server, "print(1)")["stdout"] == "1\n"


def test_a_program_that_is_said_to_need_another_worker_again_and_again_ends(server: Server) -> None:
    code = FORGES + "_send(wire.answer(words.Ended(words.Status.ELSEWHERE, words.Usage(), result='numpy')))\n"
    answer = run(server, code + "while True: pass", timeout=2)
    assert answer["status"] == "error"


def test_figures_that_are_forged_are_its_own(server: Server) -> None:
    usage = "words.Usage(1e9, 2**40)"
    answer = run(server, f"{FORGES}_send(wire.answer(words.Ended(words.Status.DONE, {usage})))")
    assert answer["status"] in ("memory_exceeded", "error")


# Workers that are not there yet, or no more


def test_a_plain_run_does_not_wait_for_libraries_to_load(start_server: Callable[..., Server]) -> None:
    server = start_server(POOL_SIZE=0)
    answer = run(server, "print(1)")
    assert (answer["status"], answer["stdout"]) == ("success", "1\n")


def test_a_run_that_needs_libraries_waits_until_they_are_loaded(start_server: Callable[..., Server]) -> None:
    server = start_server(POOL_SIZE=0, SESSION_LIBRARIES="plain", RUN_LIBRARIES="numpy")
    answer = server.run("import numpy\nprint(numpy.ones(2))")
    assert (answer["status"], answer["stdout"]) == ("success", "[1. 1.]\n")


def test_runs_outlive_the_zygote_that_they_come_from(start_server: Callable[..., Server]) -> None:
    server = start_server(POOL_SIZE=0, RUN_POOL_SIZE=1, SESSION_LIBRARIES="plain", RUN_MODULES="time")
    assert server.run("print(1)")["stdout"] == "1\n"
    (zygote,) = server.zygotes()
    zygote.kill()
    until(lambda: [process.pid for process in server.zygotes()] != [zygote.pid])
    until(lambda: server.health()["workers"] == {"plain": "ready"})
    assert server.run("print(2)")["stdout"] == "2\n"


def test_without_warm_workers_each_run_waits_for_its_birth_and_no_longer(start_server: Callable[..., Server]) -> None:
    server = start_server(POOL_SIZE=0, RUN_POOL_SIZE=0, SESSION_LIBRARIES="plain")
    for n in range(10):
        assert server.run(f"print({n})")["stdout"] == f"{n}\n"
    until(lambda: len(server.worker_processes()) == 1)  # the zygote
