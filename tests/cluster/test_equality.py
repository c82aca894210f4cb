"""A gateway answers as a server does that is all in one."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from sessions.session import MOST_WAITING
from tests.cluster.fleet import PLAIN, Fleet, ask, post
from tests.conftest import Server, running, until

FIGURES = {
    "age",
    "compilation_time",
    "execution_time",
    "idle",
    "memory",
    "memory_used",
    "run_time",
    "seconds",
}
JSON = {"Content-Type": "application/json"}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("alone") / "server.log", **PLAIN) as server:
        yield server.wait_ready("plain")
        assert server.stop() == 0


def steady(value: Any) -> Any:
    """A value without what differs from one time to the next."""
    match value:
        case dict():
            return {key: steady(one) for key, one in value.items() if key not in FIGURES or isinstance(one, list)}
        case list():
            return [steady(one) for one in value]
        case str():
            return re.sub(r"\d+\.\d+ s", "some s", UUID.sub("an id", value))
    return value


class Story:
    """What one client asks, and all that it is answered. `id`: of its session."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.id: str | None = None
        self.answers: list[Any] = []

    def ask(self, method: str, path: str, **given: Any) -> requests.Response:
        url = f"{self.server.url}{path.replace('{id}', self.id or '')}"
        answer = requests.request(method, url, timeout=60, **given)
        headers = [answer.headers.get(name) for name in ("Content-Type", "Retry-After", "Allow")]
        body = steady(answer.json()) if answer.content else None
        self.answers.append((answer.status_code, *headers, body))
        return answer

    def execute(self, code: str, **fields: Any) -> None:
        body = self.ask("POST", "/execute", json={"code": code, "id": self.id, **fields}).json()
        self.id = self.id or body.get("id")

    def run(self, code: str, **fields: Any) -> None:
        self.ask("POST", "/run", json={"code": code, **fields})

    def submit(self, code: str, tests: str | None = None, **fields: Any) -> None:
        self.ask("POST", "/submit", json={"code": code, "tests": tests, **fields})


def executes(*steps: str, **fields: Any) -> Callable[[Story], None]:
    def tell(story: Story) -> None:
        for code in steps:
            story.execute(code, **fields)
        story.execute("'still there'")

    return tell


def runs(code: str, **fields: Any) -> Callable[[Story], None]:
    return lambda story: story.run(code, **fields)


def submits(code: str, tests: str | None = None, **fields: Any) -> Callable[[Story], None]:
    return lambda story: story.submit(code, tests, **fields)


def looks_up_and_closes(story: Story) -> None:
    story.execute("apple = 1\napplause = 'é🐍'")
    story.ask("POST", "/sessions/{id}/complete", json={"text": "print(appl"})
    story.ask("POST", "/sessions/{id}/inspect", json={"text": "applause"})
    story.ask("POST", "/sessions/{id}/inspect", json={"text": "nothing_there"})
    story.ask("POST", "/sessions/{id}/complete", json={"wrong": 1})
    story.ask("GET", "/sessions/{id}")
    story.ask("POST", "/sessions/{id}/interrupt")
    story.ask("DELETE", "/sessions/{id}")
    for method, path in (("DELETE", ""), ("GET", ""), ("POST", "/interrupt")):
        story.ask(method, f"/sessions/{{id}}{path}")
    story.ask("POST", "/sessions/{id}/complete", json={"text": "a"})
    story.execute("apple")


def lists(story: Story) -> None:
    story.execute("1")
    listed = story.server.http.get(f"{story.server.url}/sessions", timeout=10).json()["sessions"]
    story.answers.append([steady(one) for one in listed if one["id"] == story.id])
    assert len(story.answers[-1]) == 1


def runs_while_others_ask(story: Story) -> None:
    """Interrupt, look up, and more executions than may wait."""
    story.execute("import time")
    server, id = story.server, story.id
    running = ask(server, "/execute", code="time.sleep(30)", id=id, timeout=30)
    until(lambda: server.session(str(id))["state"] == "busy")
    story.ask("GET", "/sessions/{id}")
    story.ask("POST", "/sessions/{id}/complete", json={"text": "ti"})
    with ThreadPoolExecutor(MOST_WAITING + 1) as clients:
        waiting = [clients.submit(post, server, "/execute", code="1", id=id) for _ in range(MOST_WAITING + 1)]
        until(lambda: any(one.done() for one in waiting))
        story.ask("POST", "/sessions/{id}/interrupt")
        answers = [one.result() for one in waiting]
    with running.getresponse() as answer:
        story.answers.append((answer.status, steady(json.loads(answer.read()))))
    running.close()
    story.answers += sorted((answer.status_code, str(steady(answer.json()))) for answer in answers)
    assert [answer.status_code for answer in answers].count(429) == 1


def errs(story: Story) -> None:
    """What is refused before anything runs."""
    for path in ("/execute", "/run", "/submit"):
        for body in ("{", "[]", "{}", '{"code": ""}', '{"code": 1}', '{"code": "1", "session_id": "x"}', '"\\ud800"'):
            story.ask("POST", path, data=body, headers=JSON)
        story.ask("POST", path, data="1", headers={"Content-Type": "text/plain"})
        story.ask("POST", path, json={"code": "1", "timeout": 10_000})
        story.ask("POST", path, data="x" * 9_000_000, headers=JSON)
        story.ask("GET", path)
    for path in ("/sessions/", "/nowhere", "/sessions/x", "/sessions/pyrunner.nodes"):
        story.ask("GET", path)
        story.ask("DELETE", path)


