"""/metrics, /livez and /readyz: each ending moves its own counter, and no client can make up a label."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

import psutil
import pytest
import requests
from prometheus_client.openmetrics import parser as openmetrics
from starlette.routing import Mount, Route

from cluster.turns import QueueFull
from judge import errors as judging
from server import endings
from server.app import create_app
from server.metrics import BUCKETS_S, Metrics
from server.settings import Settings
from sessions import errors
from sessions.session import MOST_WAITING
from tests.conftest import Server, answer_on, running, until
from tests.prometheus import Samples, scrape, value, watched
from tests.rogues import SPIKES

ENDINGS = ("pyrunner_executions_total", "pyrunner_runs_total", "pyrunner_submissions_total")
KILLS = "pyrunner_kills_total"
LATENCIES = ("pyrunner_execution_seconds_count", "pyrunner_run_seconds_count", "pyrunner_submission_seconds_count")
DEAF = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)"
ADD = "int add(int a, int b) { return a + b; }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose figures nobody else moves."""
    settings = {"SESSION_LIBRARIES": "plain", "POOL_SIZE": 2, "RUN_CONCURRENCY": 1, "RUN_QUEUE_SIZE": 0}
    with running(tmp_path_factory.mktemp("server") / "server.log", MAX_SESSIONS=3, **settings) as server:
        yield server.wait_ready("plain")


@pytest.fixture(autouse=True)
def no_sessions(server: Server) -> Iterator[None]:
    yield
    for session in server.http.get(f"{server.url}/sessions", timeout=10).json()["sessions"]:
        server.close(session["id"])


def leave(server: Server, connection: HTTPConnection, is_over: Callable[[], Any]) -> None:
    """Close the connection, and wait until the server has noticed."""
    connection.close()
    until(is_over)


def interrupted(server: Server) -> None:
    id = server.execute("1")["id"]
    connection = server.ask("import time\ntime.sleep(30)", id, timeout=30)
    until(lambda: server.interrupt(id)["interrupted"])
    assert answer_on(connection)["error"] == "execution interrupted"


def left(server: Server) -> None:
    id = server.execute("1")["id"]
    connection = server.ask("import time\ntime.sleep(30)", id, timeout=30)
    until(lambda: server.session(id)["state"] == "busy")
    leave(server, connection, lambda: server.session(id)["state"] == "idle")


def left_its_stream(server: Server) -> None:
    id = server.execute("1")["id"]
    body = {"code": "import time\nprint(1)\ntime.sleep(30)", "id": id, "timeout": 30}
    events = {"Accept": "text/event-stream"}
    with requests.post(f"{server.url}/execute", json=body, headers=events, stream=True, timeout=10) as answer:
        assert next(answer.iter_lines()) == b"event: session"
    until(lambda: server.session(id)["state"] == "idle")


def over_the_most(server: Server) -> None:
    for _ in range(3):
        server.execute("1")
    assert server.execute("1")["error"] == "max sessions reached"


def busy(server: Server) -> None:
    """One runs, 16 wait, one is refused; all but that are interrupted or done."""
    id = server.execute("import time")["id"]

    def ask(code: str) -> int:
        fields = {"code": code, "id": id, "timeout": 30}
        return requests.post(f"{server.url}/execute", json=fields, timeout=60).status_code

    with ThreadPoolExecutor(MOST_WAITING + 2) as pool:
        running = pool.submit(ask, "time.sleep(30)")
        until(lambda: server.session(id)["state"] == "busy")
        others = [pool.submit(ask, "1") for _ in range(MOST_WAITING + 1)]
        until(lambda: any(other.done() for other in others))
        server.interrupt(id)
        assert sorted(one.result() for one in (running, *others)) == [200] * (MOST_WAITING + 1) + [429]


def streamed(server: Server) -> None:
    events = {"Accept": "text/event-stream"}
    answer = requests.post(f"{server.url}/execute", json={"code": "print(1)"}, headers=events, timeout=10)
    assert "event: done" in answer.text


def of_executions(**counts: int) -> dict[str, float]:
    return {f"pyrunner_executions_total{{outcome={outcome}}}": count for outcome, count in counts.items()}


def of_runs(**counts: int) -> dict[str, float]:
    return {f"pyrunner_runs_total{{outcome={outcome}}}": count for outcome, count in counts.items()}


def of_submissions(**counts: int) -> dict[str, float]:
    return {f"pyrunner_submissions_total{{outcome={outcome}}}": count for outcome, count in counts.items()}


