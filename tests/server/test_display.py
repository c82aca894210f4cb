"""Rich results over HTTP: with the real libraries, with values that fail in every way, and with too much of all."""

import base64
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Server, answer_on, until
from tests.events import Events, told

Run = Callable[..., dict[str, Any]]

PNG = b"\x89PNG\r\n\x1a\n"
PLT = "import matplotlib.pyplot as plt\n"


def size_of(bundle: dict[str, str]) -> tuple[int, int]:
    """Width and height of the image in it."""
    image = base64.b64decode(bundle["image/png"], validate=True)
    assert image.startswith(PNG) and image.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", image[16:24])


def plain(answer: dict[str, Any]) -> list[str]:
    """The plain texts of its outputs."""
    return [bundle["text/plain"] for bundle in answer["outputs"]]


def quiet(answer: dict[str, Any]) -> bool:
    return (answer["error"], answer["stderr"], answer["truncated"]) == (None, None, False)


# The last expression


def test_a_data_frame_is_html_and_text(session: Run) -> None:
    answer = session("import pandas as pd\npd.DataFrame({'a': [1, 2]})")
    (bundle,) = answer["outputs"]
    assert bundle.keys() == {"text/plain", "text/html"}
    assert bundle["text/plain"] == answer["result"] == "   a\n0  1\n1  2"
    assert "<table" in bundle["text/html"] and "<td>2</td>" in bundle["text/html"]
    assert quiet(answer)


def test_a_symbol_is_latex_and_text(session: Run) -> None:
    answer = session("import sympy as sp\nx = sp.Symbol('x')\nsp.sqrt(x) / 2")
    assert answer["outputs"] == [{"text/plain": "sqrt(x)/2", "text/latex": r"$\displaystyle \frac{\sqrt{x}}{2}$"}]
    assert answer["result"] == "sqrt(x)/2"
    assert quiet(answer)


@pytest.mark.parametrize("value", ["5", "'text'", "[1, 2]", "int", "print", "object()", "None", "x = 5", "range(3)"])
def test_a_value_that_has_only_a_repr_is_no_output(session: Run, value: str) -> None:
    assert session(value)["outputs"] == []


def test_a_mock_has_any_attribute_and_no_rich_form(session: Run) -> None:
    answer = session("from unittest.mock import Mock, MagicMock\ndisplay(Mock(name='m'))\nMagicMock()")
    assert len(answer["outputs"]) == 1 and answer["outputs"][0].keys() == {"text/plain"}
    assert quiet(answer)


def test_only_the_last_expression_is_shown(session: Run) -> None:
    assert session("import pandas as pd\npd.DataFrame()\nx = 5\nx")["outputs"] == []


def test_an_exception_shows_what_was_shown_before(session: Run) -> None:
    answer = session("display(5)\n1 / 0")
    assert plain(answer) == ["5"]
    assert answer["stderr"].endswith("ZeroDivisionError: division by zero\n")


# Figures


def test_figures_that_are_open_at_the_end_are_shown_in_order_and_closed(session: Run) -> None:
    answer = session(PLT + "for n in (2, 3):\n    plt.figure(figsize=(n, n))\n    plt.plot([1, 2])\nplt.get_fignums()")
    assert plain(answer) == ["<Figure size 200x200 with 1 Axes>", "<Figure size 300x300 with 1 Axes>"]
    widths = [size_of(bundle)[0] for bundle in answer["outputs"]]
    assert widths == sorted(widths) and 100 < widths[0] < widths[1] < 400
    assert (answer["result"], quiet(answer)) == ("[1, 2]", True)
    assert session("plt.get_fignums()")["result"] == "[]"
    assert session("plt.plot([1])")["outputs"][0]["text/plain"] == "<Figure size 640x480 with 1 Axes>"


def test_figures_are_shown_behind_an_exception_too(session: Run) -> None:
    answer = session(PLT + "plt.plot([1])\n1 / 0")
    assert len(answer["outputs"]) == 1 and "ZeroDivisionError" in answer["stderr"]
    assert session("plt.get_fignums()")["result"] == "[]"


