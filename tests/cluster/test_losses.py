"""What is lost, what is kept and what is told when a node, a gateway or the nats-server is killed."""

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

import psutil
import pytest
import requests

from tests.cluster.conftest import Start
from tests.cluster.fleet import Fleet, Nats, ask, post, refusal
from tests.conftest import Server, answer_on, until
from tests.events import Events

LOOPS = "while True: pass"
SLOW_C = {
    "code": "#include <unistd.h>\nint f(void) { sleep(1); return 1; }",
    "tests": "assert(f());",
    "timeout": 20,
    "perTestTimeout": 10,
}
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def is_busy(server: Server, id: str) -> bool:
    return bool(server.session(id)["state"] == "busy")


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.monotonic()
    value = call()
    return time.monotonic() - began, value


def submitted(server: Server, **fields: Any) -> Any:
    answer = post(server, "/submit", **SLOW_C | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def active(node: Server, what: str) -> int:
    queue = node.health()[what]
    return int(queue["active"] + queue["waiting"])


# A node


def test_the_sessions_of_a_killed_node_are_not_found_and_others_notice_nothing(start: Start) -> None:
    fleet = start(nodes=2)
    gateway, (lost, kept) = fleet.gateway, fleet.nodes
    gone = [fleet.session_on(lost) for _ in range(5)]
    there = [fleet.session_on(kept) for _ in range(5)]
    for n, id in enumerate(gone + there):
        gateway.execute(f"n = {n}", id)
    crashing = ask(gateway, "/execute", code=f"print('a')\n{LOOPS}", id=gone[0], timeout=30)
    goes_on = ask(gateway, "/execute", code="import time\ntime.sleep(2)\nn", id=there[0], timeout=30)
    with Events(gateway, "import time\nfor n in range(20): print(n); time.sleep(0.1)", there[1], timeout=30) as events:
        until(lambda: is_busy(gateway, gone[0]) and is_busy(gateway, there[0]) and is_busy(gateway, there[1]))
        with Events(gateway, LOOPS, gone[1], timeout=30) as cut:
            cut.read()
            lost.stop(signal.SIGKILL)
            killed = time.monotonic()
            for id in gone[2:]:
                seconds, answer = timed(lambda id=id: gateway.execute("n", id))
                assert seconds < 1 and answer["error"] == "session not found" and answer["id"] == id
            crash = answer_on(crashing)
            assert time.monotonic() - killed < 1.5
            assert (crash["error"], crash["state"], crash["id"]) == ("session crashed", "lost", gone[0])
            assert cut.until("done").data["error"] == "session crashed"
            assert time.monotonic() - killed < 2
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/interrupt")):
            url = f"{gateway.url}/sessions/{gone[3]}{path}"
            seconds, told = timed(lambda method=method, url=url: requests.request(method, url, timeout=10))
            assert seconds < 1 and told.status_code == 404
        for n, id in enumerate(there[2:], 7):
            assert gateway.execute("n", id)["result"] == str(n)
        for _ in range(4):  # what is opened now comes to the living one
            assert gateway.execute("1")["state"] == "kept"
        assert answer_on(goes_on)["result"] == "5"
        events.rest()
    assert events.done["stdout"] == "".join(f"{n}\n" for n in range(20))
    assert kept.health()["sessions"]["open"] == 9
    assert {
        session["id"] for session in gateway.http.get(f"{gateway.url}/sessions", timeout=10).json()["sessions"]
    } >= set(there)


@needs_gcc
def test_runs_and_submissions_of_a_killed_node_are_done_elsewhere(start: Start) -> None:
    fleet = start(nodes=2)
    lost = fleet.nodes[0]
    with ThreadPoolExecutor(8) as clients:
        runs: list[Future[requests.Response]] = []
        while not active(lost, "runs"):
            runs.append(clients.submit(post, fleet.gateway, "/run", code="import time\ntime.sleep(2)\nprint('ran')"))
            until(lambda: sum(active(node, "runs") for node in fleet.nodes) == len(runs))
        submissions = [clients.submit(submitted, fleet.gateway) for _ in range(4)]
        until(lambda: active(lost, "submissions"))
        children = lost.descendants()
        lost.stop(signal.SIGKILL)
        assert [run.result().json()["stdout"] for run in runs] == ["ran\n"] * len(runs)
        for submission in submissions:
            verdict = submission.result()
            assert (verdict["run"], verdict["failed_tests"], verdict["output"]) == (True, [], "ASSERT PASSED!\n")
    until(lambda: fleet.nats.backlog() == 0)
    until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))


