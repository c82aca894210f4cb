"""The audit log: one line for each execution, run and submission, out before the answer, with no word of the code."""

import hashlib
import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
import requests

from server.keys import new_key
from tests.conftest import Server, answer_on, running, until

KEYS = [
    *("time", "level", "logger", "message", "role"),
    *("event", "outcome", "status", "key", "request", "session"),
    *("code_sha256", "tests_sha256", "code_chars", "wall_s", "cpu_s", "memory_mib", "output_bytes"),
]
ADD = "int add(int a, int b) { return a + b; }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"SESSION_LIBRARIES": "plain", "POOL_SIZE": 2, "RUN_CONCURRENCY": 1, "RUN_QUEUE_SIZE": 0}
    log = tmp_path_factory.mktemp("server") / "server.log"
    with running(log, LOG_FORMAT="json", MAX_SESSIONS=10, **settings) as server:
        yield server.wait_ready("plain")


def audited(server: Server) -> list[dict[str, Any]]:
    return [event for event in server.events() if event["logger"] == "audit"]


def line_of(server: Server, answer: requests.Response) -> dict[str, Any]:
    """The one line about the request that was answered."""
    (line,) = [event for event in audited(server) if event["request"] == answer.headers["X-Request-ID"]]
    assert list(line) == KEYS
    assert (line["level"], line["role"], line["key"]) == ("INFO", "all", None)
    return line


def post(server: Server, path: str, status: int = 200, **fields: Any) -> requests.Response:
    answer = server.http.post(f"{server.url}/{path}", json=fields, timeout=60)
    assert answer.status_code == status, answer.text
    return answer


def cpu_seconds(server: Server) -> float:
    """Processor time of its zygotes and workers."""
    spent = 0.0
    for process in server.worker_processes():
        with suppress(psutil.Error):  # it has just ended
            spent += process.cpu_times().user
    return spent


def test_an_execution_is_told_with_what_it_used(server: Server) -> None:
    code = "print('€uro')\nx = bytearray(8 * 2**20)\nsum(range(1_000_000))"
    answer = post(server, "execute", code=code)
    line = line_of(server, answer)
    assert line["message"] == "execution: done"
    assert {key: line[key] for key in ("event", "outcome", "status")} == {
        "event": "execution",
        "outcome": "done",
        "status": 200,
    }
    assert line["session"] == answer.json()["id"]
    assert line["code_sha256"] == hashlib.sha256(code.encode()).hexdigest()
    assert line["code_chars"] == len(code)
    assert line["wall_s"] == answer.json()["execution_time"] and line["memory_mib"] == answer.json()["memory_used"] > 7
    assert 0 < line["cpu_s"] <= line["wall_s"] + 0.05
    assert line["output_bytes"] == len("€uro\n".encode())


def test_an_execution_that_is_streamed_is_told_once(server: Server) -> None:
    events = {"Accept": "text/event-stream"}
    answer = requests.post(f"{server.url}/execute", json={"code": "print(1)"}, headers=events, timeout=10)
    line = line_of(server, answer)
    assert (line["outcome"], line["status"], line["output_bytes"]) == ("done", 200, 2)
    assert f'"{line["session"]}"' in answer.text


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"code": "while True: pass", "timeout": 0.1}, "execution_timeout"),
        ({"code": "x = bytearray(2**30)"}, "memory_limit_exceeded"),
        ({"code": "import os\nos._exit(3)"}, "session_crashed"),
        ({"code": "1", "id": "0b9f6ad5-3a83-44f4-a5f5-3d6f2f7d5c58"}, "session_not_found"),
    ],
)
def test_each_end_is_told(server: Server, fields: dict[str, Any], outcome: str) -> None:
    answer = post(server, "execute", **fields)
    line = line_of(server, answer)
    assert (line["outcome"], line["status"], line["session"]) == (outcome, 200, answer.json()["id"])
    server.close(answer.json()["id"])


def test_an_id_that_is_none_of_ours_is_not_repeated(server: Server) -> None:
    assert line_of(server, post(server, "execute", code="1", id="MARKER"))["session"] is None


def test_a_run_is_told(server: Server) -> None:
    code = "print('a' * 10)\nn = sum(range(1_000_000))"
    answer = post(server, "run", code=code)
    line = line_of(server, answer)
    assert (line["event"], line["outcome"], line["status"], line["session"]) == ("run", "success", 200, None)
    assert line["code_sha256"] == hashlib.sha256(code.encode()).hexdigest()
    assert (line["wall_s"], line["output_bytes"]) == (answer.json()["execution_time"], 11)


