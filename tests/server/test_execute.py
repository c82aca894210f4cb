"""POST /execute and the sessions behind it: the table of the interface, row by row, and what surrounds it."""

import ast
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Server, answer_on, running, until

Run = Callable[..., dict[str, Any]]

KEYS = {
    "id",
    "stdout",
    "stderr",
    "error",
    "result",
    "outputs",
    "truncated",
    "execution_time",
    "memory_used",
    "state",
    "detail",
    "partial",
}
NOTHING: dict[str, Any] = {
    "stdout": None,
    "stderr": None,
    "error": None,
    "result": None,
    "outputs": [],
    "truncated": False,
    "state": "kept",
    "detail": None,
    "partial": None,
}
NOT_KEPT_QUIET = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('before')\ntime.sleep(60)"
LARGE = "x = bytearray(150 * 1024 * 1024)\nx[0] = 1"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of short limits."""
    log = tmp_path_factory.mktemp("small") / "server.log"
    with running(
        log, TIMEOUT_SECONDS=0.3, MAX_TIMEOUT_SECONDS=30, MAX_SESSIONS=3, SESSION_LIBRARIES="plain", POOL_SIZE=2
    ) as server:
        yield server.wait_ready("plain")
        assert server.stop() == 0


@pytest.fixture(autouse=True)
def closed_sessions(small: Server) -> Iterator[None]:
    """No test finds the sessions of another in the small server."""
    yield
    for session in small.http.get(f"{small.url}/sessions", timeout=10).json()["sessions"]:
        small.close(session["id"])


def without_figures(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer but for its id and what is different each time."""
    return {key: value for key, value in answer.items() if key not in ("id", "execution_time", "memory_used")}


# Basic execution


def test_stdout(session: Run) -> None:
    answer = session("print('Hello')")
    assert without_figures(answer) == NOTHING | {"stdout": "Hello\n"}
    assert answer.keys() == KEYS


def test_stderr(session: Run) -> None:
    answer = session("1 / 0")
    assert without_figures(answer) == NOTHING | {"stderr": answer["stderr"]}
    assert answer["stderr"].endswith("ZeroDivisionError: division by zero\n")


def test_no_output(session: Run) -> None:
    answer = session("x = 1")
    assert without_figures(answer) == NOTHING
    assert answer.keys() == KEYS


def test_syntax_error(session: Run) -> None:
    answer = session("x ===")
    assert answer["stdout"] is None
    assert answer["stderr"].endswith("SyntaxError: invalid syntax\n")
    assert answer["error"] is None


def test_empty_code_rejected(server: Server) -> None:
    assert server.http.post(f"{server.url}/execute", json={"code": ""}, timeout=10).status_code == 422


def test_output_before_an_exception_is_kept(session: Run) -> None:
    answer = session("print('before')\n{}['key']")
    assert answer["stdout"] == "before\n"
    assert answer["stderr"].endswith("KeyError: 'key'\n")


def test_figures_are_those_of_the_execution(session: Run) -> None:
    answer = session("import time\ntime.sleep(0.05)\nx = bytearray(10 * 2**20)\ndel x")
    assert 0.05 <= answer["execution_time"] < 2
    assert 9.5 <= answer["memory_used"] < 14
    answer = session("1")
    assert answer["execution_time"] < 0.05
    assert answer["memory_used"] < 2


# Resource limits


def test_timeout(server: Server, session: Run) -> None:
    started = time.monotonic()
    answer = session("print('before')\nwhile True: x = 1", timeout=0.5)
    assert 0.5 <= time.monotonic() - started < 1.5
    assert without_figures(answer) == NOTHING | {
        "error": "execution timeout",
        "detail": "interrupted after 0.5 s",
        "partial": {"stdout": "before\n", "stderr": None},
    }
    assert session("x")["result"] == "1"


def test_the_default_time_limit_is_the_setting(small: Server) -> None:
    answer = small.execute("import time\ntime.sleep(20)")
    assert answer["error"] == "execution timeout"
    assert answer["detail"] == "interrupted after 0.3 s"
    assert 0.29 <= answer["execution_time"] < 1


