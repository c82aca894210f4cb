"""POST /sessions/{id}/complete and /inspect: what a session knows, and what asking for it may cost."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from server.body import MOST_BYTES
from tests.conftest import Server, answer_on, running, until

Run = Callable[..., dict[str, Any]]
NOTHING = {"name": None, "signature": None, "doc": None}
LATE_S = 3.0  # generous: a look-up that hangs is interrupted after half a second


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log: Path = tmp_path_factory.mktemp("lookups") / "server.log"
    with running(log, SESSION_LIBRARIES="plain", POOL_SIZE=2, RUN_POOL_SIZE=0, MAX_SESSIONS=5) as server:
        yield server.wait_ready("plain")


@pytest.fixture
def id(small: Server) -> Iterator[str]:
    """A session of the small server."""
    opened = small.execute("kept = 5")["id"]
    yield opened
    small.close(opened)


def post(server: Server, id: str, what: str, text: str, cursor: int | None = None) -> requests.Response:
    body = {"text": text} | ({} if cursor is None else {"cursor": cursor})
    return requests.post(f"{server.url}/sessions/{id}/{what}", json=body, timeout=30)


def ask(server: Server, id: str, what: str, text: str, cursor: int | None = None) -> dict[str, Any]:
    answer = post(server, id, what, text, cursor)
    assert answer.status_code == 200, answer.text
    return answer.json()


def complete(server: Server, id: str, text: str, cursor: int | None = None) -> tuple[list[str], int]:
    answer = ask(server, id, "complete", text, cursor)
    assert answer.keys() == {"names", "start"}
    return answer["names"], answer["start"]


def inspect(server: Server, id: str, text: str, cursor: int | None = None) -> dict[str, Any]:
    answer = ask(server, id, "inspect", text, cursor)
    assert answer.keys() == NOTHING.keys()
    return answer


def is_as_before(server: Server, id: str) -> bool:
    answer = server.execute("kept", id)
    return (answer["result"], answer["stdout"], answer["stderr"], answer["outputs"]) == ("5", None, None, [])


# What there is


def test_names_and_attributes_are_completed(small: Server, id: str) -> None:
    small.execute("import math\nmarks = [1]\ndef mean(values):\n    'The mean.'", id)
    assert complete(small, id, "x = ma") == (["map", "marks", "match", "math", "max"], 4) or complete(
        small, id, "x = mar"
    ) == (["marks"], 4)
    assert complete(small, id, "marks.app") == (["append"], 6)
    assert complete(small, id, "math.sq + 1", 7) == (["sqrt"], 5)
    assert complete(small, id, "mea") == (["mean"], 0)
    assert complete(small, id, "") == ([], 0)


def test_a_name_is_inspected(small: Server, id: str) -> None:
    small.execute("def mean(values, *, weights=None):\n    '''The mean.\n\n    Of values.\n    '''", id)
    mean = {"name": "mean", "signature": "(values, *, weights=None)", "doc": "The mean.\n\nOf values."}
    for cursor in (0, 2, 4, 5, None):
        assert inspect(small, id, "mean(", cursor) == mean
    assert inspect(small, id, "kept")["doc"].startswith("int(")
    assert inspect(small, id, "str.join")["signature"] == "(self, iterable, /)"
    assert inspect(small, id, "nothing") == inspect(small, id, "") == inspect(small, id, "1 + ") == NOTHING


def test_the_cursor_counts_characters(small: Server, id: str) -> None:
    small.execute("größe = 5", id)
    assert complete(small, id, "'🐍é'; grö + 1", 9) == (["größe"], 6)
    assert inspect(small, id, "'🐍é'; größe + 1", 8)["name"] == "größe"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("df.gro", ["groupby"]),
        ("df.col", ["columns"]),
        ("df.st", ["stack", "std", "style"]),
        ("pd.read_cs", ["read_csv"]),
        ("np.linal", ["linalg"]),
        ("df.a.me", ["mean", "median", "memory_usage"]),
        ("sp.Symb", ["Symbol"]),
        ("plt.subplot", ["subplot2grid", "subplot_mosaic", "subplot_tool", "subplots", "subplots_adjust"]),
    ],
)
def test_libraries_are_completed(server: Server, session: Run, text: str, names: list[str]) -> None:
    id = session(
        "import numpy as np, pandas as pd, sympy as sp, matplotlib.pyplot as plt\ndf = pd.DataFrame({'a': [1]})"
    )["id"]
    assert set(names) <= set(complete(server, id, text)[0])
    assert len(complete(server, id, "df.")[0]) > 100
    assert inspect(server, id, "pd.read_csv")["doc"]
    assert session("plt.get_fignums()")["outputs"] == []


def test_builtins_that_were_deleted_are_missed_and_nothing_else(small: Server, id: str) -> None:
    small.execute("import builtins\nfor name in list(vars(builtins)): delattr(builtins, name)", id)
    assert complete(small, id, "kep") == (["kept"], 0)
    assert inspect(small, id, "kept")["name"] == "kept"


@pytest.mark.parametrize(
    "code",
    [
        "import json\njson.dumps = None",
        "import inspect\ninspect.getdoc = inspect.signature = None",
        "import re, sys\nsys.modules.clear()",
        "import json.encoder\njson.JSONEncoder.encode = lambda *a: 5",
        "import sys\nsys.stdout = sys.stderr = None",
        "import os\nos.closerange(0, 3)",
        "import builtins\nbuiltins.dir = builtins.getattr = None",
        "import sys\nsys.settrace(lambda *a: 1 / 0)",
        "import sys\nsys.setrecursionlimit(60)",
    ],
)
def test_what_code_has_patched_costs_an_answer_at_most(small: Server, id: str, code: str) -> None:
    small.execute(code, id)
    assert complete(small, id, "kep") in ((["kept"], 0), ([], 0), ([], 3))
    assert inspect(small, id, "kept")["name"] in ("kept", None)
    assert small.execute("kept", id)["result"] == "5"


# What asking costs


def test_it_is_no_execution(small: Server, id: str) -> None:
    for _ in range(5):
        complete(small, id, "kep")
        inspect(small, id, "kept")
    assert small.session(id)["executions"] == 1
    assert is_as_before(small, id)


def test_it_keeps_a_session_open_as_an_execution_does(start_server: Callable[..., Server]) -> None:
    server = start_server(IDLE_TIMEOUT_SECONDS=1.5, SESSION_LIBRARIES="plain", POOL_SIZE=1).wait_ready("plain")
    id = server.execute("kept = 5")["id"]
    ends = time.monotonic() + 4
    while time.monotonic() < ends:
        assert complete(server, id, "kep") == (["kept"], 0)
        time.sleep(0.1)
    until(lambda: "id" not in server.session(id), 10)


HANGS = {
    "__dir__": ("def __dir__(self):\n        while True: pass", "complete", "x."),
    "__dir__ that sleeps": ("def __dir__(self):\n        import time\n        time.sleep(60)", "complete", "x."),
    "__getattr__": ("def __getattr__(self, name):\n        while True: pass", "inspect", "x.y"),
    "__getattribute__": ("def __getattribute__(self, name):\n        while True: pass", "complete", "x.y."),
    "a property": ("@property\n    def y(self):\n        while True: pass", "inspect", "x.y"),
    "a property on the way": ("@property\n    def y(self):\n        while True: pass", "complete", "x.y.z"),
    "__doc__": ("@property\n    def __doc__(self):\n        while True: pass", "inspect", "x"),
    "__signature__": (
        "@property\n    def __signature__(self):\n        while True: pass\n    def __call__(self): pass",
        "inspect",
        "x",
    ),
}


@pytest.mark.parametrize(("body", "what", "text"), HANGS.values(), ids=HANGS)
def test_one_that_hangs_is_interrupted_and_the_namespace_kept(
    small: Server, id: str, body: str, what: str, text: str
) -> None:
    small.execute(f"class X:\n    {body}\nx = X()", id)
    started = time.monotonic()
    answer = ask(small, id, what, text)
    assert time.monotonic() - started < LATE_S
    assert answer in (NOTHING, {"names": [], "start": 0})
    assert is_as_before(small, id)


@pytest.mark.parametrize("error", ["ValueError", "SystemExit", "KeyboardInterrupt", "MemoryError", "RecursionError"])
def test_one_that_fails_has_no_answer_and_does_no_harm(small: Server, id: str, error: str) -> None:
    small.execute(
        f"class X:\n    def __dir__(self): raise {error}\n    __getattr__ = lambda *a: X().__dir__()\nx = X()", id
    )
    assert complete(small, id, "x.") == ([], 0)
    assert inspect(small, id, "x.y") == NOTHING
    assert is_as_before(small, id)


def test_one_that_cannot_be_interrupted_loses_its_session_alone(small: Server, id: str) -> None:
    lost = small.execute("class X:\n    def __dir__(self): return sum(iter(int, 1))\nx = X()")["id"]
    started = time.monotonic()
    assert complete(small, lost, "x.") == ([], 0)
    assert time.monotonic() - started < LATE_S
    answer = small.execute("1", lost)
    assert answer["error"] == "session not found" and "execution timeout" in answer["detail"]
    assert post(small, lost, "complete", "x.").status_code == 404
    assert is_as_before(small, id)


@pytest.mark.parametrize("end", ["import os; os._exit(3)", "import ctypes; ctypes.string_at(0)"])
def test_one_that_ends_its_process_loses_its_session_alone(small: Server, id: str, end: str) -> None:
    lost = small.execute(f"class X:\n    def __dir__(self): {end}\nx = X()")["id"]
    assert complete(small, lost, "x.") == ([], 0)
    assert "session crashed" in small.execute("1", lost)["detail"]
    assert is_as_before(small, id)


def test_memory_is_bounded_for_it_too(small: Server, id: str) -> None:
    small.execute("class X:\n    def __dir__(self): return ['x' * 200_000_000]\nx = X()", id)
    assert complete(small, id, "x.") == ([], 0)
    assert is_as_before(small, id)


def test_an_interrupt_ends_it(small: Server, id: str) -> None:
    small.execute("class X:\n    def __dir__(self):\n        while True: pass\nx = X()", id)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(complete, small, id, "x.")
        small.interrupt(id)
        assert asked.result() == ([], 0)
    assert is_as_before(small, id)


def test_a_huge_namespace_is_completed(small: Server, id: str) -> None:
    small.execute("for n in range(20_000): globals()[f'name_{n:06}'] = n\nclass X: pass\nx = X()\n"
                  "vars(x).update({f'a{n}': n for n in range(20_000)})", id)  # fmt: skip
    names, start = complete(small, id, "name_0")
    assert (len(names), names[0], start) == (1000, "name_000000", 0)
    assert len(complete(small, id, "x.")[0]) == 1000
    assert complete(small, id, "name_01999") == ([f"name_01999{n}" for n in range(10)], 0)
    assert is_as_before(small, id)


def test_names_of_any_length_and_kind_come_or_do_not(small: Server, id: str) -> None:
    small.execute("class X:\n    def __dir__(self): return names\nx = X()", id)
    for names, told in (
        ("['x' * 100_000 + str(n) for n in range(5)]", 5),
        ("['x' * 100_000 + str(n) for n in range(50)]", 0),  # longer than a result may be
        ("['\\ud800', 'a']", 0),
        ("['\\0', '\"']", 2),
        ("[5, None, 'a']", 0),
        ("5", 0),
        ("[]", 0),
    ):
        small.execute(f"names = {names}", id)
        assert len(complete(small, id, "x.")[0]) == told, names
    assert is_as_before(small, id)


def test_what_it_prints_belongs_to_the_next_execution(small: Server, id: str) -> None:
    small.execute(
        "import sys\nclass X:\n    def __dir__(self):\n        print('asked')\n        print('too', file=sys.stderr)\n"
        "        display(5)\n        return ['a']\nx = X()",
        id,
    )
    assert complete(small, id, "x.") == (["a"], 2)
    answer = small.execute("print('then')", id)
    assert (answer["stdout"], answer["stderr"], answer["outputs"]) == ("asked\nthen\n", "too\n", [])


def test_threads_of_a_session_at_rest_stay_at_rest_behind_it(small: Server, id: str) -> None:
    small.execute(
        "import threading, time\nstop, count = False, 0\ndef work():\n    global count\n    while not stop:\n"
        "        count += 1\n        time.sleep(0.001)\nthread = threading.Thread(target=work)\nthread.start()",
        id,
    )
    for _ in range(5):
        assert complete(small, id, "kep") == (["kept"], 0)
    first = int(small.execute("count", id)["result"])
    time.sleep(0.5)
    assert int(small.execute("count", id)["result"]) - first < 200
    assert is_as_before(small, id)
    small.execute("stop = True\nthread.join()", id)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["a" * 10**6 + " ", "a." * 500_000, ".a" * 500_000 + "!", "(" * 10**6, "1a" * 500_000])
def test_no_text_holds_the_server_up(small: Server, id: str, text: str) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask, small, id, what, text) for what in ("inspect",)]
        for _ in range(10):
            small.health()
        for future in asked:
            future.result()
    assert complete(small, id, text)[0] == []
    assert time.monotonic() - started < 2 * LATE_S
    assert is_as_before(small, id)


def test_many_ask_one_session(small: Server, id: str) -> None:
    """One after another, or told that it is busy."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(small, id, "complete", "kep"), range(100)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert all(answer.json() == {"names": ["kept"], "start": 0} for answer in answers if answer.status_code == 200)
    assert is_as_before(small, id)