def test_show_shows_at_once_and_closes(session: Run) -> None:
    answer = session(
        PLT + "plt.plot([1])\nprint('a')\nplt.show()\nprint(plt.get_fignums())\nplt.figure()\nplt.show(block=False)"
    )
    assert plain(answer) == ["<Figure size 640x480 with 1 Axes>", "<Figure size 640x480 with 0 Axes>"]
    assert answer["stdout"] == "a\n[]\n"
    assert quiet(answer)
    assert session("plt.show()")["outputs"] == []


def test_a_result_that_is_a_figure_is_shown_once(session: Run) -> None:
    answer = session(PLT + "fig, ax = plt.subplots()\nax.plot([1])\nfig")
    assert plain(answer) == [answer["result"]] == ["<Figure size 640x480 with 1 Axes>"]
    again = session("fig")
    assert plain(again) == [again["result"]], "it is closed, and can still be shown"


def test_a_figure_without_pyplot_is_shown_when_it_is_the_result_or_displayed(session: Run) -> None:
    answer = session("from matplotlib.figure import Figure\nfig = Figure(figsize=(1, 1))\ndisplay(fig)\nfig")
    assert plain(answer) == ["<Figure size 100x100 with 0 Axes>"] * 2
    assert [size_of(bundle) > (0, 0) for bundle in answer["outputs"]] == [True, True]
    assert session("x = 5")["outputs"] == []


def test_a_figure_that_was_closed_is_not_shown(session: Run) -> None:
    assert session(PLT + "plt.plot([1])\nplt.close()")["outputs"] == []


def test_a_plot_of_pandas_is_a_figure(session: Run) -> None:
    answer = session("import pandas as pd\npd.Series([1, 2]).plot()")
    assert [*map(size_of, answer["outputs"])] and answer["result"] == "<Axes: >"


BROKEN_FIGURES = {
    "cannot be drawn": (PLT + "plt.figure().draw = None\nplt.figure(figsize=(1, 1))", "savefig failed", 2),
    "has a repr that fails": (
        PLT + "class F(plt.Figure):\n    def __repr__(self): 1 / 0\nplt.figure(FigureClass=F)",
        "",
        1,
    ),
    "is drawn by a function that exits": (
        PLT + "f = plt.figure()\ndef draw(*a): raise SystemExit\nf.draw = draw",
        "savefig failed: SystemExit",
        1,
    ),
    "is in a pyplot that is patched": (PLT + "plt.figure()\nplt.get_fignums = None", "get_fignums failed", 0),
    "is in a pyplot that cannot be closed": (PLT + "plt.figure()\nplt.close = None", "", 1),
    "is in a pyplot that has none": (PLT + "plt.figure()\nplt.figure = lambda n: 5", "", 1),
    "has bad text in it": (PLT + "plt.title('$\\\\frac{$')", "savefig failed: ValueError", 1),
    "is as large as no memory": (PLT + "plt.figure(figsize=(600, 600))", "savefig failed", 1),
}


@pytest.mark.parametrize(("code", "said", "count"), BROKEN_FIGURES.values(), ids=BROKEN_FIGURES)
def test_a_figure_that_fails_is_told_and_the_step_goes_on(session: Run, code: str, said: str, count: int) -> None:
    answer = session(f"{code}\nprint('printed')\n6 * 7", timeout=10)
    assert (answer["error"], answer["stdout"], answer["result"]) == (None, "printed\n", "42")
    assert said in (answer["stderr"] or "") and "Traceback" not in (answer["stderr"] or "")
    assert len(answer["outputs"]) == count
    assert session("6 * 7")["result"] == "42"


# display()


def test_display_shows_each_value_in_the_forms_that_it_has(session: Run) -> None:
    answer = session(
        "import pandas as pd, sympy as sp\nclass S:\n    def _repr_svg_(self): return '<svg/>'\n"
        "display(5, 'text', None, pd.DataFrame({'a': [1]}), sp.Symbol('x'), S())"
    )
    kinds = [sorted(bundle) for bundle in answer["outputs"]]
    assert kinds[:3] == [["text/plain"]] * 3
    assert plain(answer)[:3] == ["5", "'text'", "None"]
    assert kinds[3:] == [["text/html", "text/plain"], ["text/latex", "text/plain"], ["image/svg+xml", "text/plain"]]
    assert (answer["result"], quiet(answer)) == (None, True)


