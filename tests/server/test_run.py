"""POST /run: what a program gets, what it may not do, its limits, its queue, and that nothing of it is left."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from sandbox.limits import MIB, SOURCE_CHARS
from server.body import MOST_BYTES
from tests.conftest import Server, answer_on, running, until

KEYS = ["status", "stdout", "stderr", "execution_time", "memory_used", "error", "truncated"]
JSON = {"Content-Type": "application/json"}
MARK = "MARK_IN_THE_CODE"
LONG = "import time\ntime.sleep(60)"
SYS = "import statistics\nsys = statistics.sys\n"  # a name that an allowed module leaks


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one run at a time and of small limits, whose policy lets through what tests need to look closer."""
    log = tmp_path_factory.mktemp("small") / "server.log"
    with running(
        log,
        RUN_CONCURRENCY=1,
        RUN_QUEUE_SIZE=3,
        RUN_POOL_SIZE=1,
        RUN_TIMEOUT_SECONDS=1,
        RUN_MAX_TIMEOUT_SECONDS=60,
        RUN_MEMORY_LIMIT_MB=64,
        RUN_MAX_MEMORY_LIMIT_MB=128,
        RUN_MODULES="default, atexit, builtins, ctypes, os, signal, sys, threading, time",
        SESSION_LIBRARIES="plain",
        POOL_SIZE=1,
    ) as server:
        yield server.wait_ready("plain")
        assert server.stop() == 0


