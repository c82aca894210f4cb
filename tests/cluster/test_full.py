"""Full nodes, full queues, no nodes, and a NATS that can do less."""

import asyncio
import json
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nats as nats_client
import pytest
import requests
from nats.aio.msg import Msg

from cluster import subjects
from cluster.letters import Kind
from tests.cluster.conftest import Start
from tests.cluster.fleet import Fleet, Nats, ask, post, refusal
from tests.conftest import Server, until
from tests.events import Events, told

LOOPS = "while True: pass"
HANGS = {"code": "int f(void) { for (;;) ; }", "tests": "assert(f());", "timeout": 60, "perTestTimeout": 60}
ADD = {"code": "int add(int a, int b) { return a + b; }", "tests": "assert(add(1, 2) == 3);"}
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def busy(fleet: Fleet, queue: str) -> list[Server]:
    """The nodes that live and do something of that kind."""
    return [node for node in fleet.living(fleet.nodes) if node.health()[queue]["active"]]


def kill_who_does(fleet: Fleet, queue: str) -> None:
    (node,) = until(lambda: busy(fleet, queue))
    node.stop(signal.SIGKILL)


def test_when_all_nodes_are_full_no_session_is_opened_and_a_free_place_is_used_at_once(start: Start) -> None:
    fleet = start(nodes=2, MAX_SESSIONS=3)
    gateway = fleet.gateway
    ids = [gateway.execute("1")["id"] for _ in range(6)]
    assert None not in ids and len(set(ids)) == 6
    for _ in range(3):
        full = gateway.execute("1")
        assert (full["error"], full["id"], full["state"]) == ("max sessions reached", None, "lost")
        with Events(gateway, "1") as events:
            assert [event.name for event in events.rest()] == ["done"]
        assert events.done["error"] == "max sessions reached"
    for n in range(6):
        gateway.close(ids[n])
        answer = gateway.execute("6 * 7")
        assert (answer["error"], answer["result"]) == (None, "42")
        assert gateway.execute("1")["error"] == "max sessions reached"
    assert gateway.health()["sessions"]["open"] == 6


def test_many_who_open_sessions_at_once_get_all_places_and_no_more(start: Start) -> None:
    fleet = start(gateways=2, nodes=2, MAX_SESSIONS=5)
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda n: fleet.gateways[n % 2].execute("1"), range(32)))
    assert sum(answer["error"] is None for answer in answers) == 10
    assert {answer["error"] for answer in answers} == {None, "max sessions reached"}


def test_full_run_queues_are_refused(start: Start) -> None:
    fleet = start(nodes=2, RUN_CONCURRENCY=1, RUN_QUEUE_SIZE=1)

    def taken() -> int:
        queues = [node.health()["runs"] for node in fleet.nodes]
        return sum(queue["active"] + queue["waiting"] for queue in queues)

    running = []
    for n in range(1, 5):
        running.append(ask(fleet.gateway, "/run", code=LOOPS, timeout=60))
        until(lambda n=n: taken() == n)
    assert "queue" in refusal(post(fleet.gateway, "/run", code="print(1)"), 429)
    running.pop().close()
    until(lambda: taken() == 3)
    with ThreadPoolExecutor(1) as client:
        waiting = client.submit(fleet.gateway.run, "print(1)")
        until(lambda: taken() == 4)
        for connection in running:
            connection.close()
        assert waiting.result()["stdout"] == "1\n"


def test_a_place_that_is_free_is_had_at_once(start: Start) -> None:
    fleet = start(nodes=1, MAX_SESSIONS=3)

    def open_and_end(_: int) -> list[str | None]:
        errors = []
        for number in range(100):
            answer = post(fleet.gateway, "/execute", code="1").json()
            errors.append(answer["error"])
            if number % 3:
                requests.delete(f"{fleet.gateway.url}/sessions/{answer['id']}", timeout=10)
            else:
                post(fleet.gateway, "/execute", code="import os; os._exit(1)", id=answer["id"])
        return errors

    with ThreadPoolExecutor(3) as clients:
        assert {error for errors in clients.map(open_and_end, range(3)) for error in errors} == {None}


@needs_gcc
def test_a_full_stream_of_submissions_is_refused(start: Start) -> None:
    fleet = start(nodes=1, SUBMIT_CONCURRENCY=1, SUBMIT_QUEUE_SIZE=3)
    judged = [ask(fleet.gateway, "/submit", **HANGS) for _ in range(3)]
    until(lambda: fleet.nats.backlog() == 3)
    assert "waiting" in refusal(post(fleet.gateway, "/submit", **ADD), 429)
    for connection in judged:
        connection.close()
    until(lambda: fleet.nats.backlog() == 0)
    assert post(fleet.gateway, "/submit", **ADD).json()["output"] == "ASSERT PASSED!\n"