def test_a_request_may_lower_and_raise_the_time_limit(small: Server) -> None:
    lowered = small.execute("import time\ntime.sleep(20)", timeout=0.1)
    assert (lowered["error"], lowered["detail"]) == ("execution timeout", "interrupted after 0.1 s")
    raised = small.execute("import time\ntime.sleep(0.5)\nprint('done')", timeout=10)
    assert (raised["error"], raised["stdout"]) == (None, "done\n")


def test_the_highest_time_limit_may_be_asked_for_and_no_higher(small: Server) -> None:
    assert small.execute("print('done')", timeout=30)["stdout"] == "done\n"
    answer = small.http.post(f"{small.url}/execute", json={"code": "1", "timeout": 30.001}, timeout=10)
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "timeout: Input should be less than or equal to 30",
        "detail": [{"loc": ["body", "timeout"], "msg": "Input should be less than or equal to 30"}],
    }


def test_code_that_cannot_be_interrupted_is_killed_after_the_grace(small: Server) -> None:
    started = time.monotonic()
    answer = small.execute(NOT_KEPT_QUIET)
    assert time.monotonic() - started < 1.5
    assert without_figures(answer) == NOTHING | {
        "error": "execution timeout",
        "state": "lost",
        "detail": "killed: it did not end when interrupted at its time limit",
        "partial": {"stdout": "before\n", "stderr": None},
    }
    assert small.execute("1", answer["id"])["error"] == "session not found"


def test_a_loop_in_c_is_killed_after_the_grace(small: Server) -> None:
    answer = small.execute("print('before')\nsum(iter(int, 1))")
    assert (answer["error"], answer["state"]) == ("execution timeout", "lost")
    assert answer["partial"] == {"stdout": "before\n", "stderr": None}


def test_memory_limit(session: Run) -> None:
    session("kept = 'still here'")
    answer = session(f"print('before')\n{LARGE}")
    assert without_figures(answer) == NOTHING | {
        "error": "memory limit exceeded",
        "detail": "an allocation failed at the limit of 100 MiB",
        "partial": {"stdout": "before\n", "stderr": None},
    }
    assert session("kept")["result"] == "'still here'"


def test_a_memory_error_that_is_caught_is_the_codes_own_affair(session: Run) -> None:
    answer = session("try:\n    bytearray(150 * 2**20)\nexcept MemoryError:\n    print('caught')")
    assert (answer["stdout"], answer["error"]) == ("caught\n", None)


def test_normal_with_limits(session: Run) -> None:
    assert session("print('ok')")["stdout"] == "ok\n"


def test_sleep_within_limit(session: Run) -> None:
    assert session("import time\ntime.sleep(1)\nprint('done')")["stdout"] == "done\n"


def test_small_memory_allocation(session: Run) -> None:
    answer = session("x = bytearray(10 * 1024 * 1024)\nx[0] = 1\nprint('ok')")
    assert answer["stdout"] == "ok\n"
    assert 9.5 <= answer["memory_used"] < 14


# Persistent sessions


def test_session_id_returned(session: Run) -> None:
    id = session("x = 1")["id"]
    assert str(uuid.UUID(id)) == id
    assert uuid.UUID(id).version == 4
    assert session("x")["id"] == id


def test_variable_persistence(session: Run) -> None:
    session("x = 42")
    assert session("print(x)")["stdout"] == "42\n"


def test_import_persistence(session: Run) -> None:
    session("import math as m")
    assert session("print(m.sqrt(16))")["stdout"] == "4.0\n"


def test_function_persistence(session: Run) -> None:
    session("def add(a, b):\n    return a + b")
    assert session("print(add(2, 3))")["stdout"] == "5\n"


def test_class_persistence(session: Run) -> None:
    session("class Point:\n    def __init__(self, x):\n        self.x = x")
    session("p = Point(7)")
    assert session("print(p.x, isinstance(p, Point))")["stdout"] == "7 True\n"