def end(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer but for its figures."""
    assert list(answer) == KEYS
    assert answer["execution_time"] >= 0 and answer["memory_used"] >= 0
    return {key: value for key, value in answer.items() if key not in ("execution_time", "memory_used")}


def success(stdout: str = "", stderr: str = "") -> dict[str, Any]:
    return {"status": "success", "stdout": stdout, "stderr": stderr, "error": None, "truncated": False}


def failure(error: str, stdout: str = "", stderr: str = "", status: str = "error") -> dict[str, Any]:
    return {"status": status, "stdout": stdout, "stderr": stderr, "error": error, "truncated": False}


def queue(server: Server) -> tuple[int, int]:
    """How many runs have their turn, and how many wait for it."""
    runs = server.health()["runs"]
    return runs["active"], runs["waiting"]


def is_idle(server: Server) -> bool:
    return queue(server) == (0, 0)


# What a program gets


def test_a_program_runs_and_its_output_comes_back(server: Server) -> None:
    answer = server.run("print('Hello, World!')")
    assert end(answer) == success("Hello, World!\n")
    assert 0 < answer["execution_time"] < 5
    assert answer["memory_used"] < 16


def test_no_output_is_empty_text(server: Server) -> None:
    assert end(server.run("x = 1\nx")) == success()


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        (
            {"code": "\nimport math\nresult = math.sqrt(16) + math.pi\nprint(f'Result: {result}')\n", "timeout": 10},
            "Result: 7.141592653589793\n",
        ),
        (
            {
                "code": "import numpy as np\nimport pandas as pd\ndata = np.random.randn(100)\n"
                "df = pd.DataFrame({'values': data})\nprint(f'Mean: {df.values.mean():.3f}')\n"
                "print(f'Std: {df.values.std():.3f}')\nprint(f'Count: {len(df)}')",
                "memory_limit": 256,
            },
            r"Mean: -?0\.\d{3}\nStd: [01]\.\d{3}\nCount: 100\n",
        ),
        (
            {
                "code": "import sympy as sp\nx = sp.Symbol('x')\nequation = x**2 - 4*x + 3\n"
                "solutions = sp.solve(equation, x)\nprint(f'Solutions: {solutions}')\nf = x**3 - 2*x**2 + x\n"
                "derivative = sp.diff(f, x)\nprint(f'Derivative: {derivative}')",
                "timeout": 15,
            },
            r"Solutions: \[1, 3\]\nDerivative: 3\*x\*\*2 - 4\*x \+ 1\n",
        ),
    ],
    ids=["mathematics", "a frame", "symbols"],
)
def test_the_promised_examples_work(server: Server, fields: dict[str, Any], pattern: str) -> None:
    answer = server.run(**fields)
    assert (answer["status"], answer["error"], answer["stderr"]) == ("success", None, "")
    assert re.fullmatch(pattern, answer["stdout"])


@pytest.mark.parametrize(
    ("code", "stdout"),
    [
        ("import math; print(math.pi)", "3.141592653589793\n"),
        ("import cmath; print(cmath.sqrt(-1))", "1j\n"),
        ("from decimal import Decimal as D; print(D('0.1') + D('0.2'))", "0.3\n"),
        ("from fractions import Fraction; print(Fraction(1, 3) + 1)", "4/3\n"),
        ("import statistics; print(statistics.median([1, 5, 2]))", "2\n"),
        ("import numpy; print(numpy.array([1, 2, 3]))", "[1 2 3]\n"),
        ("import numpy.linalg as la; print(round(la.det([[2, 0], [0, 3]])))", "6\n"),
        ("import pandas; print(pandas.Series([1, 2]).sum())", "3\n"),
        ("import sympy; print(sympy.symbols('x'))", "x\n"),
        ("from scipy.optimize import brentq; print(round(brentq(lambda x: x * x - 2, 0, 2), 6))", "1.414214\n"),
        (
            "import io, matplotlib.pyplot as plt\nplt.plot([1, 2]); b = io.BytesIO(); plt.savefig(b, format='png')\n"
            "print(b.getvalue()[1:4])",
            "b'PNG'\n",
        ),
        ("from sklearn.cluster import KMeans\nprint(KMeans(1, n_init=1).fit([[1.0], [3.0]]).cluster_centers_)",
         "[[2.]]\n"),
        ("from collections import Counter; print(Counter('aab'))", "Counter({'a': 2, 'b': 1})\n"),
        ("import itertools as i, functools as f; print(f.reduce(int.__add__, i.islice(i.count(), 5)))", "10\n"),
        ("import datetime; print(datetime.date(2024, 2, 28) + datetime.timedelta(2))", "2024-03-01\n"),
        ("import json; print(json.loads('[1, null]'))", "[1, None]\n"),
        ("import csv, io; print(list(csv.reader(io.StringIO('a,b'))))", "[['a', 'b']]\n"),
        ("import re; print(re.findall('[0-9]+', 'a1b22'))", "['1', '22']\n"),
        ("import random; random.seed(1); print(random.randint(1, 6))", "2\n"),
        ("import zoneinfo, datetime\nprint(datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('Asia/Tokyo')))",
         "2024-01-01 00:00:00+09:00\n"),
        ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 1\nprint(P())", "P(x=1)\n"),
        ("import copy\nclass A: pass\nprint(type(copy.deepcopy(A())).__module__, __name__)", "__main__ __main__\n"),
    ],
)  # fmt: skip
def test_what_is_allowed_works(server: Server, code: str, stdout: str) -> None:
    assert end(server.run(code)) == success(stdout)


@pytest.mark.parametrize(
    "code",
    [
        "1 / 0",
        "def f():\n    return undefined\n\nprint('before')\nf()",
        "raise ValueError('é🐍\\n two lines')",
        "try:\n    {}['a']\nexcept KeyError as e:\n    raise TypeError from e",
        "x ===",
        "def f():\nreturn 1",
        "if 1:\n\tx\n        y",
        "print('é",
        "raise ExceptionGroup('g', [ValueError(1), KeyError(2)])",
        "class E(Exception):\n    __module__ = 'elsewhere'\nraise E(1)",
        "raise SystemExit('stopped')",
        "raise SystemExit(3)",
        "exit()",
        "raise KeyboardInterrupt",
        "def f(): f()\nf()",
        "import warnings\nwarnings.warn('careful')",
        "assert 1 > 2, 'no'",
        "import json\njson.loads('{')",
        "input()",
        "print('é🐍\\n\\t', end='')",
        "return 1",
        "from __future__ import annotations\ndef f(x: undefined): ...\nprint(f.__annotations__)",
        "class A:\n    def __del__(self): print('gone', x)\nx = 1\na = A()\nprint('end')",
        "class A:\n    def __del__(self): print('gone', x)\nx = 1\n_a = A()\nprint('end')",
        "class A:\n    def __del__(self): print('gone', self.n)\n    def __init__(self, n): self.n = n\n"
        "b, a = A(1), A(2)\nb.a = a\na.b = b\nraise SystemExit(1)",
        "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\nx = g()\nnext(x)\n1 / 0",
    ],
)
def test_stdout_and_stderr_are_those_of_python_itself(server: Server, code: str) -> None:
    oracle = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-"], input=code.encode(), capture_output=True, cwd="/", timeout=30
    )
    answer = server.run(code)
    assert (answer["stdout"], answer["stderr"]) == (oracle.stdout.decode(), oracle.stderr.decode())
    assert answer["status"] == ("success" if oracle.returncode == 0 else "error")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("undefined", "NameError on line 1"),
        ("\n\n1 / 0", "ZeroDivisionError on line 3"),
        ("def f():\n    return 1 / 0\n\nf()", "ZeroDivisionError on line 2"),
        ("import json\n\njson.loads('{')", "JSONDecodeError on line 3"),
        ("import numpy as np\nnp.zeros(3) @ np.zeros(4)", "ValueError on line 2"),
        ("class Mine(Exception): pass\nraise Mine", "Mine on line 2"),
        ("x = 1\ny ===", "SyntaxError on line 2"),
        ("if 1:\nx", "IndentationError on line 2"),
        ("if 1:\n\tx\n        y", "TabError on line 3"),
        ("raise SystemExit(3)", "SystemExit on line 1"),
        ("\nexit('bye')", "SystemExit on line 2"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt on line 1"),
        ("raise BaseException", "BaseException on line 1"),
        ("def f(): f()\nf()", "RecursionError on line 1"),
        ("input()", "EOFError on line 1"),
        ("import io\nio.StringIO().fileno()", "UnsupportedOperation on line 2"),
        ("class É(Exception): pass\nraise É", "É on line 2"),
        ("raise type('x' * 10**5, (Exception,), {})", f"{'x' * 200} on line 1"),
        ("try:\n    1 / 0\nfinally:\n    undefined", "NameError on line 4"),
        ("[1 / x for x in\n (1,\n  0)]", "ZeroDivisionError on line 1"),
    ],
)
def test_the_error_is_a_name_and_a_line_of_the_program(server: Server, code: str, error: str) -> None:
    answer = server.run(code)
    assert (answer["status"], answer["error"]) == ("error", error)


@pytest.mark.parametrize(
    ("code", "stderr"),
    [
        ("raise SystemExit", ""),
        ("raise SystemExit(0)", ""),
        ("raise SystemExit(None)", ""),
        ("raise SystemExit(False)", ""),
        ("exit(0)", ""),
        ("quit()", ""),
    ],
)
def test_an_exit_without_a_code_is_a_success(server: Server, code: str, stderr: str) -> None:
    assert end(server.run(f"print('before')\n{code}\nprint('after')")) == success("before\n", stderr)


@pytest.mark.parametrize(
    ("code", "stderr"), [("3", ""), ("'bye'", "bye\n"), ("True", ""), ("(1, 2)", "(1, 2)\n"), ("-1", "")]
)
def test_an_exit_with_a_code_is_an_error(server: Server, code: str, stderr: str) -> None:
    answer = server.run(f"print('before')\nraise SystemExit({code})")
    assert end(answer) == failure("SystemExit on line 2", "before\n", stderr)


# The policy comes first


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import os; print(os.getcwd())", "import of 'os' is not allowed (line 1)"),
        ("import subprocess; subprocess.run(['ls'])", "import of 'subprocess' is not allowed (line 1)"),
        ("import sys; print(sys.path)", "import of 'sys' is not allowed (line 1)"),
        ("import time", "import of 'time' is not allowed (line 1)"),
        ("import socket", "import of 'socket' is not allowed (line 1)"),
        ("import urllib.request", "import of 'urllib.request' is not allowed (line 1)"),
        ("import httplib", "import of 'httplib' is not allowed (line 1)"),
        ("import requests", "import of 'requests' is not allowed (line 1)"),
        ("__import__('os')", "use of '__import__' is not allowed (line 1)"),
        ("from os import path", "import of 'os' is not allowed (line 1)"),
        ("import os as operating_system", "import of 'os' is not allowed (line 1)"),
        ("\nimport importlib\nimportlib.import_module('os')", "import of 'importlib' is not allowed (line 2)"),
        ("def f():\n    def g():\n        import os", "import of 'os' is not allowed (line 3)"),
        ("eval('1')", "use of 'eval' is not allowed (line 1)"),
        ("exec('1')", "use of 'exec' is not allowed (line 1)"),
        ("compile('1', '', 'eval')", "use of 'compile' is not allowed (line 1)"),
        ("open('/etc/passwd')", "use of 'open' is not allowed (line 1)"),
        ("file('/etc/passwd')", "use of 'file' is not allowed (line 1)"),
        ("(lambda: 0).__globals__", "access to '__globals__' is not allowed (line 1)"),
        ("(lambda: 0).__code__", "access to '__code__' is not allowed (line 1)"),
        ("().__class__", "access to '__class__' is not allowed (line 1)"),
        ("getattr((), '__class__')", "access to '__class__' in a string is not allowed (line 1)"),
        ("print('{0.__class__}'.format(1))", "access to '__class__' in a string is not allowed (line 1)"),
    ],
)
def test_a_violation_is_an_error_and_nothing_runs(server: Server, code: str, sentence: str) -> None:
    answer = server.run(f"{code}\nprint('it ran')")
    message = sentence.rpartition(" (line ")[0]
    assert end(answer) == failure(f"Security violation: {sentence}", stderr=answer["stderr"])
    assert re.match(rf"line \d+, column \d+: {re.escape(message)}(: .+)?\n", answer["stderr"])


def test_stderr_has_every_violation_with_its_line_and_column(server: Server) -> None:
    answer = server.run("import os\n'é'; import sys\nx = eval")
    assert answer["stderr"].splitlines() == [
        "line 1, column 8: import of 'os' is not allowed",
        "line 2, column 13: import of 'sys' is not allowed",
        "line 3, column 5: use of 'eval' is not allowed: it runs text that was not checked",
    ]


def test_very_many_violations_are_told_briefly(server: Server) -> None:
    answer = server.run("import os\n" * 20_000)
    assert answer["error"] == "Security violation: import of 'os' is not allowed (line 1)"
    assert answer["stderr"].endswith("\nand 19900 more\n")


def test_a_syntax_error_is_told_before_any_violation(server: Server) -> None:
    assert server.run("import os\nx ===")["error"] == "SyntaxError on line 2"


def test_what_may_be_imported_is_a_setting(small: Server) -> None:
    assert end(small.run("import os, sys\nprint(os.getcwd(), sys.argv)")) == success("/ ['-']\n")
    assert small.run("import socket")["error"] == "Security violation: import of 'socket' is not allowed (line 1)"


# Bad code: each gets an answer, and its status

CODE = {
    "a syntax error": ("def f(:", "error", "SyntaxError on line 1"),
    "a NUL": ("x = 1\ny = '\0'", "error", "SyntaxError on line 2"),
    "only a NUL": ("\0", "error", "SyntaxError on line 1"),
    "a hundred thousand parentheses": ("(" * 100_000, "error", "SyntaxError on line 1"),
    "a hundred thousand of them closed": ("(" * 100_000 + ")" * 100_000, "error", "SyntaxError on line 1"),
    "brackets as deep as the tokenizer goes": ("x = " + "[" * 90 + "]" * 90, "success", None),
    "as many brackets as are allowed": ("x = " + "[" * 199 + "]" * 199, "success", None),
    "one more": ("x = " + "[" * 201 + "]" * 201, "error", "SyntaxError on line 1"),
    "a deep chain of attributes": ("a" + ".b" * 10_000, "error", "RecursionError: the code is nested too deeply .*"),
    "a deep chain of calls": ("a" + "()" * 10_000, "error", "RecursionError: the code is nested too deeply .*"),
    "a deep chain of indices": ("a" + "[0]" * 10_000, "error", "RecursionError: the code is nested too deeply .*"),
    "a hundred thousand signs": ("-" * 100_000 + "1", "error", "RecursionError: the code is nested too deeply .*"),
    "a hundred thousand times not": ("not " * 100_000 + "1", "error", "RecursionError: the code is nested too .*"),
    "lambdas in lambdas": ("lambda:" * 10_000 + "1", "error", "RecursionError: the code is nested too deeply .*"),
    "a thousand indentations": (
        "".join(" " * n + "if 1:\n" for n in range(1000)) + " " * 1000 + "x",
        "error",
        "IndentationError on line 101",
    ),
    "loops in loops": (
        "".join(" " * n + "for x in y:\n" for n in range(50)) + " " * 50 + "x",
        "error",
        "SyntaxError on line 21",
    ),
    "a huge integer": ("x = " + "1" * 5000, "error", "SyntaxError on line 1"),
    "a huger integer": ("1" * SOURCE_CHARS, "error", "SyntaxError on line 1"),
    "a huge integer that is no work": ("x = 0x" + "f" * 10**6 + "\nprint(x.bit_length())", "success", None),
    "a huge name": ("x" * SOURCE_CHARS, "error", "NameError on line 1"),
    "a huge text": ("x = '" + "x" * 10**6 + "'\nprint(len(x))", "success", None),
    "a text without end": ("'" + "x" * 10**6, "error", "SyntaxError on line 1"),
    "a text of lines without end": ("'''" + "x\n" * 500_000, "error", "SyntaxError on line 1"),
    "many empty lines": ("\n" * SOURCE_CHARS, "success", None),
    "many semicolons": (";" * SOURCE_CHARS, "error", "SyntaxError on line 1"),
    "many backslashes": ("\\\n" * (SOURCE_CHARS // 2), "error", r"(Syntax|Memory)Error on line \d+"),
    "only comments": ("# nothing\n# at all", "success", None),
    "a comment without an end of line": ("# nothing", "success", None),
    "one character": ("1", "success", None),
    "blanks": ("   \n\t\n", "success", None),
    "a blank before the code": (" x = 1", "error", "IndentationError on line 1"),
    "a byte order mark": ("\ufeffprint(1)", "success", None),
    "a declared encoding": ("# -*- coding: latin-1 -*-\nprint('é')", "success", None),
    "an encoding that is none": ("# -*- coding: nonsense -*-\nprint('é')", "success", None),
    "line ends of Windows": ("if 1:\r\n    print(1)\r\n", "success", None),
    "line ends of old": ("if 1:\r    print(1)\r", "success", None),
    "letters that look like others": ("ｐｒｉｎｔ(1)", "success", None),
    "words of the whole world": ("été = 'ß'; число = 1; 数 = 2; print(été, число + 数)", "success", None),
    "a sign that is none": ("x = 1 ∧ 2", "error", "SyntaxError on line 1"),
    "a text without direction": ("x = '\u202e'\nprint(x)", "success", None),
    "deep f-strings": ("f'" + "{f\"" * 3 + "x", "error", "SyntaxError on line 1"),
    "control characters": ("x = '\x01\x7f'\nprint(len(x))", "success", None),
    "a form feed": ("x = 1\n\x0cprint(x)", "success", None),
    "an end of file of old": ("print(1)\n\x1a", "error", "SyntaxError on line 2"),
    "two million parts": ("x = [" + "1," * 500_000 + "]", "memory_exceeded", "Memory limit of 64 MiB exceeded"),
    "a sum of a megabyte": ("1+" * 500_000 + "1", "memory_exceeded", "Memory limit of 64 MiB exceeded"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "status", "error"), CODE.values(), ids=CODE)
def test_bad_code_gets_an_answer_and_the_server_lives(
    server: Server, code: str, status: str, error: str | None
) -> None:
    answer = server.run(code, memory_limit=64)
    assert answer["status"] == status, answer["error"]
    assert answer["error"] is None if error is None else re.fullmatch(error, answer["error"])
    assert len(answer["stderr"]) <= MIB


def test_a_sum_of_a_megabyte_is_too_deep_where_there_is_memory_to_read_it(server: Server) -> None:
    answer = server.run("1+" * 500_000 + "1")
    assert (answer["status"], answer["error"]) == (
        "error",
        "RecursionError: the code is nested too deeply to be compiled",
    )


def test_while_code_is_being_read_the_server_answers_others(small: Server) -> None:
    reading = small.ask_run("x = 10**10**8")  # the compiler computes it
    until(lambda: queue(small) == (1, 0))
    small.close(small.execute("1")["id"])
    assert queue(small) == (1, 0)
    assert end(answer_on(reading)) == failure("Time limit of 1 s exceeded", status="timeout")


# Requests that cannot be used


def post(server: Server, body: str | bytes, headers: dict[str, str] = JSON) -> requests.Response:
    data = body.encode() if isinstance(body, str) else body
    return server.http.post(f"{server.url}/run", data=data, headers=headers, timeout=30)


def refused(answer: requests.Response, status: int) -> dict[str, Any]:
    """The body of an answer that must be a refusal in JSON: one sentence, and nothing that was sent."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert MARK not in answer.text
    body: dict[str, Any] = answer.json()
    assert isinstance(body["error"], str) and body["error"]
    assert body.keys() <= {"error", "detail"}
    return body


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        MARK,
        f'{{"code": "{MARK}"',
        f'{{"code": "{MARK}",}}',
        f"{{'code': '{MARK}'}}",
        f'{{"code": "{MARK}\n"}}',
        f'{{"code": "{MARK}"}} more',
        b'{"code": "\xff"}',
        b"\x80\x04K\x01.",
    ],
    ids=range(10),
)
def test_malformed_json_is_400(server: Server, body: str | bytes) -> None:
    refused(post(server, body), 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "json"])