def test_display_is_a_builtin_like_any_other(session: Run) -> None:
    session("def show(x):\n    display(x)")
    assert plain(session("show(1)")) == ["1"]
    assert session("import builtins\n(display is builtins.display, display.__name__, display())")["result"] == (
        "(True, 'display', None)"
    )
    assert "TypeError: display() got an unexpected" in session("display(1, raw=True)")["stderr"]
    assert session("display = 5\ndisplay")["result"] == "5"
    assert plain(session("del display\ndisplay(2)")) == ["2"]
    assert session("del builtins.display\nimport json\n6 * 7")["result"] == "42"


def test_outputs_are_in_the_order_in_which_they_were_made(session: Run) -> None:
    answer = session(
        PLT + "import pandas as pd\nplt.figure(figsize=(1, 1))\ndisplay(1)\ndisplay(2)\nplt.show()\n"
        "plt.figure(figsize=(2, 2))\ndisplay(3)\npd.DataFrame({'a': []})"
    )
    texts = plain(answer)
    assert texts[:4] == ["1", "2", "<Figure size 100x100 with 0 Axes>", "3"]
    assert texts[4].startswith("Empty DataFrame") and texts[5:] == ["<Figure size 200x200 with 0 Axes>"]


def test_outputs_of_one_execution_are_not_in_the_next(session: Run) -> None:
    assert plain(session("display(1)")) == ["1"]
    assert session("2")["outputs"] == []