@pytest.mark.parametrize("id", [str(uuid.UUID(int=0, version=4)), "no-uuid", "", "../sessions", "é🐍\0", "x" * 100])
def test_session_not_found(server: Server, id: str) -> None:
    answer = server.http.post(f"{server.url}/execute", json={"code": "1", "id": id}, timeout=10)
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == KEYS
    assert without_figures(body) == NOTHING | {
        "error": "session not found",
        "state": "lost",
        "detail": "no such session: it was closed, lost, or never opened",
        "partial": {"stdout": None, "stderr": None},
    }
    assert body["id"] == id


def test_session_isolation(small: Server) -> None:
    first, second = small.execute("x = 'first'")["id"], small.execute("x = 'second'")["id"]
    assert first != second
    assert small.execute("print(x)", first)["stdout"] == "first\n"
    assert small.execute("print(x)", second)["stdout"] == "second\n"


def test_session_cannot_access_other_session_variables(small: Server) -> None:
    small.execute("secret = 42")
    answer = small.execute("print(secret)")
    assert answer["stdout"] is None
    assert answer["stderr"].endswith("NameError: name 'secret' is not defined\n")


def test_what_one_session_does_to_a_module_is_not_seen_by_another(small: Server) -> None:
    small.execute("import math, sys\nmath.pi = 3\nsys.path.append('mine')")
    assert small.execute("import math, sys\nmath.pi > 3.1, 'mine' in sys.path")["result"] == "(True, False)"


def test_crashed_session_isolated(small: Server) -> None:
    other = small.execute("x = 1")["id"]
    crashed = small.execute("import os\nprint('before', flush=True)\nos._exit(3)")
    assert without_figures(crashed) == NOTHING | {
        "error": "session crashed",
        "state": "lost",
        "detail": "exit status 3",
        "partial": {"stdout": "before\n", "stderr": None},
    }
    assert small.execute("x", other)["result"] == "1"
    assert small.execute("x", crashed["id"])["error"] == "session not found"


@pytest.mark.parametrize(
    "error",
    [
        "1 / 0",
        "x ===",
        "import sys; sys.exit('text')",
        "raise KeyboardInterrupt",
        "raise SystemExit(3)",
        "exit()",
        "raise BaseException",
        "def f(): f()\nf()",
        "raise MemoryError",
        "raise GeneratorExit",
    ],
)
def test_session_survives_errors(session: Run, error: str) -> None:
    session("x = 1")
    assert session(error)["state"] == "kept"
    assert session("x")["result"] == "1"


def test_sys_exit_puts_its_text_on_stderr(session: Run) -> None:
    answer = session("import sys\nsys.exit('stopped')")
    assert (answer["stderr"], answer["error"]) == ("stopped\n", None)


def test_multiple_executions_in_session(session: Run) -> None:
    session("total = 0")
    for step in range(1, 6):
        assert session(f"total += {step}\nprint(total)")["stdout"] == f"{step * (step + 1) // 2}\n"


def test_concurrent_sessions(server: Server) -> None:
    asked = [server.ask(f"import time\ntime.sleep(0.1)\nprint({number})") for number in range(5)]
    answers = [answer_on(connection) for connection in asked]
    assert [answer["stdout"] for answer in answers] == [f"{number}\n" for number in range(5)]
    assert len({answer["id"] for answer in answers}) == 5
    for answer in answers:
        server.close(answer["id"])


def test_session_with_timeout_still_returns_id(small: Server) -> None:
    id = small.execute("x = 1")["id"]
    assert small.execute("while True: y = 1", id)["id"] == id
    first = small.execute("while True: y = 1")
    assert first["error"] == "execution timeout"
    assert small.execute("y", first["id"])["result"] == "1"


def test_session_with_memory_limit_still_returns_id(small: Server) -> None:
    answer = small.execute(LARGE)
    assert (answer["error"], answer["state"]) == ("memory limit exceeded", "kept")
    assert small.execute("print('ok')", answer["id"])["stdout"] == "ok\n"