def test_without_nodes_all_is_refused_and_the_first_node_does_it(start: Start) -> None:
    fleet = start(nodes=0)
    gateway = fleet.gateway
    for path in ("/execute", "/run", "/submit"):
        began = time.monotonic()
        assert "node" in refusal(post(gateway, path, code="1"), 503)
        assert time.monotonic() - began < 1.5, "a gateway waits 2 s between two looks for nodes"
    assert gateway.execute("1", "11111111-1111-4111-8111-111111111111")["error"] == "session not found"
    assert gateway.http.get(f"{gateway.url}/sessions", timeout=10).json()["sessions"] == []
    assert gateway.http.get(f"{gateway.url}/livez", timeout=10).status_code == 200
    assert (gateway.health()["nodes"], gateway.health()["status"]) == (0, "starting")
    until(lambda: fleet.nats.backlog() == 0)
    fleet.start(gateways=0, nodes=1)
    assert gateway.execute("6 * 7")["result"] == "42"
    assert gateway.run("print(1)")["stdout"] == "1\n"
    if shutil.which("gcc"):
        assert post(gateway, "/submit", **ADD).json()["output"] == "ASSERT PASSED!\n"


def test_nodes_that_cannot_have_workers_are_not_told_as_full(start: Start) -> None:
    fleet = start(nodes=0)

    async def answer_for_a_node() -> None:
        client = await nats_client.connect(fleet.nats.url)
        vitals = json.dumps({"workers": {"plain": "loading"}, "most_sessions": 40}).encode()

        async def answer(message: Msg) -> None:
            if message.data[:1] == Kind.ERRAND:
                await client.publish(message.reply, Kind.ANSWER + vitals)

        await client.subscribe(subjects.EVERYONE, cb=answer)
        await client.flush()
        for path in ("/execute", "/run"):
            answered = await asyncio.to_thread(post, fleet.gateway, path, code="1")
            assert "workers" in refusal(answered, 503)
        await client.close()

    asyncio.run(answer_for_a_node())


def test_where_no_node_has_a_compiler_submissions_are_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    fleet = start(nodes=1)
    until(lambda: fleet.nodes[0].health()["submissions"]["unavailable"])
    assert "no node can judge" in refusal(post(fleet.gateway, "/submit", **ADD), 503)
    until(lambda: fleet.nats.backlog() == 0)
    assert fleet.gateway.execute("6 * 7")["result"] == "42"


def test_a_run_that_takes_its_nodes_with_it_is_given_up(start: Start) -> None:
    fleet = start(nodes=4, RUN_CONCURRENCY=1)
    poison = ask(fleet.gateway, "/run", code=LOOPS, timeout=60)
    for _ in range(3):
        kill_who_does(fleet, "runs")
    with poison.getresponse() as answer:
        assert answer.status == 503 and "3 nodes were lost" in json.loads(answer.read())["error"]
    poison.close()
    assert busy(fleet, "runs") == []
    assert fleet.gateway.run("print(1)")["stdout"] == "1\n"


def test_without_jetstream_only_submissions_are_refused(tmp_path: Path, needs_nats: None) -> None:
    nats = Nats(tmp_path, jetstream=False)
    fleet = Fleet(tmp_path, nats)
    try:
        fleet.start(nodes=1)
        assert fleet.gateway.execute("6 * 7")["result"] == "42"
        assert fleet.gateway.run("print(1)")["stdout"] == "1\n"
        assert "JetStream" in refusal(post(fleet.gateway, "/submit", **ADD), 503)
    finally:
        fleet.stop()
        nats.kill()


def test_small_letters_carry_long_code_and_long_answers(tmp_path: Path, needs_nats: None) -> None:
    nats = Nats(tmp_path, max_payload=65536)
    fleet = Fleet(tmp_path, nats)
    try:
        fleet.start(gateways=1, nodes=2)
        gateway = fleet.gateway
        text = "é🐍" * 200_000
        long = f"x = '{text}'\nprint(x[:300_000])\ndisplay(x)\nlen(x)"
        answer = gateway.execute(long, stdin="é" * 100_000)
        assert (answer["stdout"], answer["result"]) == (text[:300_000] + "\n", "400000")
        assert answer["outputs"] == [{"text/plain": repr(text)}]
        again = gateway.execute(f"{long}\nx = input()\nlen(x)", answer["id"], stdin="é" * 100_000)
        assert again["result"] == "100000"
        with Events(gateway, long, answer["id"]) as events:
            got = events.rest()
        assert told(got) == text[:300_000] + "\nD"
        assert gateway.run(f"print('{text}'[:300_000])")["stdout"] == text[:300_000] + "\n"
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda n: gateway.execute(f"{long}\n{n}"), range(16)))
        assert [answer["result"] for answer in answers] == [str(n) for n in range(16)]
        assert {answer["stdout"] for answer in answers} == {text[:300_000] + "\n"}
        if shutil.which("gcc"):
            longer = ADD | {"code": f"{ADD['code']} /*{'x' * 70_000}*/"}
            assert post(gateway, "/submit", **longer).json()["output"] == "ASSERT PASSED!\n"
    finally:
        fleet.stop()
        nats.kill()


@needs_gcc
def test_a_submission_that_takes_its_nodes_with_it_is_given_up(start: Start) -> None:
    fleet = start(nodes=4, SUBMIT_CONCURRENCY=1)
    poison = ask(fleet.gateway, "/submit", **HANGS)
    for _ in range(3):
        kill_who_does(fleet, "submissions")
    with poison.getresponse() as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        assert "3 nodes were lost" in json.loads(answer.read())["error"]
    poison.close()
    (last,) = fleet.living(fleet.nodes)
    assert busy(fleet, "submissions") == []
    until(lambda: fleet.nats.backlog() == 0)
    assert post(fleet.gateway, "/submit", **ADD).json()["output"] == "ASSERT PASSED!\n"
    assert last.health()["submissions"]["active"] == 0