def killed(kind: str, **counts: int) -> dict[str, float]:
    return {f"{KILLS}{{cause={cause},kind={kind}}}": count for cause, count in counts.items()}


EXECUTIONS: dict[str, tuple[Callable[[Server], object], dict[str, float], dict[str, float]]] = {
    "done": (lambda s: s.execute("1"), of_executions(done=1), {}),
    "done as events": (streamed, of_executions(done=1), {}),
    "an exception": (lambda s: s.execute("1 / 0"), of_executions(done=1), {}),
    "timeout": (lambda s: s.execute("while True: pass", timeout=0.1), of_executions(execution_timeout=1), {}),
    "timeout, deaf": (
        lambda s: s.execute(DEAF, timeout=0.1),
        of_executions(execution_timeout=1),
        killed("session", timeout=1),
    ),
    "memory": (lambda s: s.execute("x = bytearray(2**30)"), of_executions(memory_limit_exceeded=1), {}),
    "crash": (
        lambda s: s.execute("import os\nos._exit(3)"),
        of_executions(session_crashed=1),
        killed("session", crash=1),
    ),
    "interrupted": (interrupted, of_executions(done=1, execution_interrupted=1), {}),
    "left": (left, of_executions(done=1, execution_interrupted=1), {}),
    "left its stream": (left_its_stream, of_executions(done=1, execution_interrupted=1), {}),
    "not found": (lambda s: s.execute("1", "nobody"), of_executions(session_not_found=1), {}),
    "max sessions": (over_the_most, of_executions(done=3, max_sessions_reached=1), {}),
    "busy": (busy, of_executions(done=MOST_WAITING + 1, execution_interrupted=1, refused=1), {}),
}


@pytest.mark.parametrize("name", EXECUTIONS)
def test_each_ending_of_an_execution_moves_its_counter_and_no_other(server: Server, name: str) -> None:
    act, expected, kills = EXECUTIONS[name]
    with watched(server, *ENDINGS, KILLS, *LATENCIES) as changes:
        act(server)
    timed = {"done", "execution_timeout", "memory_limit_exceeded", "session_crashed", "execution_interrupted"}
    latency = sum(count for series, count in expected.items() if series.split("=")[1].rstrip("}") in timed)
    assert changes == expected | kills | ({"pyrunner_execution_seconds_count{}": latency} if latency else {})