def test_a_node_that_is_killed_while_it_opens_sessions(start: Start) -> None:
    """Each caller is told something true, and sessions that were told of are there or are not found."""
    fleet = start(nodes=2, MAX_SESSIONS=200)
    stop = threading.Event()

    def client() -> list[dict[str, Any]]:
        told = []
        with requests.Session() as http:
            while not stop.is_set():
                answer = http.post(f"{fleet.gateway.url}/execute", json={"code": "x = 6 * 7\nx"}, timeout=30)
                assert answer.status_code == 200, answer.text
                told.append(answer.json())
        return told

    with ThreadPoolExecutor(4) as clients:
        working = [clients.submit(client) for _ in range(4)]
        until(lambda: fleet.nodes[0].health()["sessions"]["open"] > 10)
        fleet.nodes[0].stop(signal.SIGKILL)
        open_then = fleet.nodes[1].health()["sessions"]["open"]
        until(lambda: fleet.nodes[1].health()["sessions"]["open"] > open_then + 10)
        stop.set()
        told = [answer for work in working for answer in work.result()]
    assert {answer["error"] for answer in told} <= {
        None,
        "session crashed",
        "max sessions reached",
        "session not found",
    }
    assert sum(answer["error"] is not None for answer in told) <= 4
    left = [answer["id"] for answer in told if answer["error"] is None]
    answers = [fleet.gateway.execute("x", id) for id in left[-30:]]
    assert {answer["result"] for answer in answers if answer["error"] is None} == {"42"}


# A gateway


def test_the_sessions_of_a_killed_gateway_live_on(start: Start) -> None:
    fleet = start(gateways=2, nodes=2)
    lost, other = fleet.gateways
    ids = [fleet.session_on(node, lost) for node in fleet.nodes]
    for id in ids:
        lost.execute(f"mine = {id!r}", id)
    asked = ask(lost, "/execute", code=LOOPS, id=ids[0], timeout=30)
    run = ask(lost, "/run", code=LOOPS, timeout=60)
    with Events(lost, LOOPS, ids[1], timeout=30) as events:
        events.read()
        until(lambda: all(is_busy(other, id) for id in ids))
        until(lambda: sum(active(node, "runs") for node in fleet.nodes) == 1)
        lost.stop(signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: not any(is_busy(other, id) for id in ids))
        assert time.monotonic() - killed < 2
    until(lambda: sum(active(node, "runs") for node in fleet.nodes) == 0, 2)
    for connection in (asked, run):
        connection.close()
    assert [other.execute("mine", id)["result"] for id in ids] == [repr(id) for id in ids]
    assert {one["id"] for one in other.http.get(f"{other.url}/sessions", timeout=10).json()["sessions"]} >= set(ids)


@needs_gcc
def test_submissions_of_a_killed_gateway_are_given_up(start: Start) -> None:
    fleet = start(gateways=2, nodes=1)
    lost = fleet.gateway
    connections = [ask(lost, "/submit", **SLOW_C | {"timeout": 60}) for _ in range(6)]
    until(lambda: fleet.nats.backlog() == 6 and active(fleet.nodes[0], "submissions"))
    lost.stop(signal.SIGKILL)
    until(lambda: fleet.nats.backlog() == 0 and not active(fleet.nodes[0], "submissions"))
    for connection in connections:
        connection.close()
    assert submitted(fleet.gateways[1])["run"] is True


# The nats-server