@pytest.mark.parametrize(
    "draw",
    [
        "random.random()",
        "numpy.random.rand()",
        "numpy.random.default_rng().random()",
        "uuid.uuid4()",
        "secrets.token_hex()",
    ],
)
def test_random_differs_between_sessions(server: Server, draw: str) -> None:
    answers = [server.execute(f"import numpy, random, secrets, uuid\n{draw}") for _ in range(4)]
    for answer in answers:
        server.close(answer["id"])
    assert len({answer["result"] for answer in answers}) == 4


def test_a_seed_gives_the_same_numbers_in_every_session(server: Server) -> None:
    code = "import numpy, random\nrandom.seed(1)\nnumpy.random.seed(1)\nrandom.random(), numpy.random.rand()"
    answers = [server.execute(code) for _ in range(2)]
    for answer in answers:
        server.close(answer["id"])
    assert answers[0]["result"] == answers[1]["result"]


# Sandboxing


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.remove('file.txt')",
        "open('test.txt', 'w')",
        "import os\nos.mkdir('newdir')",
        "import socket\nsocket.socket()",
        "import urllib.request\nurllib.request.urlopen('http://example.com')",
    ],
)
def test_files_and_network_are_blocked(session: Run, code: str) -> None:
    answer = session(code)
    assert "PermissionError: [Errno 13] Permission denied" in answer["stderr"]
    assert (answer["stdout"], answer["error"]) == (None, None)


@pytest.mark.parametrize(
    ("code", "stdout"),
    [
        ("import os\nprint(os.getcwd())", "/\n"),
        ("import os\nprint(os.path.join('a', 'b'))", "a/b\n"),
        ("import math\nprint(math.sqrt(16))", "4.0\n"),
        ("print([x**2 for x in range(5)])", "[0, 1, 4, 9, 16]\n"),
    ],
)
def test_what_touches_nothing_works(session: Run, code: str, stdout: str) -> None:
    answer = session(code)
    assert without_figures(answer) == NOTHING | {"stdout": stdout}


def test_sandbox_persists_in_session(session: Run) -> None:
    for _ in range(3):
        assert session("open('test.txt', 'w')")["stderr"].endswith("Permission denied: 'test.txt'\n")
        assert session("print('ok')")["stdout"] == "ok\n"


# The rest of the answer


def test_stdin_is_read_by_input(session: Run) -> None:
    answer = session("name = input('Who? ')\nprint('Hello,', name)", stdin="Ada\n")
    assert answer["stdout"] == "Who? Hello, Ada\n"
    assert session("input()")["stderr"].endswith("EOFError: EOF when reading a line\n")


def test_null_fields_are_as_if_left_out(server: Server, session: Run) -> None:
    answer = session("print(1)", stdin=None, timeout=None)
    assert answer["stdout"] == "1\n"
    opened = server.http.post(f"{server.url}/execute", json={"code": "1", "id": None}, timeout=10).json()
    assert (opened["result"], opened["error"]) == ("1", None)
    server.close(opened["id"])


def test_truncated_output_is_said_so_and_is_no_error(session: Run) -> None:
    answer = session("print('x' * 2**21)\nafter = 1\nafter")
    assert (len(answer["stdout"]), answer["truncated"], answer["error"]) == (2**20, True, None)
    assert answer["result"] == "1"


def test_truncated_output_is_said_so_beside_an_error(small: Server) -> None:
    answer = small.execute("print('x' * 2**21)\nimport time\ntime.sleep(20)")
    assert (len(answer["partial"]["stdout"]), answer["truncated"]) == (2**20, True)


def test_truncated_output_is_said_so_when_the_worker_dies(small: Server) -> None:
    answer = small.execute("print('x' * 2**21)\nimport os\nos._exit(1)")
    assert (len(answer["partial"]["stdout"]), answer["truncated"]) == (2**20, True)