def test_a_session_that_the_watchdog_kills_for_its_memory_is_counted(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain", POOL_SIZE=1, ALLOW_STUBS_ONLY="true", SANDBOX_STEPS="session")
    with watched(server, *ENDINGS, KILLS) as changes:
        server.execute(SPIKES["a shared mapping"].code + "\nimport time\ntime.sleep(1)")
    assert changes == of_executions(memory_limit_exceeded=1) | killed("session", memory=1)


def test_sessions_that_are_closed_are_counted_by_who_closed_them(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain", POOL_SIZE=1, IDLE_TIMEOUT_SECONDS=0.5)
    with watched(server, KILLS) as changes:
        server.close(server.execute("1")["id"])
        idle = server.execute("1")["id"]
        until(lambda: server.session(idle).get("error"))
    assert changes == killed("session", closed=1, idle=1)


def leave_a_run(server: Server) -> None:
    connection = server.ask_run("while True: pass")
    until(lambda: server.health()["runs"]["active"] == 1)
    leave(server, connection, lambda: server.health()["runs"]["active"] == 0)


def overfill_the_runs(server: Server) -> None:
    connection = server.ask_run("while True: pass", timeout=1)
    until(lambda: server.health()["runs"]["active"] == 1)
    assert requests.post(f"{server.url}/run", json={"code": "1"}, timeout=10).status_code == 429
    assert answer_on(connection)["status"] == "timeout"


RUNS: dict[str, tuple[Callable[[Server], object], dict[str, float], dict[str, float]]] = {
    "success": (lambda s: s.run("print(1)"), of_runs(success=1), {}),
    "error": (lambda s: s.run("1 / 0"), of_runs(error=1), {}),
    "violation": (lambda s: s.run("import os"), of_runs(error=1), {}),
    "timeout": (lambda s: s.run("while True: pass", timeout=1), of_runs(timeout=1), killed("run", timeout=1)),
    "memory": (lambda s: s.run("x = bytearray(2**30)"), of_runs(memory_exceeded=1), {}),
    "left": (leave_a_run, of_runs(abandoned=1), killed("run", abandoned=1)),
    "full": (overfill_the_runs, of_runs(timeout=1, refused=1), killed("run", timeout=1)),
}


@pytest.mark.parametrize("name", RUNS)
def test_each_ending_of_a_run_moves_its_counter_and_no_other(server: Server, name: str) -> None:
    act, expected, kills = RUNS[name]
    with watched(server, *ENDINGS, KILLS) as changes:
        act(server)
    assert changes == expected | kills


def submit(server: Server, **fields: Any) -> None:
    assert server.http.post(f"{server.url}/submit", json=fields, timeout=60).status_code == 200


def leave_a_submission(server: Server) -> None:
    connection = server._ask("/submit", {"code": "void f(void) { while (1); }", "tests": "f(); assert(1);"})
    until(lambda: server.health()["submissions"]["active"] == 1)
    leave(server, connection, lambda: server.health()["submissions"]["active"] == 0)


SUBMISSIONS: dict[str, tuple[Callable[[Server], object], str]] = {
    "done": (lambda s: submit(s, code=ADD, tests="assert(add(1, 2) == 3);", valgrind=False), "done"),
    "tests failed": (lambda s: submit(s, code=ADD, tests="assert(add(1, 2) == 4);", valgrind=False), "tests_failed"),
    "not run": (
        lambda s: submit(s, code=ADD, tests="assert(*(volatile int *)0);", valgrind=False),
        "not_run",
    ),
    "not compiled": (lambda s: submit(s, code="int f(void) { return x; }"), "not_compiled"),
    "not built": (lambda s: submit(s, code="void f(void) { abort(); }", blacklisted=["abort"]), "not_built"),
    "left": (leave_a_submission, "abandoned"),
}


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_each_ending_of_a_submission_moves_its_counter_and_no_other(server: Server, name: str) -> None:
    act, outcome = SUBMISSIONS[name]
    with watched(server, *ENDINGS, KILLS) as changes:
        act(server)
    assert changes == of_submissions(**{outcome: 1})


def test_where_submissions_cannot_be_judged_they_fail(
    start_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    server = start_server(SESSION_LIBRARIES="plain", POOL_SIZE=1)
    until(lambda: server.health()["submissions"]["unavailable"])
    with watched(server, *ENDINGS, *LATENCIES) as changes:
        answer = server.http.post(f"{server.url}/submit", json={"code": ADD}, timeout=10)
    assert answer.status_code == 503
    assert changes == of_submissions(failed=1)
    assert value(scrape(server), "pyrunner_judge_available") == 0


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (errors.NoWorker("none"), "failed"),
        (errors.Draining(), "refused"),
        (judging.Draining(), "refused"),
        (judging.LauncherLost("it has ended"), "failed"),
        (QueueFull("full"), "refused"),
        (RuntimeError("a fault"), "failed"),
        (asyncio.CancelledError(), "abandoned"),
    ],
)
def test_what_is_raised_is_one_of_the_words_that_are_told(error: BaseException, ending: str) -> None:
    assert endings.of_run(error) == endings.of_submission(error) == ending
    assert ending in endings.RUNS and ending in endings.SUBMISSIONS
    of_execution = "execution_interrupted" if ending == "abandoned" else ending
    assert endings.of_execution(error) == of_execution and of_execution in endings.EXECUTIONS


def test_processor_time_of_code_is_counted_by_kind(server: Server) -> None:
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    loop = "n = 0\nfor i in range(4_000_000): n += i"
    with watched(server, "pyrunner_cpu_seconds_total") as changes:
        server.execute(burn)
        server.run(loop)
    assert 0.3 <= changes.pop("pyrunner_cpu_seconds_total{kind=execution}") < 1
    assert 0.05 <= changes.pop("pyrunner_cpu_seconds_total{kind=run}") < 5
    assert not changes


def test_a_latency_is_in_the_bucket_that_it_belongs_to(server: Server) -> None:
    with watched(server, "pyrunner_execution_seconds_bucket", "pyrunner_execution_seconds_sum") as changes:
        server.execute("import time\ntime.sleep(0.3)")
    assert 0.3 <= changes.pop("pyrunner_execution_seconds_sum{}") < 0.5
    bounds = [*(str(bound) for bound in BUCKETS_S if bound >= 0.5), "+Inf"]
    assert changes == {f"pyrunner_execution_seconds_bucket{{le={bound}}}": 1 for bound in bounds}


def test_sessions_are_told_by_state(server: Server) -> None:
    idle, busy = server.execute("1")["id"], server.execute("1")["id"]
    connection = server.ask("import time\ntime.sleep(30)", busy, timeout=30)
    until(lambda: server.session(busy)["state"] == "busy")
    samples = scrape(server)
    told = {state: value(samples, "pyrunner_sessions", state=state) for state in ("starting", "idle", "busy")}
    assert told == {"starting": 0, "idle": 1, "busy": 1}
    assert value(samples, "pyrunner_sessions_max") == 3
    server.interrupt(busy)
    answer_on(connection)
    server.close(idle)
    assert value(scrape(server), "pyrunner_sessions") == 1


def test_warm_workers_and_zygotes_are_told_by_tier(server: Server) -> None:
    until(lambda: server.health()["sessions"]["warm"] == 2 and server.health()["runs"]["warm"] == {"plain": 2})
    samples = scrape(server)
    for kind in ("session", "run"):
        assert value(samples, "pyrunner_pool_workers", kind=kind, tier="plain") == 2
        assert value(samples, "pyrunner_pool_size", kind=kind) == 2
    states = {state: value(samples, "pyrunner_zygote_state", tier="plain", state=state) for state in ("ready", "down")}
    assert states == {"ready": 1, "down": 0}


def test_queues_are_told(server: Server) -> None:
    connection = server.ask_run("while True: pass")
    until(lambda: server.health()["runs"]["active"] == 1)
    samples = scrape(server)
    told = {name: value(samples, f"pyrunner_queue_{name}", queue="runs") for name in ("active", "waiting", "slots")}
    assert told == {"active": 1, "waiting": 0, "slots": 1}
    assert value(samples, "pyrunner_queue_max_waiting", queue="submissions") == 100
    leave(server, connection, lambda: server.health()["runs"]["active"] == 0)


def test_executions_that_wait_for_their_session_are_told(server: Server) -> None:
    id = server.execute("import time")["id"]
    first = server.ask("time.sleep(1)", id, timeout=20)
    behind = [server.ask("1", id) for _ in range(3)]
    assert value(scrape(server), "pyrunner_executions_waiting") == 3
    for connection in (first, *behind):
        assert answer_on(connection)["error"] is None
    assert value(scrape(server), "pyrunner_executions_waiting") == 0
    server.close(id)


def test_connections_are_told(server: Server) -> None:
    server.health()
    before = value(scrape(server), "pyrunner_open_connections")
    more = [HTTPConnection(server.url.removeprefix("http://")) for _ in range(3)]
    for connection in more:
        connection.connect()
    until(lambda: value(scrape(server), "pyrunner_open_connections") == before + 3)
    for connection in more:
        connection.close()


def routes_of(app: Any) -> set[str]:
    return {route.path for route in app._app.routes if isinstance(route, Route | Mount)}


def labels_of(samples: Samples, name: str, label: str) -> set[str]:
    return {dict(labels)[label] for (series, labels) in samples if series == name}


def test_no_client_can_make_up_a_label(server: Server) -> None:
    paths = [f"/{'marker' * 3}{number}" for number in range(50)]
    paths += [f"/sessions/marker{number}" for number in range(50)]
    paths += [
        f"/sessions/marker{number}/{what}" for number in range(20) for what in ("interrupt", "marker", "complete")
    ]
    paths += ["/docs/assets/marker.js", "/docs/assets/%6d%61rker", "/notebook/assets/../../marker", "//marker", "/%00m"]
    paths += ["/execute?marker=1", "/metrics?name[]=marker", "/livez/marker", "/%0apyrunner_marker%201"]
    before = scrape(server)
    for number, path in enumerate(paths):
        method = ("GET", "POST", "PUT", "PATCH", "OPTIONS", "PROPFIND", "REPORT", "PURGE", "MKCOL", "DELETE")[
            number % 10
        ]
        requests.request(method, server.url + path, headers={"X-Marker": "marker"}, timeout=10)
    after = scrape(server)
    name = "pyrunner_http_requests_total"
    known = routes_of(create_app(Settings(_env_file=None))) | {"unmatched"}
    assert labels_of(after, name, "route") <= known
    assert labels_of(after, name, "method") <= {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH", "other"}
    assert not any("marker" in f"{series}{labels}" for series, labels in after)
    assert sum(after[series] - before.get(series, 0) for series in after if series[0] == name) == len(paths) + 1
    assert {series[0] for series in after} == {series[0] for series in before} | {name}
    assert len(after) - len(before) <= 60, "at most a series for each method, route and status that was met"


def test_answers_are_counted_by_method_route_and_status(server: Server) -> None:
    with watched(server, "pyrunner_http_requests_total") as changes:
        id = server.execute("1")["id"]
        server.session(id)
        server.close(id)
        server.close(id)
        server.http.post(f"{server.url}/execute", json={}, timeout=10)
        server.http.head(server.url, timeout=10)
        server.http.get(f"{server.url}/docs/assets/nothing", timeout=10)
        server.http.get(server.url, headers={"Host": "evil.example"}, timeout=10)
    series = "pyrunner_http_requests_total{{method={},route={},status={}}}"
    assert changes == {
        series.format("POST", "/execute", 200): 1,
        series.format("GET", "/sessions/{id}", 200): 1,
        series.format("DELETE", "/sessions/{id}", 204): 1,
        series.format("DELETE", "/sessions/{id}", 404): 1,
        series.format("POST", "/execute", 422): 1,
        series.format("HEAD", "/", 200): 1,
        series.format("GET", "/docs/assets", 404): 1,
        series.format("GET", "unmatched", 421): 1,
        series.format("GET", "/metrics", 200): 1,
    }


def test_answers_to_what_is_no_request_are_counted_too(server: Server) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    with watched(server, "pyrunner_http_requests_total") as changes:
        for data in (b"marker\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000):
            with socket.create_connection((host, int(port)), 10) as connection:
                connection.sendall(data)
                connection.recv(1)
    series = "pyrunner_http_requests_total{{method={},route={},status={}}}"
    assert changes.pop(series.format("GET", "/metrics", 200)) == 1
    assert changes == {series.format("other", "unread", status): 1 for status in (400, 431)}


def test_all_series_have_the_role_and_all_labels_are_there_from_the_start(start_server: Callable[..., Server]) -> None:
    samples = scrape(start_server(SESSION_LIBRARIES="plain", POOL_SIZE=0, RUN_POOL_SIZE=0))
    assert all(("role", "all") in labels for _, labels in samples)
    assert labels_of(samples, "pyrunner_executions_total", "outcome") == {*endings.EXECUTIONS}
    assert labels_of(samples, "pyrunner_runs_total", "outcome") == {*endings.RUNS}
    assert labels_of(samples, "pyrunner_submissions_total", "outcome") == {*endings.SUBMISSIONS}
    assert not any(name.endswith("_created") for name, _ in samples)


def test_what_asks_for_openmetrics_gets_it(server: Server) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = server.http.get(f"{server.url}/metrics", headers=accept, timeout=10)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name for family in openmetrics.text_string_to_metric_families(answer.text)}
    assert {"pyrunner_executions", "pyrunner_execution_seconds", "process_open_fds"} <= families
    plain = server.http.get(f"{server.url}/metrics", timeout=10)
    assert plain.headers["content-type"].startswith("text/plain") and plain.headers["cache-control"] == "no-store"


def test_the_server_lives_and_is_ready(server: Server) -> None:
    for path, status in (("livez", "live"), ("readyz", "ready")):
        answer = server.http.get(f"{server.url}/{path}", timeout=10)
        assert (answer.status_code, answer.json()) == (200, {"status": status})
    assert value(scrape(server), "pyrunner_ready") == 1


def test_a_server_without_workers_lives_and_is_not_ready(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain", POOL_SIZE=1, LOG_LEVEL="error").wait_ready("plain")

    def refusals() -> list[requests.Response]:
        for zygote in server.zygotes():  # one that keeps dying is started again ever later
            try:
                os.kill(zygote.pid, signal.SIGKILL)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        answer = server.http.get(f"{server.url}/readyz", timeout=10)
        return [] if answer.ok else [answer]

    (answer,) = until(refusals)
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    assert answer.json() == {"error": "No worker can be had yet"}
    assert server.http.get(f"{server.url}/livez", timeout=10).status_code == 200
    until(lambda: server.http.get(f"{server.url}/readyz", timeout=10).ok)


def test_a_registry_is_a_server_s_own() -> None:
    one, other = Metrics("all", "1"), Metrics("node", "1")
    one.executed("done", 0.1, 0.1)
    assert b'pyrunner_executions_total{outcome="done",role="all"} 1.0' in one.render("")[0]
    assert b'pyrunner_executions_total{outcome="done",role="node"} 0.0' in other.render("")[0]
