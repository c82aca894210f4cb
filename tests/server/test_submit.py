"""POST /submit: every key of the answer, what is refused, the queue, and that a client who leaves leaves nothing."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import psutil
import pytest
import requests

from sandbox.limits import SOURCE_CHARS
from tests.conftest import Server, running, until

pytestmark = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("valgrind")), reason="gcc and valgrind are not installed"
)
SEED_KEYS = [
    "build",
    "compile",
    "run",
    "output",
    "compilation_time",
    "run_time",
    "valgrind",
    "formatted_response",
    "failed_tests",
]
KEYS = [*SEED_KEYS, "tests_detail", "diagnostics", "memory", "truncated", "detail", "cached"]
ADD = "int add(int a, int b) {\n    return a + b;\n}\n"
HANGS = {"code": "int f(void) { for (;;) ; }", "tests": "assert(f());", "timeout": 60, "perTestTimeout": 60}
MARK = "MARK_IN_THE_CODE"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one submission at a time."""
    log = tmp_path_factory.mktemp("small") / "server.log"
    settings = {"SESSION_LIBRARIES": "plain", "RUN_LIBRARIES": "plain", "POOL_SIZE": 0, "RUN_POOL_SIZE": 0}
    with running(log, SUBMIT_CONCURRENCY=1, SUBMIT_QUEUE_SIZE=2, SUBMIT_MAX_MEMORY_LIMIT_MB=512, **settings) as server:
        yield server
        assert server.stop() == 0


def post(server: Server, **fields: Any) -> requests.Response:
    return server.http.post(f"{server.url}/submit", json=fields, timeout=60)


def submit(server: Server, code: str, tests: str | None = None, **fields: Any) -> dict[str, Any]:
    answer = post(server, code=code, tests=tests, **fields)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert list(body) == KEYS
    return body


def ask(server: Server, **fields: Any) -> HTTPConnection:
    """POST /submit on a connection of its own, which has arrived when this returns."""
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.request("POST", "/submit", json.dumps(fields), {"Content-Type": "application/json"})
    server.health()
    return connection


def figures(server: Server) -> tuple[int, int]:
    told = server.health()["submissions"]
    return told["active"], told["waiting"]


def is_launcher(process: psutil.Process) -> bool:
    try:
        return "sandbox.launch" in " ".join(process.cmdline())
    except psutil.Error:  # it has just died
        return False


def programs(server: Server) -> list[psutil.Process]:
    """What the launcher runs."""
    launchers = [process for process in psutil.Process(server.process.pid).children() if is_launcher(process)]
    return [process for outer in launchers for process in outer.children(recursive=True)[1:]]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def test_the_answer_has_each_key_of_the_seed_and_ours(small: Server) -> None:
    answer = submit(small, ADD, "assert(add(1, 2) == 3);\nassert(add(1, 1) == 3);")
    assert answer["build"] and answer["compile"] and answer["run"]
    assert answer["output"] == "ASSERT PASSED!\nASSERT FAILED: add(1, 1) == 3\n"
    assert answer["failed_tests"] == [2]
    assert answer["compilation_time"] > 0 and answer["run_time"] > 0
    assert [test["verdict"] for test in answer["tests_detail"]] == ["passed", "failed"]
    assert set(answer["tests_detail"][0]) == {"number", "source", "verdict", "signal", "seconds", "output", "detail"}


def test_a_compile_error_is_data_with_its_line(small: Server) -> None:
    answer = submit(small, "int f(void) {\n    return missing;\n}", "assert(f());")
    assert answer["build"] and not answer["compile"] and not answer["run"]
    assert answer["formatted_response"][0][0] == 2 and "missing" in answer["formatted_response"][0][1]
    assert answer["run_time"] == -1
    assert answer["diagnostics"][0]["line"] == 2 and answer["diagnostics"][0]["severity"] == "error"


def test_a_refused_name_is_data_with_its_line(small: Server) -> None:
    answer = submit(small, "#include <stdlib.h>\nint f(void) {\n    return system(0);\n}", blacklisted=["system"])
    assert not answer["build"] and not answer["compile"] and answer["compilation_time"] == -1
    line, sentence = answer["formatted_response"][0]
    assert line == 3 and "system" in sentence