def test_what_is_not_said_to_be_json_is_415(server: Server, kind: str) -> None:
    refused(post(server, json.dumps({"code": MARK}), {"Content-Type": kind}), 415)


def test_a_body_too_large_is_413(server: Server) -> None:
    assert str(MOST_BYTES) in refused(post(server, json.dumps({"code": MARK + "x" * MOST_BYTES})), 413)["error"]


WRONG: dict[str, tuple[Any, list[Any]]] = {
    "no code": ({}, ["code"]),
    "empty code": ({"code": ""}, ["code"]),
    "code is null": ({"code": None}, ["code"]),
    "code is a number": ({"code": 5}, ["code"]),
    "code is a list": ({"code": [MARK]}, ["code"]),
    "code is too long": ({"code": "#" * (SOURCE_CHARS + 1)}, ["code"]),
    "code has a lone surrogate": ({"code": f"'{MARK}\ud800'"}, ["code"]),
    "timeout is 0": ({"code": MARK, "timeout": 0}, ["timeout"]),
    "timeout is negative": ({"code": MARK, "timeout": -1}, ["timeout"]),
    "timeout is too high": ({"code": MARK, "timeout": 301}, ["timeout"]),
    "timeout is far too high": ({"code": MARK, "timeout": 10**30}, ["timeout"]),
    "timeout is text": ({"code": MARK, "timeout": "30"}, ["timeout"]),
    "timeout is true": ({"code": MARK, "timeout": True}, ["timeout"]),
    "timeout is not whole": ({"code": MARK, "timeout": 1.5}, ["timeout"]),
    "timeout is a list": ({"code": MARK, "timeout": [30]}, ["timeout"]),
    "timeout is no number": ({"code": MARK, "timeout": float("nan")}, ["timeout"]),
    "timeout is endless": ({"code": MARK, "timeout": float("inf")}, ["timeout"]),
    "memory is 0": ({"code": MARK, "memory_limit": 0}, ["memory_limit"]),
    "memory is negative": ({"code": MARK, "memory_limit": -512}, ["memory_limit"]),
    "memory is too low": ({"code": MARK, "memory_limit": 63}, ["memory_limit"]),
    "memory is too high": ({"code": MARK, "memory_limit": 2049}, ["memory_limit"]),
    "memory is text": ({"code": MARK, "memory_limit": "512"}, ["memory_limit"]),
    "memory is true": ({"code": MARK, "memory_limit": True}, ["memory_limit"]),
    "memory is not whole": ({"code": MARK, "memory_limit": 512.5}, ["memory_limit"]),
    "a field that nobody knows": ({"code": MARK, "memory": 512}, ["memory"]),
    "a session": ({"code": MARK, "id": "x"}, ["id"]),
    "input": ({"code": MARK, "stdin": "x"}, ["stdin"]),
    "a field in the wrong case": ({"Code": MARK}, ["code", "Code"]),
    "three at once": ({"code": 5, "timeout": "x", "extra": 1}, ["code", "timeout", "extra"]),
    "a list": ([MARK], []),
    "a text": (MARK, []),
    "null": (None, []),
}