def test_partial_has_nothing_of_an_execution_before(small: Server) -> None:
    id = small.execute("print('of the first')\nimport os\n1 / 0")["id"]
    assert small.execute("os._exit(1)", id)["partial"] == {"stdout": None, "stderr": None}


def test_partial_has_both_streams_and_no_traceback_of_ours(small: Server) -> None:
    code = "import sys, time\nprint('out')\nprint('err', file=sys.stderr)\ntime.sleep(20)"
    assert small.execute(code)["partial"] == {"stdout": "out\n", "stderr": "err\n"}
    assert small.execute(code.replace("time.sleep(20)", "import os; os.abort()"))["partial"] == {
        "stdout": "out\n",
        "stderr": "err\n",
    }


@pytest.mark.parametrize("text", ["\\ud800", "\\0", "\\x7f\\x80\\u2028", "\\U0001f40d"])
def test_any_text_that_is_printed_comes_back_as_json(session: Run, text: str) -> None:
    answer = session(f"print('{text}')\nimport sys\nprint('{text}', file=sys.stderr)\n'{text}'")
    printed = ast.literal_eval(f"'{text}'").encode("utf-8", "backslashreplace").decode()
    assert answer["stdout"] == answer["stderr"] == printed + "\n"
    assert answer["result"] == repr(ast.literal_eval(f"'{text}'"))


def test_any_bytes_that_are_printed_come_back_as_json(session: Run) -> None:
    answer = session("import os, sys\nsys.stdout.buffer.write(bytes(range(256)))\nos.write(2, b'\\xff\\xfe')")
    assert answer["stdout"] == bytes(range(256)).decode("utf-8", "backslashreplace")
    assert answer["stderr"] == "\\xff\\xfe"


def test_json_is_utf_8(server: Server) -> None:
    answer = server.http.post(
        f"{server.url}/execute",
        data='{"code": "print(\'é🐍\')"}'.encode(),
        headers={"Content-Type": "application/json; charset=utf-8"},
        timeout=10,
    )
    assert answer.headers["content-type"] == "application/json"
    body = json.loads(answer.content.decode("utf-8"))
    server.close(body["id"])
    assert body["stdout"] == "é🐍\n"


# Capacity, and the ends of sessions


def refused_for_room(answer: dict[str, Any]) -> bool:
    assert answer["error"] in (None, "max sessions reached")
    return answer["error"] is not None


def test_max_sessions_reached(small: Server) -> None:
    ids = [small.execute("1")["id"] for _ in range(3)]
    answer = small.execute("1")
    assert answer["id"] is None
    assert without_figures(answer) == NOTHING | {
        "error": "max sessions reached",
        "state": "lost",
        "detail": "all 3 sessions are open: close one, or wait until an idle one closes",
        "partial": {"stdout": None, "stderr": None},
    }
    assert small.execute("2", ids[0])["result"] == "2", "those that are open go on"
    assert small.health()["sessions"]["open"] == 3


@pytest.mark.parametrize("end", ["import os; os._exit(0)", "import os; os.abort()", NOT_KEPT_QUIET])
def test_a_crash_or_a_kill_frees_its_slot_at_once(small: Server, end: str) -> None:
    ids = [small.execute("1")["id"] for _ in range(3)]
    assert refused_for_room(small.execute("1"))
    assert small.execute(end, ids[1])["state"] == "lost"
    assert not refused_for_room(small.execute("1"))
    assert refused_for_room(small.execute("1"))


def test_a_delete_frees_its_slot_at_once(small: Server) -> None:
    ids = [small.execute("1")["id"] for _ in range(3)]
    answer = small.http.delete(f"{small.url}/sessions/{ids[0]}", timeout=10)
    assert (answer.status_code, answer.content) == (204, b"")
    assert not refused_for_room(small.execute("1"))
    assert refused_for_room(small.execute("1"))


def test_a_worker_killed_from_outside_frees_its_slot_and_tells_why(small: Server) -> None:
    answer = small.execute("import os\nos.getpid()")
    pid, id = int(answer["result"]), answer["id"]
    (worker,) = [process for process in small.descendants() if process.pid == pid]
    worker.kill()
    until(lambda: small.health()["sessions"]["open"] == 0)
    answer = small.execute("1", id)
    assert answer["error"] == "session not found"
    assert answer["detail"].startswith("the session was lost")