def test_a_submission_is_told(server: Server) -> None:
    tests = "assert(add(1, 1) == 3);"
    line = line_of(server, post(server, "submit", code=ADD, tests=tests, valgrind=False))
    assert (line["event"], line["outcome"], line["status"]) == ("submission", "tests_failed", 200)
    assert line["code_sha256"] == hashlib.sha256(ADD.encode()).hexdigest()
    assert line["tests_sha256"] == hashlib.sha256(tests.encode()).hexdigest()
    assert line["memory_mib"] is None and line["cpu_s"] > 0


def test_who_is_refused_is_told(server: Server) -> None:
    connection = server.ask_run("while True: pass", timeout=1)
    until(lambda: server.health()["runs"]["active"] == 1)
    line = line_of(server, post(server, "run", 429, code="1"))
    assert (line["outcome"], line["status"], line["wall_s"]) == ("refused", 429, 0)
    answer_on(connection)
    assert audited(server)[-1]["outcome"] == "timeout"


def test_a_client_that_left_is_told(server: Server) -> None:
    before = cpu_seconds(server)
    connection = server.ask_run("while True: pass")
    until(lambda: cpu_seconds(server) > before + 0.1)
    connection.close()
    line = until(lambda: next((line for line in audited(server) if line["outcome"] == "abandoned"), None))
    assert (line["event"], line["status"]) == ("run", None)
    assert line["cpu_s"] > 0, "it was used, though nobody waited for the end"
    id = server.execute("1")["id"]
    connection = server.ask("import time\ntime.sleep(30)", id, timeout=30)
    until(lambda: server.session(id)["state"] == "busy")
    connection.close()
    line = until(lambda: next((line for line in audited(server) if line["outcome"] == "execution_interrupted"), None))
    assert (line["event"], line["session"]) == ("execution", id)


def test_what_never_became_one_is_not_told(server: Server) -> None:
    before = len(audited(server))
    post(server, "execute", 422, code="")
    post(server, "execute", 422, code="1", timeout=1000)
    server.http.get(f"{server.url}/sessions", timeout=10)
    assert len(audited(server)) == before


def test_what_was_answered_is_in_the_log_of_a_server_that_is_killed(start_server: Callable[..., Server]) -> None:
    server = start_server(LOG_FORMAT="json", SESSION_LIBRARIES="plain", POOL_SIZE=1)
    answers = [post(server, "execute", code=f"{number}") for number in range(5)]
    server.stop(signal.SIGKILL)
    assert [line["request"] for line in audited(server)] == [answer.headers["X-Request-ID"] for answer in answers]


def test_as_text_it_is_in_the_log_if_it_is_asked_for(start_server: Callable[..., Server]) -> None:
    server = start_server(AUDIT_LOG="true", LOG_LEVEL="error", SESSION_LIBRARIES="plain", POOL_SIZE=1)
    answer = post(server, "execute", code="print('MARKER')")
    (line,) = [line for line in server.log.read_text().splitlines() if " INFO audit: " in line]
    fields = dict(field.split("=") for field in line.partition("audit: ")[2].split(" "))
    assert list(fields) == KEYS[5:]
    assert fields["request"] == answer.headers["X-Request-ID"] and fields["session"] == answer.json()["id"]
    assert (fields["outcome"], fields["status"], fields["key"]) == ("done", "200", "-")
    assert "MARKER" not in line and re.fullmatch(r"[0-9a-f]{64}", fields["code_sha256"])


@pytest.mark.parametrize("settings", [{}, {"LOG_FORMAT": "json", "AUDIT_LOG": "false"}])
def test_it_can_be_off(start_server: Callable[..., Server], settings: dict[str, str]) -> None:
    server = start_server(SESSION_LIBRARIES="plain", POOL_SIZE=1, **settings)
    server.execute("1")
    told = server.log.read_text() + (json.dumps(server.events()) if server.lines else "")
    assert "audit" not in told


def test_it_names_the_key_and_is_on_where_there_are_keys(start_server: Callable[..., Server]) -> None:
    token, entry = new_key("ada")
    server = start_server(API_KEYS=f"{entry}:sessions=1", SESSION_LIBRARIES="plain", POOL_SIZE=1)
    server.http.headers["Authorization"] = f"Bearer {token}"
    post(server, "execute", code="1")
    post(server, "execute", 429, code="2")
    post(server, "run", code="3")
    server.http.headers["Authorization"] = "Bearer nobody"
    post(server, "run", 401, code="4")
    told = [line for line in server.log.read_text().splitlines() if " INFO audit: " in line]
    fields = [dict(field.split("=") for field in line.partition("audit: ")[2].split(" ")) for line in told]
    assert [(line["event"], line["outcome"], line["status"], line["key"]) for line in fields] == [
        ("execution", "done", "200", "ada"),
        ("execution", "refused", "429", "ada"),
        ("run", "success", "200", "ada"),
    ]
    assert token not in server.log.read_text()