@pytest.mark.parametrize(("body", "places"), WRONG.values(), ids=WRONG)
def test_a_wrong_field_is_422_with_its_place_and_without_what_was_sent(
    server: Server, body: Any, places: list[Any]
) -> None:
    answer = refused(post(server, json.dumps(body)), 422)
    assert {tuple(problem["loc"]) for problem in answer["detail"]} == (
        {("body", place) for place in places} or {("body",)}
    )
    assert all(problem.keys() == {"loc", "msg"} and problem["msg"] for problem in answer["detail"])


@pytest.mark.parametrize(
    "fields",
    [
        {"timeout": 1, "memory_limit": 64},
        {"timeout": 300, "memory_limit": 2048},
        {"timeout": 30.0, "memory_limit": 512.0},
        {"timeout": None, "memory_limit": None},
    ],
)
def test_the_whole_range_is_taken(server: Server, fields: dict[str, Any]) -> None:
    assert end(server.run("print(1)", **fields)) == success("1\n")


@pytest.mark.parametrize("character", ["x", "é", "🐍", "\x01", '"'])
def test_a_mebi_of_characters_is_taken(server: Server, character: str) -> None:
    assert end(server.run("#" + character * (SOURCE_CHARS - 1))) == success()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_405(server: Server, method: str) -> None:
    answer = server.http.request(method, f"{server.url}/run", timeout=10)
    refused(answer, 405)
    assert answer.headers["allow"] == "POST"


def test_a_refused_request_disturbs_nobody(server: Server) -> None:
    for body in ("{", "{}", '{"code": "1", "timeout": 0}'):
        post(server, body)
    assert is_idle(server)


# Text


@pytest.mark.parametrize("text", ["\\ud800", "\\0", "\\x7f\\x80\\u2028\\x1b[31m", "\\U0001f40d", "\\r\\n", '\\"\\\\'])
def test_any_text_that_is_printed_comes_back_as_json(server: Server, text: str) -> None:
    answer = server.run(f"{SYS}print('''{text}''')\nprint('''{text}''', file=sys.stderr)")
    printed = ast.literal_eval(f"'''{text}'''").encode("utf-8", "backslashreplace").decode() + "\n"
    assert end(answer) == success(printed, printed)


def test_any_bytes_that_are_printed_come_back_as_json(small: Server) -> None:
    answer = small.run("import os, sys\nsys.stdout.buffer.write(bytes(range(256)))\nos.write(2, b'\\xff\\xfe')")
    assert end(answer) == success(bytes(range(256)).decode("utf-8", "backslashreplace"), "\\xff\\xfe")