def test_an_idle_session_is_closed_within_2_s_of_its_deadline_and_the_reason_is_told(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(IDLE_TIMEOUT_SECONDS=0.4, SESSION_LIBRARIES="plain", POOL_SIZE=1)
    answer = server.execute("import os\nos.getpid()")
    started = time.monotonic()
    until(lambda: server.health()["sessions"]["open"] == 0, 2.4)
    assert time.monotonic() - started >= 0.35
    until(lambda: int(answer["result"]) not in [process.pid for process in server.descendants()])
    after = server.execute("1", answer["id"])
    assert (after["error"], after["detail"]) == ("session not found", "closed after 0.4 s idle")


def test_a_running_session_is_never_idle(start_server: Callable[..., Server]) -> None:
    server = start_server(IDLE_TIMEOUT_SECONDS=0.2, SESSION_LIBRARIES="plain", POOL_SIZE=1)
    assert server.execute("import time\ntime.sleep(1.2)\nprint('done')")["stdout"] == "done\n"


def test_a_session_in_use_stays_open_past_its_first_deadline(start_server: Callable[..., Server]) -> None:
    server = start_server(IDLE_TIMEOUT_SECONDS=0.6, SESSION_LIBRARIES="plain", POOL_SIZE=1)
    id = server.execute("import time\nstart = time.monotonic()")["id"]
    until(lambda: float(server.execute("time.monotonic() - start", id)["result"]) > 1.5)


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("import os; os._exit(3)", "the session was lost: session crashed (exit status 3)"),
        ("import os; os.abort()", "the session was lost: session crashed (SIGABRT)"),
        (
            NOT_KEPT_QUIET,
            "the session was lost: execution timeout (killed: it did not end when interrupted at its time limit)",
        ),
    ],
)
def test_what_became_of_a_lost_session_is_told_to_its_next_caller(small: Server, end: str, why: str) -> None:
    id = small.execute(end)["id"]
    answer = small.execute("1", id)
    assert (answer["error"], answer["detail"]) == ("session not found", why)
    gone = small.http.get(f"{small.url}/sessions/{id}", timeout=10)
    assert (gone.status_code, gone.json()) == (404, {"error": why})


# One session, many requests


LONG = "import time\ntime.sleep(30)"


def busy(server: Server, id: str) -> bool:
    return server.session(id)["state"] == "busy"


def test_executions_of_one_session_run_in_the_order_of_arrival(small: Server) -> None:
    id = small.execute("order = []")["id"]
    running = small.ask(LONG, id, timeout=30)
    waiting = [small.ask(f"order.append({number})", id) for number in range(16)]
    full = small.http.post(f"{small.url}/execute", json={"code": "1", "id": id}, timeout=10)
    assert full.status_code == 429
    assert full.json()["error"].startswith("session busy")
    assert int(full.headers["Retry-After"]) >= 1
    assert small.interrupt(id) == {"interrupted": True}
    assert answer_on(running)["error"] == "execution interrupted"
    assert [answer_on(connection)["error"] for connection in waiting] == [None] * 16
    assert small.execute("order", id)["result"] == str(list(range(16)))


def test_a_queue_that_has_room_again_takes_the_next(small: Server) -> None:
    id = small.execute("x = 0")["id"]
    running = small.ask(LONG, id, timeout=30)
    waiting = [small.ask("x += 1", id) for _ in range(16)]
    assert small.http.post(f"{small.url}/execute", json={"code": "1", "id": id}, timeout=10).status_code == 429
    small.interrupt(id)
    for connection in (running, *waiting):
        answer_on(connection)
    assert small.execute("x", id)["result"] == "16"