def test_an_execution_that_comes_meanwhile_waits_for_it(small: Server, id: str) -> None:
    small.execute(
        "import time\nclass X:\n    def __dir__(self):\n        time.sleep(0.3)\n        return ['a']\nx = X()", id
    )
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(complete, small, id, "x.")
        until(lambda: small.session(id)["state"] == "busy")
        assert is_as_before(small, id)
        assert asked.result() in ((["a"], 2), ([], 0))


# Refusals


@pytest.mark.parametrize("what", ["complete", "inspect"])
def test_a_session_that_is_not_there_is_404(small: Server, what: str) -> None:
    gone = small.execute("1")["id"]
    small.close(gone)
    for id, words in ((gone, "closed by DELETE"), ("nobody", "nobody")):
        answer = post(small, id, what, "x")
        assert answer.status_code == 404
        assert answer.json()["error"] and (words in answer.json()["error"] or id == "nobody")


@pytest.mark.parametrize("what", ["complete", "inspect"])
def test_a_session_that_runs_code_is_409(small: Server, id: str, what: str) -> None:
    running = small.ask("import time\ntime.sleep(20)", id, timeout=20)
    until(lambda: small.session(id)["state"] == "busy")
    answer = post(small, id, what, "kept")
    assert answer.status_code == 409 and "runs code" in answer.json()["error"]
    small.interrupt(id)
    assert answer_on(running)["error"] == "execution interrupted"
    assert ask(small, id, what, "kept")
    assert is_as_before(small, id)