def test_the_answer_is_utf_8(server: Server) -> None:
    answer = post(server, '{"code": "print(\'é🐍\')"}', {"Content-Type": "application/json; charset=utf-8"})
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.content.decode("utf-8"))["stdout"] == "é🐍\n"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_is_cut_at_a_mebibyte_and_the_run_goes_on(server: Server, stream: str) -> None:
    other = "stderr" if stream == "stdout" else "stdout"
    answer = server.run(f"{SYS}sys.{stream}.write('x' * 2**21)\nsys.{other}.write('went on')")
    assert (answer["status"], answer["error"], answer["truncated"]) == ("success", None, True)
    assert (len(answer[stream]), answer[other]) == (MIB, "went on")
    exact = server.run(f"{SYS}sys.{stream}.write('x' * 2**20)")
    assert (len(exact[stream]), exact["truncated"]) == (MIB, False)


def test_a_character_that_the_cut_would_halve_is_left_out(server: Server) -> None:
    answer = server.run("print('x' + '€' * 400_000)")
    assert answer["truncated"]
    assert answer["stdout"] == "x" + "€" * ((MIB - 1) // 3)


@pytest.mark.parametrize(
    "last", ["while True: pass", "x = bytearray(2**30)", "import ctypes; ctypes.string_at(0)", "1 / 0"]
)
def test_what_was_printed_is_kept_and_said_to_be_cut_whatever_ends_it(small: Server, last: str) -> None:
    answer = small.run(f"print('x' * 2**21, flush=True)\n{last}")
    assert answer["status"] != "success"
    assert (len(answer["stdout"]), answer["truncated"]) == (MIB, True)


# Time


def test_an_endless_loop_ends_at_its_limit_and_what_it_printed_is_kept(server: Server) -> None:
    answer = server.run("print('before')\nwhile True: pass", timeout=1)
    assert end(answer) == failure("Time limit of 1 s exceeded", "before\n", status="timeout")
    assert 0.99 <= answer["execution_time"] < 5


ENDLESS = {
    "a loop": "while True: pass",
    "a loop in C": "sum(iter(int, 1))",
    "a loop that catches everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "a loop in numpy": "import numpy as np\na = np.ones((400, 400))\nwhile True: a = a @ a / 400",
    "a regular expression": "import re\nre.match('(a+)+b', 'a' * 60)",
    "a power": "print('before', flush=True)\nx = 7\nx = x ** (x ** 11)",
    "symbols": "import sympy\nx = sympy.Symbol('x')\nwhile True: sympy.expand((x + 1)**200)",
    "a destructor": "class A:\n    def __del__(self):\n        while True: pass\nA()",
    "a repr that is printed": "class A:\n    def __repr__(self):\n        while True: pass\nprint(A())",
    "an error that is printed": "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
    "a generator": "import itertools\nfor x in itertools.count(): pass",
    "the reading of the code": "x = 10**10**8",
    "a flood": "while True: print('flood' * 1000)",
}


def test_whatever_never_ends_is_ended_at_its_limit(start_server: Callable[..., Server]) -> None:
    server = start_server(RUN_CONCURRENCY=len(ENDLESS), RUN_TIMEOUT_SECONDS=1, POOL_SIZE=1).wait_ready("all")
    with ThreadPoolExecutor(len(ENDLESS)) as pool:
        answers = dict(zip(ENDLESS, pool.map(lambda code: ask_once(server, code), ENDLESS.values()), strict=True))
    for name, answer in answers.items():
        assert (answer["status"], answer["error"]) == ("timeout", "Time limit of 1 s exceeded"), name
        assert answer["execution_time"] >= 0.9, name
    assert answers["a power"]["stdout"] == "before\n"
    assert (len(answers["a flood"]["stdout"]), answers["a flood"]["truncated"]) == (MIB, True)


def ask_once(server: Server, code: str, **fields: Any) -> dict[str, Any]:
    """POST /run on a connection of its own, from any thread."""
    answer = requests.post(f"{server.url}/run", json={"code": code, **fields}, timeout=60)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_program_that_sleeps_is_ended_too_and_one_that_wakes_in_time_is_not(small: Server) -> None:
    assert small.run("import time\ntime.sleep(60)")["status"] == "timeout"
    assert end(small.run("import time\ntime.sleep(1.2)\nprint('woke')", timeout=20)) == success("woke\n")


def test_signals_do_not_prolong_a_run(small: Server) -> None:
    answer = small.run(
        "import signal, time\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except OSError: pass\n"
        "print('deaf', flush=True)\nwhile True: time.sleep(9)"
    )
    assert end(answer) == failure("Time limit of 1 s exceeded", "deaf\n", status="timeout")


# Memory

HUNGRY = {
    "a bytearray": "x = bytearray(80 * 2**20)",
    "a text": "x = '€' * (40 * 2**20)",
    "a list that doubles": "x = [1]\nwhile True: x += x",
    "many small things": "x = [bytes(100) for _ in range(900_000)]",
    "a dictionary": "x = {}\nfor n in range(10**7): x[n] = str(n)",
    "an integer": "x = 1 << (8 * 80 * 2**20)",
    "a comprehension": "x = [[0] * 1000 for _ in range(10**6)]",
    "a BytesIO": "import io\nx = io.BytesIO()\nwhile True: x.write(bytes(2**20))",
}
HUNGRY_IN_NUMPY = {
    "an array": "import numpy as np\nx = np.ones(80 * 2**17)",
    "arrays one after another": "import numpy as np\nx = []\nwhile True: x.append(np.ones(2**17))",
    "a product": "import numpy as np\nx = np.outer(np.ones(5000), np.ones(5000))",
    "a frame": "import pandas as pd\nx = pd.DataFrame({'a': range(10**7)})",
}


@pytest.mark.parametrize("code", (HUNGRY | HUNGRY_IN_NUMPY).values(), ids=HUNGRY | HUNGRY_IN_NUMPY)
def test_whoever_takes_more_than_64_mib_is_told_and_keeps_what_it_printed(server: Server, code: str) -> None:
    answer = server.run(f"print('before')\n{code}\nprint('after')", memory_limit=64)
    assert end(answer) == failure("Memory limit of 64 MiB exceeded", "before\n", status="memory_exceeded")
    assert answer["memory_used"] <= 80


@pytest.mark.parametrize("limit", [64, 65, 100, 128, 256, 512])
def test_what_fits_its_limit_runs_and_what_does_not_is_told(server: Server, limit: int) -> None:
    code = "x = bytearray({} * 2**20)\nprint('done')"
    fits = server.run(code.format(limit - 12), memory_limit=limit)
    assert end(fits) == success("done\n")
    assert limit - 13 <= fits["memory_used"] <= limit + 4
    exceeds = server.run(code.format(limit + 8), memory_limit=limit)
    assert end(exceeds) == failure(f"Memory limit of {limit} MiB exceeded", status="memory_exceeded")


def test_the_highest_limit_is_another_than_the_default(server: Server) -> None:
    code = "import numpy as np\nx = np.empty({} * 2**17)\nprint('done')"  # not touched: it costs nobody anything
    assert server.run(code.format(600))["status"] == "memory_exceeded"
    assert end(server.run(code.format(2000), memory_limit=2048)) == success("done\n")
    assert server.run(code.format(2060), memory_limit=2048)["status"] == "memory_exceeded"


def test_all_six_libraries_work_in_64_mib(server: Server) -> None:
    code = "import numpy, pandas, scipy.stats, sympy, matplotlib.pyplot, sklearn.linear_model\nprint('done')"
    answer = server.run(code, memory_limit=64)
    assert end(answer) == success("done\n")
    assert answer["memory_used"] < 32


def test_memory_used_is_the_peak_of_this_run(server: Server) -> None:
    grown = server.run("x = bytearray(100 * 2**20)\ndel x\ny = bytearray(30 * 2**20)")
    assert 99 <= grown["memory_used"] < 110
    twice = server.run("for _ in range(3):\n    x = bytearray(40 * 2**20)\n    del x")
    assert 39 <= twice["memory_used"] < 50
    assert server.run("print(1)")["memory_used"] < 8
    in_numpy = server.run("import numpy as np\nx = np.ones(50 * 2**17)\ndel x")
    assert 49 <= in_numpy["memory_used"] < 60


def test_a_memory_error_that_is_caught_is_the_programs_own_affair(server: Server) -> None:
    answer = server.run("try:\n    bytearray(2**30)\nexcept MemoryError:\n    print('caught')")
    assert end(answer) == success("caught\n")


def test_memory_of_several_kinds_is_counted_together(small: Server) -> None:
    code = "import threading\nx = []\ndef take():\n    x.append(bytearray(20 * 2**20))\n"
    code += "for _ in range(4):\n    t = threading.Thread(target=take)\n    t.start()\n    t.join()\n"
    answer = small.run(code + "if len(x) < 4: raise MemoryError\nprint('all')")
    assert answer["status"] == "memory_exceeded"


# Nothing is left of a run

LEAVES = {
    "a module's value": ("import math\nprint(math.pi)\nmath.pi = 3", "3.141592653589793\n"),
    "a builtin": (f"{SYS}print(len('ab'))\nsys.modules['builtins'].len = lambda x: 99", "2\n"),
    "a name": ("print('left' in dir())\nleft = 1", "False\n"),
    "a seed of random": ("import random\nprint(random.getstate()[1][:3] == (1, 2, 3))\nrandom.seed(1)", "False\n"),
    "a setting of decimal": ("import decimal\nprint(decimal.getcontext().prec)\ndecimal.getcontext().prec = 5", "28\n"),
    "a module of its own": (f"{SYS}print('left' in sys.modules)\nsys.modules['left'] = sys", "False\n"),
    "the recursion limit": (f"{SYS}print(sys.getrecursionlimit())\nsys.setrecursionlimit(500)", "1000\n"),
    "a warning": ("import warnings\nprint(len(warnings.filters) < 50)\nwarnings.filters += [1] * 99", "True\n"),
    "a setting of numpy": (
        "import numpy as np\nprint(np.get_printoptions()['precision'])\nnp.set_printoptions(precision=2)",
        "8\n",
    ),
    "a setting of pandas": (
        "import pandas as pd\nprint(pd.get_option('display.max_rows'))\npd.set_option('display.max_rows', 5)",
        "60\n",
    ),
    "a figure": ("import matplotlib.pyplot as plt\nprint(plt.get_fignums())\nplt.figure()", "[]\n"),
    "a method of pandas": ("import pandas as pd\nprint(hasattr(pd.Series, 'left'))\npd.Series.left = 1", "False\n"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "stdout"), LEAVES.values(), ids=LEAVES)
def test_nothing_leaks_from_one_run_to_the_next(server: Server, code: str, stdout: str) -> None:
    for _ in range(5):
        assert end(server.run(code)) == success(stdout)


def test_nothing_leaks_from_a_session_to_a_run_or_back(server: Server) -> None:
    id = server.execute("import math\nmath.pi = 3\nleft = 1")["id"]
    assert server.run("import math\nprint(math.pi > 3.1, 'left' in dir())\nmath.e = 2")["stdout"] == "True False\n"
    assert server.execute("math.pi, math.e > 2.7", id)["result"] == "(3, True)"
    server.close(id)


def test_each_run_has_a_process_of_its_own(small: Server) -> None:
    pids = [small.run("import os\nprint(os.getpid())")["stdout"] for _ in range(8)]
    assert len(set(pids)) == 8


@pytest.mark.parametrize(
    "draw",
    [
        "import random; print(random.random())",
        "import uuid; print(uuid.uuid4())",
        "import numpy as np; print(np.random.rand())",
        "import numpy as np; print(np.random.default_rng().random())",
        "import sympy; print(sympy.core.random.rng.random())",
        "import random; print(random.SystemRandom().random())",
    ],
)
def test_random_differs_between_runs(server: Server, draw: str) -> None:
    assert len({server.run(draw)["stdout"] for _ in range(4)}) == 4


# The worker that a program gets

LOADED = SYS + "print(*(name for name in ('numpy', 'pandas', 'sympy', 'sklearn') if name in sys.modules))\n"


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("", ""),
        ("import math, json", ""),
        ("# import pandas\nx = 'import pandas'", ""),
        ("import numpy", "numpy"),
        ("def f():\n    from numpy import linalg", "numpy"),
        ("import numpy, math", "numpy"),
        ("import pandas", "numpy pandas sympy sklearn"),
        ("if 0:\n    import pandas.io", "numpy pandas sympy sklearn"),
        ("import numpy, scipy", "numpy pandas sympy sklearn"),
        ("import sympy", "numpy pandas sympy sklearn"),
        ("from sklearn import svm", "numpy pandas sympy sklearn"),
        ("import matplotlib.pyplot as plt", "numpy pandas sympy sklearn"),
    ],
)
def test_a_program_gets_a_worker_that_has_loaded_what_it_imports(server: Server, code: str, loaded: str) -> None:
    assert end(server.run(LOADED + code)) == success(loaded + "\n")