def test_other_sessions_do_not_wait_for_a_busy_one(small: Server) -> None:
    id = small.execute("1")["id"]
    running = small.ask(LONG, id, timeout=30)
    waiting = small.ask("1", id)
    other = small.execute("x = 5\nx")
    assert other["result"] == "5"
    assert small.execute("x", other["id"])["result"] == "5"
    assert busy(small, id), "the first one is running still"
    small.interrupt(id)
    assert answer_on(running)["error"] == "execution interrupted"
    assert answer_on(waiting)["result"] == "1"


def test_an_interrupt_ends_the_execution_and_keeps_the_namespace(small: Server) -> None:
    id = small.execute("x = 1")["id"]
    running = small.ask("print('before')\nx = 2\n" + LONG, id, timeout=30)
    until(lambda: busy(small, id))
    until(lambda: small.interrupt(id)["interrupted"])
    answer = answer_on(running)
    assert (answer["error"], answer["state"]) == ("execution interrupted", "kept")
    assert answer["detail"].startswith("interrupted after ")
    assert answer["partial"].keys() == {"stdout", "stderr"}
    assert (answer["stdout"], answer["stderr"]) == (None, None)
    assert small.execute("x + 1", id)["result"] in ("2", "3")


def test_an_interrupt_of_an_idle_session_meets_nothing(small: Server) -> None:
    id = small.execute("x = 1")["id"]
    assert small.interrupt(id) == {"interrupted": False}
    assert small.execute("x", id)["result"] == "1"


def test_an_interrupt_that_was_swallowed_may_be_sent_again(small: Server) -> None:
    id = small.execute("caught = 0")["id"]
    running = small.ask(
        "import time\nwhile True:\n    try:\n        hold = b'x' * 2**23\n        time.sleep(30)\n"
        "    except KeyboardInterrupt:\n        caught += 1\n        if caught == 2: raise",
        id,
        timeout=30,
    )
    until(lambda: small.http.get(f"{small.url}/sessions/{id}", timeout=10).json()["memory"] > 7)  # inside the try
    until(lambda: not small.interrupt(id)["interrupted"])
    assert answer_on(running)["error"] == "execution interrupted"
    assert small.execute("caught", id)["result"] == "2"


def test_a_client_that_leaves_interrupts_its_execution_and_the_namespace_is_kept(small: Server) -> None:
    id = small.execute("x = 1")["id"]
    connection = small.ask(LONG, id, timeout=30)
    until(lambda: busy(small, id))
    connection.close()
    until(lambda: not busy(small, id))
    assert small.execute("x", id)["result"] == "1"


def test_a_client_that_leaves_while_it_waits_is_never_served(small: Server) -> None:
    id = small.execute("ran = False")["id"]
    running = small.ask("import time\ntime.sleep(0.5)", id, timeout=30)
    waiting = small.ask("ran = True", id)
    waiting.close()
    assert answer_on(running)["error"] is None
    assert small.execute("ran", id)["result"] == "False"


def test_a_client_that_leaves_before_its_session_has_begun_leaves_no_worker_busy(small: Server) -> None:
    small.ask(LONG, timeout=30).close()

    def all_idle() -> bool:
        sessions = small.http.get(f"{small.url}/sessions", timeout=10).json()["sessions"]
        return all(session["state"] == "idle" for session in sessions)

    until(all_idle)


def test_a_delete_ends_what_runs_and_what_waits(small: Server) -> None:
    id = small.execute("1")["id"]
    running = small.ask("print('before', flush=True)\n" + LONG, id, timeout=30)
    waiting = small.ask("1", id)
    small.close(id)
    answer = answer_on(running)
    assert (answer["error"], answer["state"], answer["detail"]) == (
        "execution interrupted",
        "lost",
        "closed by DELETE",
    )
    assert answer["partial"].keys() == {"stdout", "stderr"}
    answer = answer_on(waiting)
    assert (answer["error"], answer["detail"], answer["state"]) == ("session not found", "closed by DELETE", "lost")
    assert small.health()["sessions"]["open"] == 0


# GET /sessions, and one of them


