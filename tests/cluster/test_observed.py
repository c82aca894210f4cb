"""Gateways and nodes tell their own figures, are ready when they can work, and the gateway keeps the audit log."""

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.conftest import Server, answer_on, until
from tests.prometheus import scrape, value, watched

pytestmark = pytest.mark.skipif(not shutil.which("nats-server"), reason="needs nats-server")

ADD = "int add(int a, int b) { return a + b; }"
ENDINGS = ("pyrunner_executions_total", "pyrunner_runs_total", "pyrunner_submissions_total")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def nats(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = ["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def started(log: Path, role: str, port: int) -> Iterator[Server]:
    settings = {"LOG_FORMAT": "json", "LOG_LEVEL": "debug", "SESSION_LIBRARIES": "plain", "POOL_SIZE": 1}
    server = Server(log, ROLE=role, NATS_URL=f"nats://127.0.0.1:{port}", **settings)
    try:
        yield server
    finally:
        server.stop()


def readiness(server: Server) -> tuple[int, str]:
    answer = requests.get(f"{server.url}/readyz", timeout=10)
    assert answer.ok or int(answer.headers["Retry-After"]) > 0
    return answer.status_code, answer.json().get("error", "ready")


def is_ready(server: Server) -> bool:
    return readiness(server) == (200, "ready")


class Cluster:
    """A gateway and a node; nats-server can be killed and started again."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack, self._port = folder, stack, free_port()
        self.start_nats()
        self.node = stack.enter_context(started(folder / "node.log", "node", self._port))
        self.gateway = stack.enter_context(started(folder / "gateway.log", "gateway", self._port))
        until(lambda: is_ready(self.node) and is_ready(self.gateway), 30)
        until(lambda: self.gateway.execute("1")["error"] is None)

    def start_nats(self) -> None:
        self.nats = self._stack.enter_context(nats(self._port, self._folder / "jetstream"))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path, stack)


def test_gateway_and_node_each_count_what_was_done(cluster: Cluster) -> None:
    gateway, node = cluster.gateway, cluster.node
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


def test_the_gateway_keeps_the_audit_log(cluster: Cluster) -> None:
    id = cluster.gateway.execute("print('seven')")["id"]
    (line,) = [event for event in cluster.gateway.events() if event.get("session") == id]
    assert (line["logger"], line["role"], line["output_bytes"]) == ("audit", "gateway", 6)
    events = cluster.node.events()
    assert {event["role"] for event in events} == {"node"}
    assert "audit" not in {event["logger"] for event in events}


def test_a_line_of_a_node_names_the_request_that_the_gateway_took(cluster: Cluster) -> None:
    connection = cluster.gateway.ask_run("while True: pass")
    until(lambda: cluster.gateway.health()["runs"]["active"] == 1)
    connection.close()
    told = until(lambda: [event for event in cluster.node.events() if "nobody waits" in event["message"]])
    (audited,) = until(lambda: [e for e in cluster.gateway.events() if e.get("outcome") == "abandoned"])
    assert [event["request"] for event in told] == [audited["request"]]


def test_calls_in_flight_are_told(cluster: Cluster) -> None:
    id = cluster.gateway.execute("import time")["id"]
    connection = cluster.gateway.ask("time.sleep(30)", id, timeout=30)
    for server in (cluster.gateway, cluster.node):
        until(lambda server=server: value(scrape(server), "pyrunner_cluster_calls") == 1)
    until(lambda: cluster.gateway.interrupt(id)["interrupted"])
    answer_on(connection)
    until(lambda: value(scrape(cluster.gateway), "pyrunner_cluster_calls") == 0)


def test_without_nats_they_live_and_are_not_ready(cluster: Cluster) -> None:
    cluster.nats.kill()
    for server in (cluster.gateway, cluster.node):
        until(lambda server=server: readiness(server) == (503, "NATS cannot be reached"))
        assert requests.get(f"{server.url}/livez", timeout=10).status_code == 200
        samples = scrape(server)
        assert value(samples, "pyrunner_cluster_up") == value(samples, "pyrunner_ready") == 0
    with watched(cluster.gateway, *ENDINGS) as changes:
        answer = requests.post(f"{cluster.gateway.url}/execute", json={"code": "1"}, timeout=10)
    assert answer.status_code == 503
    assert changes == {"pyrunner_executions_total{outcome=failed}": 1}
    cluster.start_nats()
    for server in (cluster.gateway, cluster.node):
        until(lambda server=server: is_ready(server), 30)
        assert value(scrape(server), "pyrunner_cluster_up") == 1


def test_a_node_that_drains_says_so_until_it_has_ended(cluster: Cluster) -> None:
    id = cluster.gateway.execute("import time")["id"]
    connection = cluster.gateway.ask("time.sleep(1.5)\nprint('done')", id, timeout=30)
    until(lambda: cluster.gateway.session(id)["state"] == "busy")
    cluster.node.process.send_signal(signal.SIGTERM)
    until(lambda: readiness(cluster.node) == (503, "The server is shutting down"))
    assert value(scrape(cluster.node), "pyrunner_draining") == 1
    assert answer_on(connection)["stdout"] == "done\n"
    assert cluster.node.process.wait(20) == 0


@pytest.mark.parametrize("role", ["gateway", "node"])
def test_one_that_never_found_nats_lives_and_can_be_stopped(tmp_path: Path, role: str) -> None:
    with started(tmp_path / "server.log", role, free_port()) as server:
        assert requests.get(f"{server.url}/livez", timeout=10).status_code == 200
        assert readiness(server) == (503, "NATS cannot be reached")
        assert server.stop() == 0
    assert [
        event["level"]
        for event in server.events()
        if event["logger"].startswith("cluster") and event["level"] != "DEBUG"
    ] == ["ERROR"]


def test_a_node_answers_for_itself_only(cluster: Cluster) -> None:
    for path, status in (("", 200), ("livez", 200), ("metrics", 200), ("sessions", 404), ("docs", 404)):
        assert requests.get(f"{cluster.node.url}/{path}", timeout=10).status_code == status
    assert requests.post(f"{cluster.node.url}/execute", json={"code": "1"}, timeout=10).status_code == 404
