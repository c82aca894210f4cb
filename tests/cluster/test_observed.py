"""Gateways and nodes tell their own figures, are ready when they can work, and the gateway keeps the audit log."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.cluster.fleet import Fleet, Nats, ask
from tests.conftest import Server, answer_on, running, until
from tests.prometheus import scrape, value, watched

ADD = "int add(int a, int b) { return a + b; }"
ENDINGS = ("pyrunner_executions_total", "pyrunner_runs_total", "pyrunner_submissions_total")


def readiness(server: Server) -> tuple[int, str]:
    answer = requests.get(f"{server.url}/readyz", timeout=10)
    assert answer.ok or int(answer.headers["Retry-After"]) > 0
    return answer.status_code, answer.json().get("error", "ready")


def is_ready(server: Server) -> bool:
    return readiness(server) == (200, "ready")


@pytest.fixture
def fleet(start: Callable[..., Fleet]) -> Fleet:
    """A gateway and a node with their logs as JSON."""
    return start(nodes=1, LOG_FORMAT="json", LOG_LEVEL="debug")


def test_gateway_and_node_each_count_what_was_done(fleet: Fleet) -> None:
    gateway, node = fleet.gateway, fleet.nodes[0]
    until(lambda: gateway.http.post(f"{gateway.url}/submit", json={"code": ADD}, timeout=60).ok)
    with watched(node, *ENDINGS, "pyrunner_cpu_seconds_total") as done, watched(gateway, *ENDINGS) as got:
        gateway.execute("sum(range(1_000_000))")
        gateway.execute("while True: pass", timeout=0.1)
        gateway.run("print(1)")
        gateway.http.post(f"{gateway.url}/submit", json={"code": ADD, "tests": "assert(add(1, 1) == 3);"}, timeout=60)
        gateway.execute("1", "0b9f6ad5-3a83-44f4-a5f5-3d6f2f7d5c58")
    ends = {
        "pyrunner_executions_total{outcome=done}": 1,
        "pyrunner_executions_total{outcome=execution_timeout}": 1,
        "pyrunner_runs_total{outcome=success}": 1,
        "pyrunner_submissions_total{outcome=tests_failed}": 1,
    }
    assert got == ends | {"pyrunner_executions_total{outcome=session_not_found}": 1}
    assert done.pop("pyrunner_cpu_seconds_total{kind=execution}") > 0.05
    assert done.pop("pyrunner_cpu_seconds_total{kind=submission}") > 0
    done.pop("pyrunner_cpu_seconds_total{kind=run}", None)
    assert done == ends
    for server, role in ((gateway, "gateway"), (node, "node")):
        samples = scrape(server)
        assert all(("role", role) in labels for _, labels in samples)
        assert ("pyrunner_sessions_max" in {name for name, _ in samples}) == (role == "node")


def test_the_gateway_keeps_the_audit_log(fleet: Fleet) -> None:
    id = fleet.gateway.execute("print('seven')")["id"]
    (line,) = [event for event in fleet.gateway.events() if event.get("session") == id]
    assert (line["logger"], line["role"], line["output_bytes"]) == ("audit", "gateway", 6)
    events = fleet.nodes[0].events()
    assert {event["role"] for event in events} == {"node"}
    assert "audit" not in {event["logger"] for event in events}


def test_an_execution_that_is_lost_while_it_is_streamed_is_told(fleet: Fleet) -> None:
    body = {"code": "import time\nprint(1, flush=True)\ntime.sleep(20)", "timeout": 30}
    events = {"Accept": "text/event-stream"}
    url = f"{fleet.gateway.url}/execute"
    with requests.post(url, json=body, headers=events, stream=True, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines) == b"event: session"
        fleet.nats.kill()
        assert b"event: error" in lines
    (line,) = [event for event in fleet.gateway.events() if event["logger"] == "audit"]
    assert (line["outcome"], line["status"]) == ("failed", 200), "the status was sent before"
    assert line["request"] == answer.headers["X-Request-ID"] and line["session"]


def test_a_line_of_a_node_names_the_request_that_the_gateway_took(fleet: Fleet) -> None:
    connection = fleet.gateway.ask_run("while True: pass")
    until(lambda: fleet.gateway.health()["runs"]["active"] == 1)
    connection.close()
    told = until(lambda: [event for event in fleet.nodes[0].events() if "nobody waits" in event["message"]])
    (audited,) = until(lambda: [e for e in fleet.gateway.events() if e.get("outcome") == "abandoned"])
    assert [event["request"] for event in told] == [audited["request"]]


def test_calls_in_flight_are_told(fleet: Fleet) -> None:
    id = fleet.gateway.execute("import time")["id"]
    connection = fleet.gateway.ask("time.sleep(30)", id, timeout=30)
    for server in (fleet.gateway, fleet.nodes[0]):
        until(lambda server=server: value(scrape(server), "pyrunner_cluster_calls") == 1)
    until(lambda: fleet.gateway.interrupt(id)["interrupted"])
    answer_on(connection)
    until(lambda: value(scrape(fleet.gateway), "pyrunner_cluster_calls") == 0)


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_submissions_that_wait_for_a_node_are_told(start: Callable[..., Fleet]) -> None:
    fleet = start(nodes=1, SUBMIT_CONCURRENCY=1, SUBMIT_QUEUE_SIZE=7)
    gateway, (node,) = fleet.gateway, fleet.nodes
    slow = {
        "code": "#include <unistd.h>\nint f(void) { sleep(1); return 1; }",
        "tests": "assert(f());",
        "valgrind": False,
    }
    connections = [ask(gateway, "/submit", **slow) for _ in range(3)]

    def told() -> tuple[int, int, int]:
        queue = gateway.health()["submissions"]
        return queue["active"], queue["waiting"], queue["max_waiting"]

    until(lambda: told() == (1, 2, 7))
    assert value(scrape(node), "pyrunner_queue_active", queue="submissions") == 1
    assert value(scrape(gateway), "pyrunner_queue_waiting", queue="submissions") == 2
    assert value(scrape(gateway), "pyrunner_queue_max_waiting", queue="submissions") == 7
    for connection in connections:
        assert answer_on(connection)["run"] is True
    assert value(scrape(gateway), "pyrunner_queue_waiting", queue="submissions") == 0


def test_without_nats_they_live_and_are_not_ready(fleet: Fleet) -> None:
    fleet.nats.kill()
    for server in (fleet.gateway, fleet.nodes[0]):
        until(lambda server=server: readiness(server) == (503, "NATS cannot be reached"))
        assert requests.get(f"{server.url}/livez", timeout=10).status_code == 200
        samples = scrape(server)
        assert value(samples, "pyrunner_cluster_up") == value(samples, "pyrunner_ready") == 0
    with watched(fleet.gateway, *ENDINGS) as changes:
        answer = requests.post(f"{fleet.gateway.url}/execute", json={"code": "1"}, timeout=10)
    assert answer.status_code == 503
    assert changes == {"pyrunner_executions_total{outcome=failed}": 1}
    fleet.nats.start()
    for server in (fleet.gateway, fleet.nodes[0]):
        until(lambda server=server: is_ready(server), 30)
        assert value(scrape(server), "pyrunner_cluster_up") == 1


def test_a_node_that_drains_says_so_until_it_has_ended(fleet: Fleet) -> None:
    id = fleet.gateway.execute("import time")["id"]
    connection = fleet.gateway.ask("time.sleep(1.5)\nprint('done')", id, timeout=30)
    until(lambda: fleet.gateway.session(id)["state"] == "busy")
    fleet.nodes[0].process.send_signal(signal.SIGTERM)
    until(lambda: readiness(fleet.nodes[0]) == (503, "The server is shutting down"))
    assert value(scrape(fleet.nodes[0]), "pyrunner_draining") == 1
    assert answer_on(connection)["stdout"] == "done\n"
    assert fleet.nodes[0].process.wait(20) == 0


@pytest.mark.parametrize("role", ["gateway", "node"])
def test_one_that_never_found_nats_lives_and_can_be_stopped(tmp_path: Path, nats: Nats, role: str) -> None:
    nats.kill()
    settings = {"ROLE": role, "NATS_URL": nats.url, "LOG_FORMAT": "json", "SESSION_LIBRARIES": "plain"}
    with running(tmp_path / "server.log", **settings) as server:
        assert requests.get(f"{server.url}/livez", timeout=10).status_code == 200
        assert readiness(server) == (503, "NATS cannot be reached")
        assert server.stop() == 0
    assert [
        event["level"]
        for event in server.events()
        if event["logger"].startswith("cluster") and event["level"] != "DEBUG"
    ] == ["ERROR"]


def test_a_node_answers_for_itself_only(fleet: Fleet) -> None:
    for path, status in (("", 200), ("livez", 200), ("metrics", 200), ("sessions", 404), ("docs", 404)):
        assert requests.get(f"{fleet.nodes[0].url}/{path}", timeout=10).status_code == status
    assert requests.post(f"{fleet.nodes[0].url}/execute", json={"code": "1"}, timeout=10).status_code == 404