HANGS_ON = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('before')\nwhile True: pass"
ADD = "int add(int a, int b) {\n    return a + b;\n}\n"
needs_gcc = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("valgrind")), reason="gcc and valgrind are not installed"
)
STORIES = {
    "a result": executes("6 * 7"),
    "names last": executes("x = 1", "x += 1", "x"),
    "text on both": executes("import sys\nprint('out')\nprint('err', file=sys.stderr)"),
    "an exception": executes("print('a')\n1 / 0"),
    "no Python": executes("x ==="),
    "an exit": executes("import sys\nsys.exit('gone')"),
    "no input": executes("input()"),
    "input": executes("a, b = input(), input()\nb + a", stdin="é🐍\n\ud800\0\n"),
    "a timeout that is heeded": executes("print('a')\nwhile True: pass", timeout=0.2),
    "a timeout that is not": executes(HANGS_ON, timeout=0.2),
    "no memory": executes("print('a')\nx = bytearray(200 * 2**20)"),
    "a crash": executes("print('a')\ndisplay(1)\nimport os\nos._exit(3)"),
    "code of the longest": executes("#" * 999_990 + "\n6 * 7"),
    "code of the longest that is not ASCII": executes("x = '" + "é" * 999_980 + "'\nlen(x)"),
    "too long code": executes("#" * 1_000_001),
    "much text": executes("print('x' * 1_000_000)\nimport sys\nprint('é' * 400_000, file=sys.stderr)"),
    "too much text": executes("print('x' * 3_000_000)\nprint('end')\n5"),
    "a long result": executes("'é' * 500_000"),
    "displays": executes("display(1)\nprint('a')\ndisplay('é\\udcff\\0')\ndisplay({'a': [1]})\n2"),
    "a display of its own kind": executes(
        "class Shown:\n    __repr__ = lambda self: '\\udcff'\n"
        "    _repr_html_ = lambda self: '<b>\\udcff\\0</b>'\ndisplay(Shown())\nShown()"
    ),
    "many displays": executes("for n in range(300): display(n)"),
    "text that is no text": executes("import sys\nsys.stdout.buffer.write(b'a\\xffb\\xe9')\nprint('\\udcff\\0')"),
    "code that is no text": executes("x = '\ud800'\nx", "y = '\0'\nlen(y)", "'a' # \udfff"),
    "an interrupt of its own": executes("print('a')\nraise KeyboardInterrupt"),
    "questions, and its end": looks_up_and_closes,
    "a list": lists,
    "a session in use": runs_while_others_ask,
    "what is refused": errs,
    "a run": runs("print(6 * 7)"),
    "a run of text": runs("print('é🐍\\udcff\\0' * 100_000)"),
    "a run that fails": runs("print('a')\n1 / 0"),
    "a run that may not": runs("import socket"),
    "a run that is no Python": runs("x ==="),
    "a run without end": runs("print('a')\nwhile True: pass", timeout=1),
    "a run without memory": runs("print('a')\nx = bytearray(200 * 2**20)", memory_limit=64),
    "a run of the longest": runs("#" * 999_990 + "\nprint(1)"),
    "a run that is no text": runs("print(ascii('\ud800'))"),
}
SUBMISSIONS = {
    "passed": submits(ADD, "assert(add(1, 2) == 3);"),
    "failed": submits(ADD, "assert(add(1, 2) == 4);\nassert(add(1, 1) == 2);"),
    "no C": submits("int add(int a {"),
    "denied": submits('#include <stdlib.h>\nint f(void) { return system("ls"); }'),
    "not allowed": submits(ADD + "int f(int a) { return add(a, a); }", whitelisted=["f"], blacklisted=["stdio.h"]),
    "a crash": submits("int f(void) { return *(int *)0; }", "assert(f());"),
    "without end": submits("int f(void) { for (;;) ; }", "assert(f());", timeout=9, perTestTimeout=1, valgrind=False),
    "input and flags": submits(
        "#include <stdio.h>\nint f(void) { return getchar(); }", "assert(f() == 'x');", stdin="x", flags=["-O2"]
    ),
    "code that is no text": submits("/* \ud800 é */\n" + ADD, "assert(add(1, 2) == 3);"),
    "a wrong flag": submits(ADD, flags=["-fplugin=x"]),
    "a leak": submits("#include <stdlib.h>\nint f(void) { malloc(7); return 1; }", "assert(f());"),
}


@pytest.mark.parametrize("tell", STORIES.values(), ids=STORIES)
def test_a_gateway_answers_as_one_server_does(alone: Server, shared: Fleet, tell: Callable[[Story], None]) -> None:
    check(alone, shared, tell)


@needs_gcc
@pytest.mark.parametrize("tell", SUBMISSIONS.values(), ids=SUBMISSIONS)
def test_a_submission_gets_the_same_verdict(alone: Server, shared: Fleet, tell: Callable[[Story], None]) -> None:
    check(alone, shared, tell)


def check(alone: Server, shared: Fleet, tell: Callable[[Story], None]) -> None:
    told = []
    for server in (alone, shared.gateway):
        story = Story(server)
        tell(story)
        told.append(story.answers)
        if story.id:
            server.close(story.id)
    assert len(told[0]) > 0
    assert told[1] == told[0]