def test_the_figures_of_a_session(small: Server) -> None:
    assert small.http.get(f"{small.url}/sessions", timeout=10).json() == {"sessions": []}
    id = small.execute("1")["id"]
    young = small.session(id)
    assert young.keys() == {"id", "state", "age", "idle", "memory", "executions"}
    assert (young["id"], young["state"], young["executions"]) == (id, "idle", 1)
    assert 0 <= young["idle"] <= young["age"] < 10
    assert 0 <= young["memory"] < 5
    small.execute("x = bytearray(30 * 2**20)", id)
    grown = small.session(id)
    assert grown["executions"] == 2
    assert 29 <= grown["memory"] < 36
    assert grown["age"] > young["age"]
    assert until(lambda: small.session(id)["idle"] > grown["idle"])


def test_a_busy_session_is_not_idle(small: Server) -> None:
    id = small.execute("1")["id"]
    running = small.ask(LONG, id, timeout=30)
    until(lambda: busy(small, id))
    figures = small.session(id)
    assert (figures["idle"], figures["executions"]) == (0, 2)
    small.interrupt(id)
    answer_on(running)
    assert small.session(id)["state"] == "idle"


def test_sessions_are_listed_the_oldest_first(small: Server) -> None:
    ids = [small.execute("1")["id"] for _ in range(3)]
    listed = small.http.get(f"{small.url}/sessions", timeout=10).json()["sessions"]
    assert [session["id"] for session in listed] == ids
    small.execute("1", ids[0])
    small.close(ids[1])
    listed = small.http.get(f"{small.url}/sessions", timeout=10).json()["sessions"]
    assert [session["id"] for session in listed] == [ids[0], ids[2]]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/interrupt")], ids=["show", "delete", "interrupt"]
)
@pytest.mark.parametrize("id", [str(uuid.UUID(int=1, version=4)), "no-uuid", "%00", "é", "..%2f..%2fetc"])
def test_an_unknown_session_is_404(small: Server, method: str, path: str, id: str) -> None:
    answer = small.http.request(method, f"{small.url}/sessions/{id}{path}", timeout=10)
    assert answer.status_code == 404
    assert answer.json().keys() == {"error"}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_session_deleted_is_404_from_then_on(small: Server, method: str) -> None:
    id = small.execute("1")["id"]
    small.close(id)
    answer = small.http.request(method, f"{small.url}/sessions/{id}", timeout=10)
    assert (answer.status_code, answer.json()) == (404, {"error": "closed by DELETE"})


def test_without_list_sessions_ids_are_too_short_to_be_used(start_server: Callable[..., Server]) -> None:
    server = start_server(LIST_SESSIONS="false", SESSION_LIBRARIES="plain", POOL_SIZE=1)
    id = server.execute("1")["id"]
    (listed,) = server.http.get(f"{server.url}/sessions", timeout=10).json()["sessions"]
    assert listed["id"] == id[:8] + "…"
    assert server.execute("1", listed["id"])["error"] == "session not found"
    assert server.session(id)["id"] == id, "who has the id may ask for it"


def test_on_all_addresses_ids_are_not_listed_unless_asked_for(start_server: Callable[..., Server]) -> None:
    few = {"SESSION_LIBRARIES": "plain", "POOL_SIZE": 1, "HOST": "0.0.0.0"}
    for setting, shown in (({}, False), ({"LIST_SESSIONS": "true"}, True)):
        server = start_server(**few, **setting)
        id = server.execute("1")["id"]
        (listed,) = requests.get(f"{server.url}/sessions", timeout=10).json()["sessions"]
        assert (listed["id"] == id) is shown


def test_the_log_has_neither_code_nor_output(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server(LOG_LEVEL="debug", SESSION_LIBRARIES="plain", POOL_SIZE=1)
    server.execute("secret = 'in the code'\nprint('printed', 6 * 7)\n1 / 0")
    server.execute("print('printed')\nimport os\nos._exit(1)")
    server.stop()
    log = server.log.read_text()
    assert "in the code" not in log and "printed" not in log and "ZeroDivisionError" not in log