@needs_gcc
def test_without_nats_all_is_refused_and_with_it_all_is_there_again(start: Start, nats: Nats) -> None:
    fleet = start(gateways=2, nodes=2)
    gateway = fleet.gateway
    ids = [fleet.session_on(node) for node in fleet.nodes]
    for id in ids:
        gateway.execute(f"mine = {id!r}", id)
    in_flight: list[HTTPConnection] = [
        ask(gateway, "/execute", code=LOOPS, id=ids[0], timeout=30),
        ask(gateway, "/run", code=LOOPS, timeout=60),
        ask(gateway, "/submit", **SLOW_C | {"timeout": 60}),
    ]
    with Events(gateway, LOOPS, ids[1], timeout=30) as cut:
        cut.read()
        until(lambda: all(is_busy(fleet.gateways[1], id) for id in ids))
        until(lambda: sum(active(node, "runs") for node in fleet.nodes) == 1)
        until(lambda: sum(active(node, "submissions") for node in fleet.nodes) == 1)
        nats.kill()
        killed = time.monotonic()
        for connection in in_flight:
            with connection.getresponse() as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
                assert " " in json.loads(answer.read())["error"]
            connection.close()
        assert " " in cut.until("error").data["error"]
        with pytest.raises(EOFError):
            cut.read()
        assert time.monotonic() - killed < 2
    away = {"code": "1"}, {"code": "1", "id": ids[0]}
    for _ in range(2):
        for path, body in [("/execute", away[0]), ("/execute", away[1]), ("/run", away[0]), ("/submit", away[0])]:
            seconds, told = timed(lambda path=path, body=body: post(gateway, path, **body))
            assert refusal(told, 503) and seconds < 2
    for method, path in [
        ("GET", ""),
        ("GET", f"/{ids[0]}"),
        ("DELETE", f"/{ids[0]}"),
        ("POST", f"/{ids[0]}/interrupt"),
    ]:
        seconds, told = timed(lambda m=method, p=path: requests.request(m, f"{gateway.url}/sessions{p}", timeout=10))
        assert refusal(told, 503) and seconds < 2
    for server in fleet.gateways + fleet.nodes:
        assert requests.get(f"{server.url}/livez", timeout=5).status_code == 200
    assert gateway.health()["nodes"] == 0

    nats.start()
    fleet.wait_ready()
    for gateway in fleet.gateways:
        assert [gateway.execute("mine", id)["result"] for id in ids] == [repr(id) for id in ids]
        assert gateway.execute("6 * 7")["result"] == "42"
        assert gateway.run("print('ran')")["stdout"] == "ran\n"
        until(lambda gateway=gateway: post(gateway, "/submit", **SLOW_C).status_code == 200)
    until(lambda: nats.backlog() == 0)
    assert not any(active(node, "runs") + active(node, "submissions") for node in fleet.nodes)


def test_gateways_and_nodes_may_be_started_before_nats(tmp_path: Any, nats: Nats) -> None:
    nats.kill()
    fleet = Fleet(tmp_path, nats)
    try:
        with ThreadPoolExecutor(1) as starter:
            starting = starter.submit(fleet.start)
            until(lambda: len(fleet.members) == 3)
            until(lambda: all(refuses(gateway) for gateway in fleet.members if "gateway" in gateway.log.name))
            nats.start()
            starting.result()
        assert fleet.gateway.execute("6 * 7")["result"] == "42"
        assert fleet.gateway.run("print('ran')")["stdout"] == "ran\n"
        assert submitted(fleet.gateway)["run"] is True
    finally:
        fleet.stop()


def refuses(gateway: Server) -> bool:
    return bool(refusal(post(gateway, "/execute", code="1"), 503))


def test_who_is_stopped_while_nats_is_away_stops(start: Start, nats: Nats) -> None:
    fleet = start(nodes=1)
    nats.kill()
    for member in (fleet.gateway, *fleet.nodes):
        seconds, status = timed(member.stop)
        assert (status, seconds < 5) == (0, True)