def test_where_no_libraries_are_kept_a_program_loads_them_itself(small: Server) -> None:
    assert end(small.run(LOADED + "import numpy\nprint(numpy.ones(2))", timeout=60)) == success("\n[1. 1.]\n")


# Its end is that of a process


def test_threads_are_waited_for_and_exit_functions_are_called_at_the_end(small: Server) -> None:
    code = (
        "import atexit, threading, time\natexit.register(print, 'exit 1')\natexit.register(print, 'exit 2')\n"
        "def late():\n    time.sleep(0.1)\n    print('thread')\nthreading.Thread(target=late).start()\nprint('main')"
    )
    assert end(small.run(code)) == success("main\nthread\nexit 2\nexit 1\n")


def test_they_are_also_when_it_ends_by_an_error_or_an_exit(small: Server) -> None:
    code = (
        "import atexit, threading\natexit.register(print, 'exit')\n"
        "threading.Thread(target=print, args=['thread']).start()\n"
    )
    failed = small.run(code + "1 / 0")
    assert (failed["stdout"], failed["error"]) == ("thread\nexit\n", "ZeroDivisionError on line 4")
    left = small.run(code + "raise SystemExit(3)")
    assert (left["stdout"], left["error"]) == ("thread\nexit\n", "SystemExit on line 4")


