"""A node and a gateway that are told to stop end what they do, take nothing new, and then exit."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cluster.conftest import Start
from tests.cluster.fleet import ask, post, refusal
from tests.conftest import answer_on, until
from tests.events import Events, told

SLEEPS = "import time\ntime.sleep(1.5)\nprint('done')"
LOOPS = "while True: pass"
SLOW_C = {"code": "#include <unistd.h>\nint f(void) { sleep(1); return 1; }", "tests": "assert(f());"}


def test_a_node_ends_what_it_does_and_takes_nothing_new(start: Start) -> None:
    fleet = start(nodes=1, DRAIN_SECONDS=20)
    gateway, (old,) = fleet.gateway, fleet.nodes
    busy, streams, idle = (gateway.execute("x = 1")["id"] for _ in range(3))
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as client, Events(gateway, SLEEPS, streams, timeout=20) as events:
        execution = ask(gateway, "/execute", code=SLEEPS, id=busy, timeout=20)
        run = ask(gateway, "/run", code=SLEEPS, timeout=20)
        submission = client.submit(post, gateway, "/submit", **SLOW_C) if shutil.which("gcc") else None
        until(lambda: {gateway.session(id)["state"] for id in (busy, streams)} == {"busy"})
        until(lambda: old.health()["runs"]["active"])
        until(lambda: submission is None or old.health()["submissions"]["active"])
        fleet.start(gateways=0, nodes=1)
        old.process.terminate()
        until(lambda: post(gateway, "/execute", code="x", id=idle).status_code == 503)
        assert refusal(post(gateway, "/execute", code="x", id=idle), 503)
        for _ in range(10):
            assert gateway.execute("1")["error"] is None
            assert gateway.run("print(1)")["stdout"] == "1\n"
        assert fleet.nodes[1].health()["sessions"]["open"] == 10
        assert answer_on(execution)["stdout"] == answer_on(run)["stdout"] == told(events.rest()) == "done\n"
        if submission is not None:
            assert submission.result().json()["output"] == "ASSERT PASSED!\n"
    assert old.process.wait(5) == 0
    assert time.monotonic() - begun < 10
    assert gateway.execute("x", idle)["error"] == "session not found"


def test_what_does_not_end_is_interrupted_at_the_end_of_the_drain(start: Start) -> None:
    fleet = start(nodes=1, DRAIN_SECONDS=1)
    id = fleet.gateway.execute("1")["id"]
    execution = ask(fleet.gateway, "/execute", code=LOOPS, id=id, timeout=30)
    run = ask(fleet.gateway, "/run", code=LOOPS, timeout=60)
    until(lambda: fleet.gateway.session(id)["state"] == "busy" and fleet.nodes[0].health()["runs"]["active"])
    began = time.monotonic()
    assert fleet.nodes[0].stop() == 0
    assert time.monotonic() - began < 4
    assert answer_on(execution)["error"] == "execution interrupted"
    with run.getresponse() as answer:
        assert answer.status == 503 and answer.headers["Retry-After"]
    run.close()


def test_a_reader_that_has_stopped_reading_does_not_keep_a_node(start: Start) -> None:
    fleet = start(nodes=1, DRAIN_SECONDS=1)
    with Events(fleet.gateway, "for n in range(60): display(str(n) * 100_000)", timeout=20) as events:
        id = events.read().data["id"]
        until(lambda: fleet.gateway.session(id)["state"] == "idle")
        began = time.monotonic()
        assert fleet.nodes[0].stop() == 0
        assert time.monotonic() - began < 6


def test_a_gateway_ends_what_it_was_asked(start: Start) -> None:
    fleet = start(gateways=2, nodes=2, DRAIN_SECONDS=20)
    old, other = fleet.gateways
    busy, streams = (other.execute("x = 1")["id"] for _ in range(2))
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as client, Events(old, SLEEPS, streams, timeout=20) as events:
        execution = ask(old, "/execute", code=SLEEPS, id=busy, timeout=20)
        run = ask(old, "/run", code=SLEEPS, timeout=20)
        submission = client.submit(post, old, "/submit", **SLOW_C) if shutil.which("gcc") else None
        until(lambda: {other.session(id)["state"] for id in (busy, streams)} == {"busy"})
        until(lambda: sum(node.health()["runs"]["active"] for node in fleet.nodes))
        until(lambda: submission is None or sum(node.health()["submissions"]["active"] for node in fleet.nodes))
        old.process.terminate()
        assert answer_on(execution)["stdout"] == answer_on(run)["stdout"] == told(events.rest()) == "done\n"
        if submission is not None:
            assert submission.result().json()["output"] == "ASSERT PASSED!\n"
    assert old.process.wait(5) == 0
    assert time.monotonic() - begun < 10
    assert other.execute("x", busy)["result"] == "1"


def test_a_gateway_does_not_wait_for_ever(start: Start) -> None:
    fleet = start(gateways=2, nodes=1, DRAIN_SECONDS=1)
    old, other = fleet.gateways
    id = other.execute("x = 1")["id"]
    execution = ask(old, "/execute", code=LOOPS, id=id, timeout=30)
    until(lambda: other.session(id)["state"] == "busy")
    began = time.monotonic()
    assert old.stop() == 0
    assert time.monotonic() - began < 4
    with execution.getresponse() as answer:
        assert json.loads(answer.read())["error"] == "execution interrupted"
    execution.close()
    assert other.execute("x", id)["result"] == "1"


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_submissions_that_do_not_end_before_their_gateway_are_refused(start: Start) -> None:
    fleet = start(gateways=2, nodes=1, DRAIN_SECONDS=1)
    hangs = {"code": "int f(void) { for (;;) ; }", "tests": "assert(f());", "timeout": 60, "perTestTimeout": 60}
    submission = ask(fleet.gateway, "/submit", **hangs)
    until(lambda: fleet.nodes[0].health()["submissions"]["active"])
    fleet.gateway.process.terminate()
    with submission.getresponse() as answer:
        assert answer.status == 503 and answer.headers["Retry-After"]
        assert "shutting down" in json.loads(answer.read())["error"]
    submission.close()
    assert fleet.gateway.process.wait(10) == 0
    until(lambda: not fleet.nodes[0].health()["submissions"]["active"] and fleet.nats.backlog() == 0)


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_submissions_that_wait_outlive_all_nodes_that_drain(start: Start) -> None:
    """More nodes stop in turn than a submission may be delivered times: none of them was lost."""
    fleet = start(nodes=1, SUBMIT_CONCURRENCY=1, DRAIN_SECONDS=20)
    with ThreadPoolExecutor(6) as clients:
        submissions = [clients.submit(post, fleet.gateway, "/submit", **SLOW_C) for _ in range(6)]
        until(lambda: fleet.nats.backlog() == 6)
        for _ in range(4):
            fleet.start(gateways=0, nodes=1, SUBMIT_CONCURRENCY=1, DRAIN_SECONDS=20)
            assert fleet.living(fleet.nodes)[0].stop() == 0
        assert [submission.result().json()["output"] for submission in submissions] == ["ASSERT PASSED!\n"] * 6