def test_memory_findings_are_objects(small: Server) -> None:
    answer = submit(small, "#include <stdlib.h>\nvoid *f(void) {\n    return malloc(9);\n}", "assert(f());")
    (finding,) = answer["memory"]
    assert finding["kind"] == "Leak_DefinitelyLost" and finding["bytes"] == 9 and finding["line"] == 3
    assert finding["stack"][0] == {"function": "f", "line": 3, "place": "code"}
    assert "f (line 3)" in answer["valgrind"]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({}, ["code"]),
        ({"code": ""}, ["code"]),
        ({"code": "x" * (SOURCE_CHARS + 1)}, ["code"]),
        ({"code": 1}, ["code"]),
        ({"code": MARK, "tests": 1}, ["tests"]),
        ({"code": MARK, "timeout": 0}, ["timeout"]),
        ({"code": MARK, "timeout": 61}, ["timeout"]),
        ({"code": MARK, "timeout": 1.5}, ["timeout"]),
        ({"code": MARK, "timeout": "5"}, ["timeout"]),
        ({"code": MARK, "perTestTimeout": 0}, ["perTestTimeout"]),
        ({"code": MARK, "per_test_timeout": 5}, ["per_test_timeout"]),
        ({"code": MARK, "memory_limit": 15}, ["memory_limit"]),
        ({"code": MARK, "memory_limit": 513}, ["memory_limit"]),
        ({"code": MARK, "whitelisted": "printf"}, ["whitelisted"]),
        ({"code": MARK, "whitelisted": [1]}, ["whitelisted", 0]),
        ({"code": MARK, "blacklisted": [""]}, ["blacklisted", 0]),
        ({"code": MARK, "flags": ["-Wl,x"]}, ["flags"]),
        ({"code": MARK, "flags": ["-O2"] * 40}, ["flags"]),
        ({"code": MARK, "valgrind": "no"}, ["valgrind"]),
        ({"code": MARK, "session_id": "x"}, ["session_id"]),
    ],
)
def test_a_wrong_field_is_422_with_its_place(small: Server, fields: dict[str, Any], place: list[Any]) -> None:
    answer = post(small, **fields)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == ["body", *place]
    assert MARK not in answer.text


def test_whole_seconds_may_be_written_as_a_fraction(small: Server) -> None:
    assert submit(small, ADD, timeout=15.0, perTestTimeout=5.0, valgrind=False)["compile"]


def test_a_queue_that_is_full_is_429_and_who_leaves_leaves_nothing(small: Server) -> None:
    asked = [ask(small, **HANGS) for _ in range(3)]
    until(lambda: figures(small) == (1, 2))
    until(lambda: programs(small))
    answer = post(small, code=ADD)
    assert answer.status_code == 429 and answer.headers["Retry-After"]
    assert "submissions are waiting" in answer.json()["error"]
    for connection in asked:
        connection.close()
    until(lambda: figures(small) == (0, 0))
    until(lambda: not programs(small))
    assert submit(small, ADD, "assert(add(2, 2) == 4);", valgrind=False)["failed_tests"] == []


def test_the_health_tells_the_tools_and_the_queue(small: Server) -> None:
    submit(small, ADD, valgrind=False)
    told = small.health()["submissions"]
    assert told["versions"]["gcc"] and told["versions"]["valgrind"] and told["unavailable"] is None
    assert (told["at_once"], told["max_waiting"]) == (1, 2)


@pytest.mark.parametrize("text", ["\x00", "\ud800", "\x7f\x1b[0m", "é", "\U0001f600", "\r\n"])
def test_any_text_in_code_and_tests_gets_an_answer(small: Server, text: str) -> None:
    body = json.dumps({"code": f"/* {text} */ {ADD}", "tests": f"assert(1); /* {text} */", "blacklisted": [f"x{text}"]})
    answer = small.http.post(f"{small.url}/submit", body, headers={"Content-Type": "application/json"}, timeout=60)
    assert answer.status_code in (200, 422), answer.text
    assert "error" in answer.json() or list(answer.json()) == KEYS


def test_any_bytes_that_a_program_prints_come_back(small: Server) -> None:
    code = "#include <stdio.h>\nint f(void) { for (int i = 0; i < 256; i++) putchar(i); return 1; }"
    output = submit(small, code, "assert(f());", valgrind=False)["output"]
    assert "\x00\x01" in output and "\\x80" in output and "\\xff" in output


def test_without_valgrind_it_answers_503_with_a_sentence_and_the_rest_works(
    start_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gcc").symlink_to(shutil.which("gcc"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    server = start_server(SESSION_LIBRARIES="plain", RUN_LIBRARIES="plain", POOL_SIZE=0, RUN_POOL_SIZE=0)
    answer = post(server, code=ADD)
    assert answer.status_code == 503 and "valgrind is not installed" in answer.json()["error"]
    assert answer.headers["Retry-After"]
    assert "valgrind" in server.health()["submissions"]["unavailable"]
    assert server.execute("6 * 7")["result"] == "42"


def test_a_server_that_is_killed_leaves_no_program(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain", RUN_LIBRARIES="plain", POOL_SIZE=0, RUN_POOL_SIZE=0)
    with closing(ask(server, **HANGS)):
        until(lambda: len(programs(server)) == 2)  # the program and valgrind
        left = [*filter(is_launcher, server.descendants()), *programs(server)]
        server.process.kill()
        until(lambda: not any(map(is_alive, left)))