@pytest.mark.parametrize("size", [1, 1000, 16_000, 17_000, 40_000, 70_000, 1_000_000])
def test_displays_in_succession_arrive_whole(session: Run, size: int) -> None:
    count = min(100, 10_000_000 // size)
    answer = session(f"for n in range({count}): display('x' * {size} + str(n))", timeout=10)
    assert answer["error"] is None, answer["detail"]
    assert plain(answer) == [repr("x" * size + str(n)) for n in range(count)]


@pytest.mark.parametrize("size", [10, 50_000])
def test_displays_and_prints_keep_their_order_in_the_events(server: Server, session: Run, size: int) -> None:
    id = session("1")["id"]
    code = f"for n in range(20):\n    print(n)\n    display('é' * {size})\nprint('end')"
    expected = "".join(f"{n}\nD" for n in range(20)) + "end\n"
    for _ in range(20 if size < 100 else 5):
        with Events(server, code, id, timeout=10) as events:
            assert told(events.rest()) == expected


# Values that fail

_BAD = {
    "a method that raises": ("def _repr_html_(self): 1 / 0", "_repr_html_ failed: ZeroDivisionError"),
    "a method that exits": ("def _repr_png_(self): raise SystemExit(3)", "_repr_png_ failed: SystemExit: 3"),
    "a mimebundle that raises": (
        "def _repr_mimebundle_(self): raise KeyError(5)",
        "_repr_mimebundle_ failed: KeyError",
    ),
    "a method that wants more": ("def _repr_html_(self, more): return 'x'", "_repr_html_ failed: TypeError"),
    "a method that recurses": ("def _repr_html_(self): return self._repr_html_()", "failed: RecursionError"),
    "a method that takes all memory": ("def _repr_html_(self): return 'x' * 10**12", "failed: MemoryError"),
    "a property that raises": (
        "@property\n    def _repr_html_(self): raise ValueError('why')",
        "_repr_html_ failed: ValueError: why",
    ),
    "an attribute that cannot be called": ("_repr_html_ = 5", "_repr_html_ failed: TypeError"),
    "an error that fails": (
        "def _repr_html_(self):\n        class E(Exception):\n            def __str__(self): 1 / 0\n        raise E",
        "an error that cannot be shown",
    ),
    "a class that lies": ("__class__ = int", ""),
    "a class that raises": ("@property\n    def __class__(self): 1 / 0", ""),
    "a class that says it is a figure": (
        "@property\n    def __class__(self):\n        import matplotlib.figure as f\n        return f.Figure",
        "",
    ),
    "forms of a wrong type": ("def _repr_html_(self): return {'a': 1}\n    def _repr_png_(self): return 7", ""),
    "forms of another type than theirs": ("def _repr_png_(self): return 'no base64'", ""),
    "forms of classes that lie": (
        "def _repr_html_(self):\n        class T(str):\n            __len__ = encode = __str__ = lambda *a: 1 / 0\n"
        "        return T('x')",
        "",
    ),
    "half a surrogate": ("def _repr_html_(self): return '\\ud800'", ""),
    "no hash and no equality": ("__eq__ = __hash__ = __bool__ = __len__ = None\n    _repr_latex_ = lambda s: '$'", ""),
    "attributes that all raise": ("def __getattribute__(self, name): 1 / 0", ""),
    "a bundle of 5,000 types": (
        "def _repr_mimebundle_(self): return {f'a/{n}': 'x' * 20 for n in range(5000)}",
        "the others are left out",
    ),
    "a type of 20 MB": ("def _repr_mimebundle_(self): return {'a' * 20_000_000: 'x'}", "is left out"),
    "types that are none": ("def _repr_mimebundle_(self): return {5: 'x', None: 'y', ('a',): 'z', b'a': 'b'}", ""),
}


@pytest.mark.parametrize(("body", "said"), _BAD.values(), ids=_BAD)
def test_a_value_that_fails_never_breaks_the_step(session: Run, body: str, said: str) -> None:
    session(f"class Bad:\n    def __repr__(self): return 'bad'\n    {body}\nbad = Bad()")
    for code in ("print('before')\nbad", "print('before')\ndisplay(bad)\nprint('after')\nbad"):
        answer = session(code, timeout=10)
        assert (answer["error"], answer["result"], answer["state"]) == (None, "bad", "kept"), answer
        assert answer["stdout"] == ("before\nafter\n" if "after" in code else "before\n")
        assert said in (answer["stderr"] or "") and "Traceback" not in (answer["stderr"] or "")
        assert all(bundle["text/plain"] == "bad" for bundle in answer["outputs"])
    assert session("6 * 7")["result"] == "42"


@pytest.mark.parametrize("stream", ["5", "None", "type('S', (), {'write': lambda *a: 1 / 0})()"])
def test_a_value_that_fails_where_nothing_can_be_told_breaks_nothing(session: Run, stream: str) -> None:
    answer = session(
        "import sys\nclass Bad:\n    def _repr_html_(self): 1 / 0\n    def __repr__(self): return 'bad'\n"
        f"old, sys.stderr = sys.stderr, {stream}\ndisplay(Bad())\nBad()"
    )
    assert (answer["error"], answer["result"]) == (None, "bad")


def test_an_interrupt_in_a_form_is_the_code_s(session: Run) -> None:
    answer = session(
        "class Slow:\n    def _repr_html_(self):\n        while True: pass\nprint('before')\nSlow()", timeout=0.3
    )
    assert (answer["error"], answer["state"]) == ("execution timeout", "kept")
    assert answer["partial"] == {"stdout": "before\n", "stderr": None}
    answer = session("class Stops:\n    def _repr_html_(self): raise KeyboardInterrupt\nStops()")
    assert answer["error"] is None and answer["stderr"].endswith("KeyboardInterrupt\n")


# Too much


def form_of(text: str) -> str:
    return f"class Big:\n    def __repr__(self): return 'big'\n    def _repr_html_(self): return {text}\n"


@pytest.mark.parametrize("text", ["'x' * 10**8", "'x' * 40_000_000", "b'x' * 40_000_000", "'\\0' * 5_000_000"])
def test_a_form_of_any_size_is_left_out_and_told(session: Run, text: str) -> None:
    session(form_of(text))
    for code in ("Big()", "display(Big())\nBig()"):
        answer = session(code, timeout=10)
        assert (answer["error"], answer["result"], answer["truncated"]) == (None, "big", True), answer
        assert {tuple(bundle.items()) for bundle in answer["outputs"]} == {(("text/plain", "big"),)}
        assert "display: text/html of " in answer["stderr"] and "an execution shows 12 MiB" in answer["stderr"]
    assert session("6 * 7")["result"] == "42"


def test_a_form_that_is_just_not_too_large_is_whole(session: Run) -> None:
    answer = session(form_of("'x' * 12_000_000") + "Big()", timeout=10)
    assert answer["outputs"] == [{"text/plain": "big", "text/html": "x" * 12_000_000}]
    assert quiet(answer)


def test_a_long_repr_is_cut_as_a_result_and_whole_or_left_out_as_an_output(session: Run) -> None:
    answer = session("class Long:\n    def __repr__(self): return 'x' * 20_000_000\n    _repr_html_ = __repr__\nLong()")
    assert len(answer["result"]) == 2**20 and answer["truncated"]
    assert answer["outputs"] == []


def test_more_bundles_than_are_shown_are_left_out_and_told_once(session: Run) -> None:
    answer = session("for n in range(300): display(n)\nprint('end')")
    assert plain(answer) == [str(n) for n in range(200)]
    assert answer["stderr"] == "display: an execution shows 200 outputs; the others are left out\n"
    assert (answer["stdout"], answer["truncated"], answer["error"]) == ("end\n", True, None)
    assert plain(session("display('again')")) == ["'again'"]


def test_figures_for_which_there_is_no_room_are_not_drawn(session: Run) -> None:
    answer = session(
        PLT + "import warnings\nwarnings.simplefilter('ignore')\ndrawn = []\nclass F(plt.Figure):\n"
        "    def savefig(self, *a, **k):\n        drawn.append(1)\n        super().savefig(*a, **k)\n"
        "for _ in range(250): plt.figure(FigureClass=F, figsize=(0.5, 0.5))",
        timeout=20,
    )
    assert (answer["error"], len(answer["outputs"]), answer["truncated"]) == (None, 200, True)
    assert session("len(drawn), plt.get_fignums()")["result"] == "(200, [])"


def test_ten_thousand_figures_end_at_a_limit_with_the_namespace(session: Run) -> None:
    answer = session("kept = 5\n" + PLT + "for _ in range(10_000): plt.figure()", timeout=20)
    assert answer["error"] in ("memory limit exceeded", "execution timeout")
    assert answer["state"] == "kept"
    assert session("kept, plt.get_fignums()")["result"] == "(5, [])"
    assert session("plt.plot([1])")["outputs"]


def test_ten_thousand_figures_that_are_shown_one_by_one_are_bounded(session: Run) -> None:
    answer = session(PLT + "for n in range(10_000):\n    plt.figure(figsize=(0.5, 0.5))\n    plt.show()", timeout=0.5)
    assert (answer["error"], answer["state"]) in ((None, "kept"), ("execution timeout", "kept"))
    assert 0 < len(answer["outputs"]) <= 200
    assert session("plt.get_fignums()")["result"] == "[]"


# Limits and interrupts


def test_a_limit_that_is_reached_while_figures_are_drawn_keeps_the_session(session: Run) -> None:
    session(PLT + "import time\nplt.plot([1])")
    slow = (
        "class Slow(plt.Figure):\n    def savefig(self, *a, **k):\n        while True: pass\n"
        "print('before')\nplt.figure(FigureClass=Slow)\nkept = 5"
    )
    answer = session(slow, timeout=0.3)
    assert (answer["error"], answer["state"]) == ("execution timeout", "kept")
    assert answer["partial"] == {"stdout": "before\n", "stderr": None}
    assert session("kept, plt.get_fignums()")["result"] == "(5, [])"


def test_an_interrupted_execution_tells_what_it_had_shown(session: Run) -> None:
    answer = session(PLT + "plt.figure()\ndisplay(1)\ndisplay(2)\nwhile True: pass", timeout=0.3)
    assert (answer["error"], answer["state"], plain(answer)) == ("execution timeout", "kept", ["1", "2"])
    assert session("plt.get_fignums()")["result"] == "[]", "there was no time to draw it"


def test_a_killed_execution_tells_what_it_had_shown(server: Server) -> None:
    answer = server.execute("display(1)\nprint('x')\nimport os\nos._exit(3)")
    assert (answer["error"], plain(answer)) == ("session crashed", ["1"])
    assert answer["partial"]["stdout"] == "x\n"


@pytest.mark.parametrize("alarms", [False, True], ids=["quiet", "with alarms"])
def test_interrupts_during_displays_lose_neither_the_session_nor_a_frame(
    server: Server, session: Run, alarms: bool
) -> None:
    """The small ones fill frames of one write, the large ones those that wait for the reader."""
    id = session("count = 0")["id"]
    if alarms:
        session(
            "import signal\nrung = 0\ndef ring(*a):\n    global rung\n    rung += 1\n"
            "signal.signal(signal.SIGALRM, ring)\n"
            "signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)"
        )
    for size in (10, 30_000, 100_000):
        code = f"text = 'x' * {size}\nwhile True:\n    display(text)\n    count += 1"
        for turn in range(70):
            answer = server.execute(code, id, timeout=0.004 + 0.0003 * turn)
            assert (answer["error"], answer["state"]) == ("execution timeout", "kept"), answer["detail"]
            assert all(len(text) == size + 2 for text in plain(answer))
    if alarms:
        assert int(session("signal.setitimer(signal.ITIMER_REAL, 0)\nrung")["result"]) > 0
        assert session("signal.getsignal(signal.SIGALRM) is ring")["result"] == "True"
    assert int(session("count")["result"]) > 0
    assert (
        session("import signal\nsignal.getsignal(signal.SIGINT)")["result"] == "<built-in function default_int_handler>"
    )


# Threads


def test_a_thread_may_show_too(session: Run) -> None:
    answer = session(
        "import threading\ndef work(name):\n    for n in range(20): display(f'{name} {n}')\n"
        "threads = [threading.Thread(target=work, args=(name,)) for name in 'ab']\n"
        "[t.start() for t in threads]\nfor n in range(20): display(f'main {n}')\n[t.join() for t in threads]\n6 * 7"
    )
    assert (answer["error"], answer["result"], answer["stderr"]) == (None, "42", None)
    texts = plain(answer)
    for name in ("a", "b", "main"):
        assert [text for text in texts if text.startswith(f"'{name} ")] == [f"'{name} {n}'" for n in range(20)]


def test_what_a_thread_shows_behind_the_answer_is_left_out_and_harms_nothing(session: Run) -> None:
    session(
        "import threading, time\nshown = 0\nstop = False\ndef work():\n    global shown\n    while not stop:\n"
        "        display('late' * 5000)\n        shown += 1\n        time.sleep(0.0001)\n"
        "thread = threading.Thread(target=work, daemon=True)\nthread.start()"
    )
    for _ in range(50):
        answer = session("x = 6 * 7\nx")
        assert (answer["error"], answer["result"]) == (None, "42"), answer
    answer = session("stop = True\nthread.join()\nshown")
    assert (answer["error"], int(answer["result"]) > 0) == (None, True)


# Beside all that, Python is as it was


def test_the_rest_is_as_python_has_it(session: Run) -> None:
    answer = session(
        "import builtins\nprint(sorted(set(dir(builtins)) - set(dir(type(builtins)('x'))) - {'display'}) == "
        "sorted(set(vars(builtins)) - {'display', '__name__', '__doc__', '__package__', '__loader__', '__spec__'}))\n"
        "print([name for name in globals() if 'display' in name])\n5"
    )
    assert answer["stdout"].endswith("[]\n") and answer["result"] == "5"


def test_a_figure_costs_those_nothing_who_draw_none(server: Server, session: Run) -> None:
    answer = session("import sys\n'matplotlib.pyplot' in sys.modules, print('x')")
    assert (answer["result"], answer["outputs"]) == ("(True, None)", [])
    assert answer["execution_time"] < 0.1


def test_displays_of_an_execution_that_its_client_left_harm_nothing(server: Server, session: Run) -> None:
    id = session("import time")["id"]
    connection = server.ask("while True:\n    display('x' * 30_000)\n    time.sleep(0.001)", id, timeout=20)
    until(lambda: server.session(id)["state"] == "busy")
    connection.close()
    until(lambda: server.session(id)["state"] == "idle")
    assert plain(session("display(5)")) == ["5"]


def test_many_sessions_show_at_once(server: Server) -> None:
    code = "for n in range(30): display('x' * 20_000 + str(n))"
    asked = [server.ask(code, timeout=20) for _ in range(6)]
    answers = [answer_on(connection) for connection in asked]
    for answer in answers:
        assert [text[-3:-1] for text in plain(answer)] == [f"{'x' + str(n) if n < 10 else n}" for n in range(30)]
        server.close(answer["id"])


def test_what_is_shown_goes_to_the_client_whose_execution_shows_it(server: Server, session: Run) -> None:
    id = session("1")["id"]
    answers: dict[int, dict[str, Any]] = {}

    def ask(number: int) -> None:
        answers[number] = answer_on(server.ask(f"for _ in range(5): display({number})", id))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: plain(answer) for number, answer in answers.items()} == {n: [str(n)] * 5 for n in range(8)}