def test_a_daemon_thread_is_not_waited_for(small: Server) -> None:
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=[60], daemon=True).start()\nprint('main')"
    assert end(small.run(code, timeout=30)) == success("main\n")


def test_an_error_in_a_thread_or_in_an_exit_function_is_on_stderr_and_no_error_of_the_program(small: Server) -> None:
    in_thread = small.run("import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()")
    assert (in_thread["status"], in_thread["error"]) == ("success", None)
    assert in_thread["stderr"].endswith("ZeroDivisionError: division by zero\n")
    at_exit = small.run("import atexit\natexit.register(lambda: 1 / 0)\nprint('main')")
    assert (at_exit["status"], at_exit["stdout"], at_exit["error"]) == ("success", "main\n", None)
    assert at_exit["stderr"].endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    "code",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=[60]).start()\nprint('main')",
        "import atexit, time\natexit.register(time.sleep, 60)\nprint('main')",
    ],
    ids=["a thread", "an exit function"],
)
def test_the_time_limit_holds_for_the_end_too(small: Server, code: str) -> None:
    assert end(small.run(code)) == failure("Time limit of 1 s exceeded", "main\n", status="timeout")


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os\nos._exit(3)", "exit status 3"),
        ("import os\nos._exit(0)", "exit status 0"),
        ("import os\nos.abort()", "SIGABRT"),
        ("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", "SIGTERM"),
        ("import ctypes\nctypes.CDLL(None).exit(5)", "exit status 5"),
        ("import os\nos.closerange(3, 64)\nos.closerange(64, 1024)\nprint('more')", ".+"),
    ],
)
def test_a_crash_is_an_error_that_says_how_it_ended(small: Server, code: str, how: str) -> None:
    answer = small.run(f"print('before', flush=True)\n{code}")
    assert (answer["status"], answer["stderr"]) == ("error", "")
    assert re.fullmatch(f"The run crashed: {how}", answer["error"])
    assert answer["stdout"].startswith("before\n")
    assert end(small.run("print('next')")) == success("next\n")


# Processes and descriptors


def zombies(server: Server) -> list[psutil.Process]:
    return [process for process in server.descendants() if is_zombie(process.pid)]