@pytest.mark.parametrize("what", ["complete", "inspect"])
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"text": ', "application/json"),
        (413, b'{"text": "' + b"x" * MOST_BYTES + b'"}', "application/json"),
        (415, b'{"text": "x"}', "text/plain"),
        (422, b"{}", "application/json"),
        (422, b'{"text": null}', "application/json"),
        (422, b'{"text": 5}', "application/json"),
        (422, b'{"text": "x", "cursor": -1}', "application/json"),
        (422, b'{"text": "x", "cursor": "1"}', "application/json"),
        (422, b'{"text": "x", "cursor": true}', "application/json"),
        (422, b'{"text": "x", "cursor": 0.5}', "application/json"),
        (422, b'{"text": "x", "code": "x"}', "application/json"),
        (422, b'["text"]', "application/json"),
        (422, b'{"text": "' + b"x" * (2**20 + 1) + b'"}', "application/json"),
    ],
)
def test_a_wrong_body_is_refused(small: Server, id: str, what: str, status: int, body: bytes, kind: str) -> None:
    url = f"{small.url}/sessions/{id}/{what}"
    answer = requests.post(url, data=body, headers={"Content-Type": kind}, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    assert answer.json()["error"] and "xxx" not in answer.text


@pytest.mark.parametrize("cursor", [0, 1.0, 10**6, 2**53, 10**30, None])
@pytest.mark.parametrize("what", ["complete", "inspect"])
def test_any_cursor_from_zero_on_is_taken(small: Server, id: str, what: str, cursor: Any) -> None:
    url = f"{small.url}/sessions/{id}/{what}"
    assert requests.post(url, json={"text": "kep", "cursor": cursor}, timeout=30).status_code == 200


@pytest.mark.parametrize("text", ["\\ud800", "\\ud800.x", "x.\\udfff", "\\u0000", "\\ud83d\\udc0d."])
@pytest.mark.parametrize("what", ["complete", "inspect"])
def test_any_text_is_taken(small: Server, id: str, what: str, text: str) -> None:
    url = f"{small.url}/sessions/{id}/{what}"
    answer = requests.post(url, data=f'{{"text": "{text}"}}', headers={"Content-Type": "application/json"}, timeout=30)
    assert answer.status_code in (200, 422)
    assert is_as_before(small, id)


@pytest.mark.parametrize("what", ["complete", "inspect"])
def test_it_is_asked_for_by_post(small: Server, id: str, what: str) -> None:
    answer = requests.get(f"{small.url}/sessions/{id}/{what}", timeout=10)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
