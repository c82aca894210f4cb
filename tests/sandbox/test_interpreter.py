"""One namespace over many executions: results, futures, streams, threads and signals."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Server

Run = Callable[..., dict[str, Any]]

RESULTS = {
    "6 * 7": "42",
    "1, 2": "(1, 2)",
    "'text'": "'text'",
    "'\\ud800'": "'\\ud800'",
    "'é🐍'": "'é🐍'",
    "b'\\xff'": "b'\\xff'",
    "...": "Ellipsis",
    "0": "0",
    "''": "''",
    "'a' * 3;": "'aaa'",
    "x = 5; x": "5",
    "x = 5\n\n# a comment\n(x +\n 1)\n# another": "6",
    "print": "<built-in function print>",
    "__name__": "'__main__'",
    "[y := 3, y]": "[3, 3]",
    "x = []\nx.append(x)\nx": "[[...]]",
    "{'a': {1}}": "{'a': {1}}",
    "def f(): return 1\nf()": "1",
    "class A:\n    def __repr__(self): return 'mine'\nA()": "mine",
    "class A:\n    def __repr__(self): return 'half \\ud800'\nA()": "half \\ud800",
    "class A:\n    def __repr__(self): return 'nul \\0'\nA()": "nul \0",
    "import numpy as np\nnp.arange(3)": "array([0, 1, 2])",
    "import pandas as pd\npd.DataFrame({'a': [1]})": "   a\n0  1",
}
NO_RESULT = [
    "None",
    "print('x')",
    "x = 5",
    "x = 5;",
    "x: int = 5",
    "if True: 5",
    "for i in [1]: i",
    "def f(): 5",
    "5\npass",
    "import sys",
    "# a comment",
    "\n\n",
    "x = 1\ndel x",
    "1 / 0",
    "5 +",
    "raise SystemExit",
]
BAD_REPRS = {
    "raise ValueError('x')": "ValueError",
    "return 5": "TypeError",
    "import sys; sys.exit('gone')": "SystemExit",
    "return repr(self)": "RecursionError",
    "raise MemoryError": "MemoryError",
    "raise type('Mine', (BaseException,), {})": "Mine",
}


@pytest.mark.parametrize(("code", "result"), RESULTS.items())
def test_the_value_of_the_last_expression_is_the_result(session: Run, code: str, result: str) -> None:
    answer = session(code)
    assert (answer["result"], answer["stdout"], answer["stderr"], answer["error"]) == (result, None, None, None)


@pytest.mark.parametrize("code", NO_RESULT)
def test_without_a_value_there_is_no_result(session: Run, code: str) -> None:
    answer = session(code)
    assert (answer["result"], answer["error"], answer["state"]) == (None, None, "kept")


@pytest.mark.parametrize(("body", "error"), BAD_REPRS.items())
def test_a_repr_that_fails_is_told_in_the_result(session: Run, body: str, error: str) -> None:
    answer = session(f"class Bad:\n    def __repr__(self): {body}\nx = 1\nBad()")
    assert answer["result"] == f"<unprintable Bad object: {error}>"
    assert (answer["stderr"], answer["error"]) == (None, None)
    assert session("x")["result"] == "1"


def test_a_repr_may_print(session: Run) -> None:
    answer = session("class A:\n    def __repr__(self): print('in repr'); return 'A!'\nA()")
    assert (answer["stdout"], answer["result"]) == ("in repr\n", "A!")


def test_a_repr_that_never_ends_is_interrupted_at_the_limit(session: Run) -> None:
    answer = session("import time\nclass A:\n    def __repr__(self):\n        time.sleep(9)\nA()", timeout=0.2)
    assert (answer["error"], answer["state"], answer["result"]) == ("execution timeout", "kept", None)
    assert session("1 + 1")["result"] == "2"


def test_a_long_result_is_cut_and_said_so(session: Run) -> None:
    answer = session("'x' * 2_000_000")
    assert (len(answer["result"]), answer["truncated"]) == (2**20, True)


def test_the_last_value_is_left_in_no_name(session: Run) -> None:
    session("6 * 7")
    assert "NameError: name '_' is not defined" in session("_")["stderr"]


def test_a_future_holds_for_all_that_follows(session: Run) -> None:
    session("from __future__ import annotations")
    assert session("def f(x: unknown): ...\nf.__annotations__")["result"] == "{'x': 'unknown'}"


def test_the_namespace_is_that_of_main(session: Run) -> None:
    session("import __main__, pickle, sys\nclass A:\n    pass\nx = 5")
    assert session("__main__.x, sys.modules['__main__'].__dict__ is globals()")["result"] == "(5, True)"
    assert session("type(pickle.loads(pickle.dumps(A()))) is A")["result"] == "True"


def test_a_builtin_may_be_shadowed_and_uncovered(session: Run) -> None:
    session("print = 5")
    assert session("print")["result"] == "5"
    assert session("del print\nprint('back')")["stdout"] == "back\n"


def test_a_function_sees_the_names_of_later_executions(session: Run) -> None:
    session("def f():\n    return later")
    assert "NameError: name 'later' is not defined" in session("f()")["stderr"]
    session("later = 7")
    assert session("f()")["result"] == "7"


def test_the_last_error_is_there_to_be_looked_at(session: Run) -> None:
    session("1 / 0")
    assert session("import sys\nsys.last_type.__name__, str(sys.last_value)")["result"] == (
        "('ZeroDivisionError', 'division by zero')"
    )
    assert session("import traceback\ntraceback.extract_tb(sys.last_traceback)[0].filename")["result"] == "'<stdin>'"


def test_what_is_half_done_when_an_error_comes_is_kept(session: Run) -> None:
    session("x = 1\nx = 2\n1 / 0\nx = 3")
    assert session("x")["result"] == "2"


def test_a_syntax_error_runs_nothing(session: Run) -> None:
    answer = session("x = 1\nprint(x)\nx +* 1")
    assert (answer["stdout"], answer["error"]) == (None, None)
    assert answer["stderr"].startswith('  File "<stdin>", line 3\n    x +* 1\n')
    assert "NameError" in session("x")["stderr"]


@pytest.mark.parametrize(
    ("code", "stdin", "result"),
    [
        ("input()", "Ada", "'Ada'"),
        ("input(), input()", "é\n🐍\n", "('é', '🐍')"),
        ("input(), input()", "a\0b\r\nc", "('a\\x00b', 'c')"),
        ("import sys\nsys.stdin.read()", "one\ntwo", "'one\\ntwo'"),
        ("import sys\nlist(sys.stdin)", "one\ntwo", "['one\\n', 'two']"),
        ("import sys\nsys.stdin.buffer.read()", "é", "b'\\xc3\\xa9'"),
        ("import sys\nsys.stdin.read()", "", "''"),
        ("open(0).read()", "for a judge", "'for a judge'"),
        ("import os\nos.read(0, 3)", "abcdef", "b'abc'"),
        ("import fileinput\nlist(fileinput.input())", "a\nb", "['a\\n', 'b']"),
        ("import sys\nlen(sys.stdin.read())", "x" * 2**20, str(2**20)),
    ],
)
def test_stdin_is_what_the_request_brings(session: Run, code: str, stdin: str, result: str) -> None:
    answer = session(code, stdin=stdin)
    assert (answer["result"], answer["stderr"], answer["error"]) == (result, None, None)


def test_the_prompt_of_input_is_printed(session: Run) -> None:
    answer = session("input('name? ')", stdin="Ada")
    assert (answer["stdout"], answer["result"]) == ("name? ", "'Ada'")


def test_what_one_execution_did_not_read_is_not_left_for_the_next(session: Run) -> None:
    assert session("input()", stdin="one\ntwo\nthree")["result"] == "'one'"
    assert session("input()", stdin="four")["result"] == "'four'"
    answer = session("input()")
    assert answer["stderr"].endswith("EOFError: EOF when reading a line\n")


@pytest.mark.parametrize("harm", ["sys.stdin.close()", "sys.stdin = None", "os.close(0)", "sys.stdin.detach()"])
def test_a_harmed_stdin_is_mended_for_the_next_execution(session: Run, harm: str) -> None:
    assert session(f"import os, sys\n{harm}")["error"] is None
    assert session("input()", stdin="again")["result"] == "'again'"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(
    "harm",
    [
        "sys.{0}.close()",
        "sys.{0} = None",
        "del sys.{0}",
        "sys.{0}.detach()",
        "os.close({1})",
        "os.closerange(0, 3)",
        "sys.{0} = io.StringIO(); sys.{0}.close()",
    ],
)
def test_a_harmed_stream_is_mended_for_the_next_execution(session: Run, stream: str, harm: str) -> None:
    number = {"stdout": 1, "stderr": 2}[stream]
    assert session("import io, os, sys\n" + harm.format(stream, number))["error"] is None
    answer = session(f"print('again', file=sys.{stream}, flush=True)\nos.write({number}, b'raw')\n1")
    assert (answer[stream], answer["result"]) == ("again\nraw", "1")


def test_a_replaced_stdout_stays_replaced_until_it_is_closed(session: Run) -> None:
    assert session("import io, sys\nsys.stdout = kept = io.StringIO()\nprint('aside')")["stdout"] is None
    assert session("print('aside too')\nkept.getvalue()")["result"] == "'aside\\naside too\\n'"
    assert session("sys.stdout = sys.__stdout__\nprint('back')")["stdout"] == "back\n"


def test_a_replaced_stdout_that_the_code_has_closed_is_passed_over(session: Run) -> None:
    answer = session("import sys\nsys.stdout = open(1, 'w', closefd=False)\nprint('a')\nsys.stdout.close()\n6 * 7")
    assert (answer["stdout"], answer["stderr"], answer["result"]) == ("a\n", None, "42")


def test_a_replaced_stdout_that_fails_to_flush_is_reported_without_a_frame_of_ours(session: Run) -> None:
    answer = session("import sys\nclass S:\n    write = len\n    def flush(self): 1 / 0\nsys.stdout = S()")
    assert answer["stderr"].startswith("Exception ignored in: <__main__.S object at 0x")
    assert answer["stderr"].endswith("ZeroDivisionError: division by zero\n")
    assert 'File "<stdin>", line 4, in flush' in answer["stderr"]
    assert "sandbox" not in answer["stderr"]


def test_a_stdout_of_the_users_own_on_the_descriptor_is_captured(session: Run) -> None:
    session("import sys\nsys.stdout = open(1, 'w', closefd=False)")
    assert session("print('through descriptor 1')")["stdout"] == "through descriptor 1\n"


def test_what_threads_print_late_belongs_to_the_next_answer(session: Run) -> None:
    first = session(
        "import threading\ngo, done = threading.Event(), threading.Event()\n"
        "def late():\n    go.wait()\n    print('late')\n    done.set()\n"
        "threading.Thread(target=late).start()\nprint('now')"
    )
    assert first["stdout"] == "now\n"
    second = session("go.set()\ndone.wait()\nprint('second')")
    assert second["stdout"] == "late\nsecond\n"


def test_threads_do_not_run_on_between_executions(server: Server, session: Run) -> None:
    session(
        "import threading, time\nticks, stop = [], False\ndef tick():\n    while not stop:\n"
        "        ticks.append(1)\n        time.sleep(0.001)\nthreading.Thread(target=tick).start()"
    )
    before = int(session("len(ticks)")["result"])
    other = server.execute("import time\ntime.sleep(0.3)")  # time in which it could tick hundreds of times
    server.http.delete(f"{server.url}/sessions/{other['id']}", timeout=10)
    assert int(session("stop = True\nlen(ticks)")["result"]) - before < 30


def test_an_alarm_calls_the_users_handler(session: Run) -> None:
    answer = session(
        "import signal, time\nsignal.signal(signal.SIGALRM, lambda *a: print('alarm'))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.02)\ntime.sleep(0.2)\nprint('after')"
    )
    assert (answer["stdout"], answer["stderr"]) == ("alarm\nafter\n", None)


def test_an_alarm_between_two_executions_comes_in_the_second(session: Run) -> None:
    session(
        "import signal, time\nrung = []\nsignal.signal(signal.SIGALRM, lambda *a: rung.append(1))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01)"
    )
    assert session("while not rung: pass\nrung")["result"] == "[1]"


def test_an_alarm_that_raises_ends_only_its_execution(session: Run) -> None:
    answer = session(
        "import signal, time\ndef ring(*a): raise RuntimeError('rung')\nsignal.signal(signal.SIGALRM, ring)\n"
        "x = 1\nsignal.setitimer(signal.ITIMER_REAL, 0.02)\ntime.sleep(1)"
    )
    assert answer["stderr"].endswith("RuntimeError: rung\n")
    assert session("x")["result"] == "1"


def test_an_alarm_without_a_handler_ends_the_session_by_name(session: Run) -> None:
    answer = session("import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.02)\ntime.sleep(1)")
    assert (answer["error"], answer["detail"], answer["state"]) == ("session crashed", "SIGALRM", "lost")


LOOP = "\nwhile True:\n    x = 1"


def test_a_handler_for_the_interrupt_may_end_the_execution_its_own_way(session: Run) -> None:
    answer = session(
        "import signal\ndef mine(*a): raise RuntimeError('by my handler')\nsignal.signal(signal.SIGINT, mine)" + LOOP,
        timeout=0.2,
    )
    assert (answer["error"], answer["state"]) == ("execution timeout", "kept")
    assert session("x")["result"] == "1"


def test_a_handler_that_swallows_the_interrupt_costs_the_session(session: Run) -> None:
    answer = session("import signal\nsignal.signal(signal.SIGINT, lambda *a: print('no'))" + LOOP, timeout=0.2)
    assert (answer["error"], answer["state"], answer["partial"]["stdout"]) == ("execution timeout", "lost", "no\n")


def test_an_interrupt_that_is_caught_lets_the_code_tidy_up(session: Run) -> None:
    answer = session("import time\ntry:\n    time.sleep(9)\nexcept KeyboardInterrupt:\n    tidy = True", timeout=0.2)
    assert (answer["error"], answer["state"]) == ("execution timeout", "kept")
    assert session("tidy")["result"] == "True"


def test_after_an_interrupt_the_next_execution_runs_undisturbed(session: Run) -> None:
    for _ in range(10):
        assert session("import time\ntime.sleep(9)", timeout=0.02)["state"] == "kept"
        assert session("sum(range(100_000))")["result"] == "4999950000"


def test_masks_of_signals_are_kept_over_executions(session: Run) -> None:
    session("import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])")
    assert session("signal.pthread_sigmask(signal.SIG_BLOCK, [])")["result"] == "{<Signals.SIGUSR1: 10>}"


def test_none_of_our_signals_are_blocked_in_user_code(session: Run) -> None:
    assert session("import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [])")["result"] == "set()"


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nsys.setrecursionlimit(50)",
        "import sys\nsys.settrace(lambda *a: 1 / 0)",
        "import sys\nsys.setprofile(lambda *a: 1 / 0)",
        "import sys\nsys.excepthook = 5\n1 / 0",
        "import sys\nsys.displayhook = None",
        "import gc\ngc.disable()\ngc.set_threshold(1)",
        "import decimal\ndecimal.getcontext().prec = 1",
        "import builtins\ndel builtins.len, builtins.print, builtins.repr, builtins.type, builtins.getattr",
        "import sys\nsys.path.clear()\nsys.meta_path.clear()",
        "import sys\nsys.modules.pop('__main__')",
        "import sys\nsys.flags = None\nsys.version_info = None",
        "globals().clear()",
        "import warnings\nwarnings.simplefilter('error')\nwarnings.warn('x')",
        "import atexit, os\natexit.register(os._exit, 9)",
        "import faulthandler\nfaulthandler.enable()",
        "import tracemalloc\ntracemalloc.start()",
        "import locale\nlocale.setlocale(locale.LC_ALL, 'C')",
        "import time\ntime.time = time.monotonic = time.perf_counter = None",
        "import json, struct\njson.dumps = json.loads = struct.pack = None",
        "import io, re\nio.TextIOWrapper = io.BytesIO = re.compile = None",
        "import threading\nthreading.Lock = threading.RLock = None",
        "import codecs\ncodecs.getincrementaldecoder = codecs.lookup = None",
    ],
)
def test_what_the_code_does_to_the_interpreter_does_not_keep_it_from_answering(session: Run, code: str) -> None:
    answer = session(code)
    assert (answer["error"], answer["state"]) == (None, "kept")
    answer = session("2 + 3")
    assert (answer["result"], answer["error"]) == ("5", None)