def is_zombie(pid: int) -> bool:
    """Whether it is dead and not buried; it may have been buried since it was listed."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def counts(server: Server) -> list[int]:
    """What a server holds at rest: processes, descriptors of its own, descriptors of its zygotes."""
    zygotes = server.zygotes()
    own = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    return [len(server.worker_processes()), own, sum(len(os.listdir(f"/proc/{zygote.pid}/fd")) for zygote in zygotes)]


def test_no_process_and_no_descriptor_is_left_of_any_run(small: Server) -> None:
    small.run("print(1)")
    until(lambda: not zombies(small))
    until(lambda: is_idle(small) and len(small.worker_processes()) == 3)  # the zygote, a warm session, a warm run
    before = counts(small)
    for code in ("print(1)", "1 / 0", "import socket", "x ===", "import os\nos._exit(1)", "x = bytearray(2**30)") * 8:
        small.run(code)
    small.run("while True: pass")
    for code in (LONG, "while True: pass"):
        small.ask_run(code, timeout=60).close()
    until(lambda: is_idle(small) and all(now <= then for now, then in zip(counts(small), before, strict=True)))
    assert zombies(small) == []


FORKS = """
import ctypes
libc = ctypes.CDLL(None)
child = libc.fork()
while child == 0: libc.pause()
print(child, flush=True)
"""


@pytest.mark.parametrize("last", ["", "import os\nos._exit(0)", "while True: pass"], ids=["end", "crash", "timeout"])
def test_what_a_run_started_dies_with_it_even_without_the_wall(start_server: Callable[..., Server], last: str) -> None:
    server = start_server(
        SESSION_LIBRARIES="plain",
        POOL_SIZE=1,
        RUN_MODULES="ctypes,os",
        RUN_TIMEOUT_SECONDS=1,
        ALLOW_STUBS_ONLY="true",
        SANDBOX_STEPS="session",
    )
    child = int(server.run(FORKS + last)["stdout"])
    until(lambda: child not in psutil.pids() or is_zombie(child))
    until(lambda: server.run("1")["status"] == "success" and not zombies(server))  # buried with the next


# The queue


@pytest.fixture
def held(small: Server) -> Iterator[HTTPConnection]:
    """A run that has the only turn of the small server, until its connection is closed."""
    connection = small.ask_run(LONG, timeout=60)
    until(lambda: queue(small) == (1, 0))
    yield connection
    connection.close()
    until(lambda: is_idle(small))


def test_twelve_runs_at_once_each_get_their_own_answer(server: Server) -> None:
    asked = [server.ask_run(f"import math\nprint(sum(range({n}000)), {n})") for n in range(6)]
    asked += [server.ask_run(f"import numpy as np\nprint(np.arange({n}000).sum(), {n})") for n in range(6, 12)]
    for n, connection in enumerate(asked):
        assert end(answer_on(connection)) == success(f"{sum(range(n * 1000))} {n}\n")


def test_runs_have_their_turn_in_the_order_of_arrival(small: Server, held: HTTPConnection) -> None:
    waiting = [small.ask_run("import time\nprint(time.monotonic_ns())") for _ in range(3)]
    until(lambda: queue(small) == (1, 3))
    held.close()
    began = [int(answer_on(connection)["stdout"]) for connection in waiting]
    assert began == sorted(began)


def test_a_full_queue_is_429_and_says_when_to_try_again(small: Server, held: HTTPConnection) -> None:
    waiting = [small.ask_run("print(1)") for _ in range(3)]
    full = post(small, json.dumps({"code": MARK}))
    assert "3 runs are waiting" in refused(full, 429)["error"]
    assert int(full.headers["Retry-After"]) >= 1
    refused(post(small, "{"), 400)
    answer = small.execute("6 * 7")
    small.close(answer["id"])
    assert answer["result"] == "42", "sessions have nothing to do with it"
    held.close()
    assert [end(answer_on(connection)) for connection in waiting] == [success("1\n")] * 3
    assert end(small.run("print(2)")) == success("2\n"), "there is room again"


def test_a_queue_of_no_places_takes_what_can_begin_at_once(start_server: Callable[..., Server]) -> None:
    server = start_server(
        RUN_CONCURRENCY=1, RUN_QUEUE_SIZE=0, RUN_POOL_SIZE=0, RUN_MODULES="time", SESSION_LIBRARIES="plain", POOL_SIZE=1
    ).wait_ready("plain")
    assert end(server.run("print(1)")) == success("1\n")
    running = server.ask_run(LONG)
    until(lambda: queue(server) == (1, 0))
    refused(post(server, '{"code": "1"}'), 429)
    running.close()
    until(lambda: is_idle(server))
    assert end(server.run("print(2)")) == success("2\n")


def test_waiting_is_no_execution_time(small: Server, held: HTTPConnection) -> None:
    began = time.monotonic()
    waiting = small.ask_run("print(1)")
    until(lambda: time.monotonic() - began > 1)
    held.close()
    answer = answer_on(waiting)
    assert end(answer) == success("1\n"), "nor does it count towards the limit of 1 s"
    assert answer["execution_time"] < 1


def test_a_client_that_left_while_it_waited_is_never_served(small: Server, held: HTTPConnection) -> None:
    left = small.ask_run(LONG, timeout=60)
    stays = small.ask_run("print('stays')")
    left.close()
    until(lambda: queue(small) == (1, 1))
    held.close()
    assert end(answer_on(stays)) == success("stays\n")
    until(lambda: is_idle(small))


def test_a_run_whose_client_left_is_killed_at_once(small: Server) -> None:
    before = {process.pid for process in small.descendants()}
    running = small.ask_run("while True: pass", timeout=60)
    (worker,) = until(lambda: [process for process in small.descendants() if process.cpu_times().user > 0.2])
    assert worker.pid in before or worker.is_running()
    running.close()
    until(lambda: not worker.is_running(), 5)
    until(lambda: is_idle(small))
    assert end(small.run("print('next')")) == success("next\n")


def test_many_who_leave_at_once_leave_nothing(small: Server) -> None:
    for _ in range(10):
        connections = [small.ask_run("while True: pass", timeout=60) for _ in range(4)]
        for connection in connections:
            connection.close()
        until(lambda: is_idle(small))
    assert end(small.run("print('next')")) == success("next\n")


def test_no_run_waits_for_one_that_has_the_other_core(server: Server) -> None:
    if server.health()["runs"]["at_once"] < 2:
        pytest.skip("this machine has one core")
    running = server.ask_run("while True: pass", timeout=60)
    until(lambda: queue(server) == (1, 0))
    assert end(server.run("print(1)")) == success("1\n")
    running.close()
    until(lambda: is_idle(server))


def test_runs_open_no_session(server: Server) -> None:
    before = server.health()["sessions"]["open"]
    running = server.ask_run("while True: pass", timeout=60)
    assert server.health()["sessions"]["open"] == before
    running.close()


# A server that stops


def test_a_server_that_stops_lets_runs_end_for_a_moment_and_sends_the_others_away(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(
        RUN_CONCURRENCY=2, RUN_MODULES="default,time", SESSION_LIBRARIES="plain", POOL_SIZE=1, RUN_POOL_SIZE=2
    ).wait_ready("plain")
    ends = server.ask_run("import time\ntime.sleep(0.5)\nprint('done')")
    endless = server.ask_run("print('before', flush=True)\nwhile True: pass")
    until(lambda: queue(server) == (2, 0))
    waiting = server.ask_run("print('late')")
    server.process.send_signal(signal.SIGTERM)
    assert end(answer_on(ends)) == success("done\n")
    for connection in (waiting, endless):
        with connection.getresponse() as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert "shutting down" in json.loads(answer.read())["error"]
        connection.close()
    assert server.stop() == 0


# Settings, and what GET / tells


def test_the_limits_of_a_run_are_those_of_the_settings(small: Server) -> None:
    for fields in ({"timeout": 61}, {"memory_limit": 129}):
        (name,) = fields
        answer = refused(post(small, json.dumps({"code": MARK, **fields})), 422)
        assert answer["detail"][0]["loc"] == ["body", name]
    assert end(small.run("print(1)", timeout=60, memory_limit=128)) == success("1\n")
    code = "x = bytearray(90 * 2**20)"
    assert small.run(code)["error"] == "Memory limit of 64 MiB exceeded"
    assert end(small.run(code, memory_limit=128)) == success()


def test_the_document_knows_them(small: Server) -> None:
    document = small.http.get(f"{small.url}/openapi.json", timeout=10).json()
    properties = document["components"]["schemas"]["RunRequest"]["properties"]
    assert properties["timeout"]["anyOf"][0]["maximum"] == 60
    assert properties["memory_limit"]["anyOf"][0]["maximum"] == 128


def test_health_has_the_capabilities_that_were_promised(server: Server) -> None:
    health = server.health()
    assert (health["service"], health["status"]) == ("PyRunner", "healthy")
    assert health["capabilities"] == {
        "max_timeout": 300,
        "max_memory_mb": 2048,
        "libraries": ["sympy", "numpy", "pandas", "matplotlib", "scipy", "sklearn"],
    }
    assert (health["runs"]["at_once"], health["runs"]["max_waiting"]) == (
        len(os.sched_getaffinity(server.process.pid)),
        100,
    )


def test_health_tells_how_many_workers_are_ready_for_runs(small: Server) -> None:
    until(lambda: small.health()["runs"]["warm"] == {"plain": 1})
    assert queue(small) == (0, 0)


def test_capabilities_are_those_of_the_settings(small: Server, start_server: Callable[..., Server]) -> None:
    capabilities = small.health()["capabilities"]
    assert (capabilities["max_timeout"], capabilities["max_memory_mb"]) == (60, 128)
    few = start_server(RUN_MODULES="math,numpy,sklearn.svm", SESSION_LIBRARIES="plain", POOL_SIZE=0)
    assert few.health()["capabilities"]["libraries"] == ["numpy"]


def test_the_output_limit_is_that_of_the_settings(start_server: Callable[..., Server]) -> None:
    server = start_server(OUTPUT_LIMIT_KB=4, SESSION_LIBRARIES="plain", POOL_SIZE=0, RUN_POOL_SIZE=1)
    answer = server.run("print('x' * 5000)")
    assert (len(answer["stdout"]), answer["truncated"], answer["status"]) == (4096, True, "success")


def test_the_log_has_neither_code_nor_output(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server(LOG_LEVEL="debug", SESSION_LIBRARIES="plain", POOL_SIZE=0, RUN_POOL_SIZE=1)
    server.run("secret = 'in the code'\nprint('printed', 6 * 7)\n1 / 0")
    server.run("import os # in the code")
    server.run("print('printed')\nimport statistics\nstatistics.sys.modules['os']._exit(1)")
    server.stop()
    log = server.log.read_text()
    assert "in the code" not in log and "printed" not in log and "ZeroDivisionError" not in log
