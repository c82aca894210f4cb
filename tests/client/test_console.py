"""python -m pyrunner_client on a real terminal, against a real server."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyrunner_client import colours
from pyrunner_client.prompt import needs_more

from tests.client.terminal import CTRL_C, CTRL_D, TAB, UP, Terminal, console, environment
from tests.conftest import Server

PAINTED = "\x1b["


@pytest.fixture
def terminal(server: Server, tmp_path: Path) -> Iterator[Terminal]:
    with console(server.url, tmp_path) as terminal:
        yield terminal


def test_results_and_output_are_shown(terminal: Terminal) -> None:
    assert "Ctrl-C interrupts, Ctrl-D ends" in terminal.text
    assert terminal.enter("x = 6") == ""
    assert terminal.enter("print('é'); x * 7") == "é\n42\n"
    assert terminal.enter("print('no end', end='')") == "no end\n"
    assert terminal.enter("") == ""


def test_several_lines_are_one_step(terminal: Terminal) -> None:
    terminal.press("for n in range(2):\n")
    terminal.wait_for("... ")
    terminal.press("    print(n)\n")
    terminal.wait_for("... ")
    assert terminal.enter("") == "0\n1\n"
    terminal.press("total = (1 +\n")
    terminal.wait_for("... ")
    terminal.enter("2)")
    assert terminal.enter("total") == "3\n"


def test_output_is_shown_while_the_code_runs_and_ctrl_c_interrupts_it(server: Server, tmp_path: Path) -> None:
    with console(server.url, tmp_path, "--timeout", "30") as terminal:
        terminal.enter("import time; x = 1")
        terminal.press("print('begun'); time.sleep(30)\n")
        terminal.wait_for("begun\n")
        terminal.press(CTRL_C)
        assert "execution interrupted: interrupted after" in terminal.wait_for_prompt()
        assert terminal.enter("x") == "1\n"


def test_ctrl_c_drops_what_was_typed(terminal: Terminal) -> None:
    terminal.press("def half_a_function():\n")
    terminal.wait_for("... ")
    terminal.press("    pass" + CTRL_C)
    assert terminal.wait_for_prompt().endswith("KeyboardInterrupt\n")
    assert "NameError" in terminal.enter("half_a_function")


def test_code_that_does_not_end_when_interrupted_is_left_in_the_end(server: Server, tmp_path: Path) -> None:
    with console(server.url, tmp_path, "--timeout", "30") as terminal:
        terminal.press("print('begun', flush=True); sum(range(10**12))\n")
        terminal.wait_for("begun\n")
        terminal.press_until(CTRL_C, ">>> ")
        assert "Once more Ctrl-C" in terminal.text and "Nobody waits any longer" in terminal.text
        assert terminal.leave() == 0


def open_sessions(server: Server) -> list[str]:
    listed = server.http.get(f"{server.url}/sessions", timeout=10).json()["sessions"]
    return [session["id"] for session in listed]


def test_ctrl_d_closes_the_session_and_ends(terminal: Terminal, server: Server) -> None:
    own = open_sessions(server)[-1]
    terminal.press(CTRL_D)
    assert terminal.end() == 0
    assert own not in open_sessions(server)


def test_tab_completes_from_the_session(terminal: Terminal) -> None:
    terminal.enter("marvellous = [3, 1]")
    terminal.press("len(marv" + TAB)
    terminal.wait_for("ellous")
    assert terminal.enter(")") == "2\n"
    terminal.press("marvellous.app" + TAB)
    terminal.wait_for("append")
    assert terminal.enter("(4); marvellous") == "[3, 1, 4]\n"
    terminal.press("if marvellous:\n")
    terminal.wait_for("... ")
    terminal.press(TAB + "marvellous.rev" + TAB)
    terminal.wait_for("    marvellous.reverse")
    terminal.press("()\n")
    terminal.wait_for("... ")
    terminal.enter("")
    assert terminal.enter("marvellous") == "[4, 1, 3]\n"


def test_a_question_mark_explains(terminal: Terminal) -> None:
    terminal.press("def double(n: int) -> int:\n")
    terminal.wait_for("... ")
    terminal.press("    'Twice as much.'\n")
    terminal.wait_for("... ")
    terminal.enter("")
    assert terminal.enter("double?") == "double(n: int) -> int\nTwice as much.\n"
    assert "nothing at 'no_such_name'" in terminal.enter("no_such_name?")


def test_a_lost_session_is_told_and_nothing_typed_is_lost(terminal: Terminal, server: Server) -> None:
    shown = terminal.enter("print('last words'); import os; os._exit(3)")
    assert shown.startswith("last words\nthe session was lost: session crashed: exit status 3. Its variables are gone.")
    assert "in a new session" in shown
    terminal.enter("x = 1")
    server.close(open_sessions(server)[-1])
    shown = terminal.enter("y = 2")
    assert "the session is not there: closed by DELETE" in shown and "was not run" in shown
    terminal.press(UP)
    terminal.wait_for("y = 2")
    terminal.enter("")
    assert terminal.enter("y") == "2\n"


def test_a_server_that_goes_away_is_told_and_the_console_stays(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server(SESSION_LIBRARIES="plain").wait_ready("plain")
    with console(server.url, tmp_path, "--timeout", "30") as terminal:
        terminal.press("import time; print('begun'); time.sleep(30)\n")
        terminal.wait_for("begun\n")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(20)
        assert f"the connection to {server.url} broke: " in terminal.wait_for_prompt()
        assert f"no connection to {server.url}: Connection refused" in terminal.enter("1")
        terminal.press(CTRL_D)
        assert terminal.end() == 0


def test_no_server_at_the_start_is_told(tmp_path: Path) -> None:
    terminal = Terminal("127.0.0.1:1", tmp_path)
    assert terminal.end() == 1
    assert terminal.text == "no connection to http://127.0.0.1:1: Connection refused\n"
    terminal.close()


def test_lines_are_remembered_by_the_next_console(server: Server, tmp_path: Path) -> None:
    with console(server.url, tmp_path) as terminal:
        terminal.enter("'remembered'")
        terminal.press(CTRL_D)
        assert terminal.end() == 0
    history = tmp_path / "pyrunner" / "history"
    assert history.stat().st_mode & 0o077 == 0, "others may not read it"
    with console(server.url, tmp_path) as terminal:
        terminal.press(UP)
        terminal.wait_for("'remembered'")
        assert terminal.enter("") == "'remembered'\n"


def test_tracebacks_are_coloured(terminal: Terminal) -> None:
    assert "ZeroDivisionError: division by zero\n" in terminal.enter("1 / 0")
    assert f"{PAINTED}1;31mZeroDivisionError{PAINTED}0m: division by zero" in terminal.raw


def test_no_color_means_none(server: Server, tmp_path: Path) -> None:
    with console(server.url, tmp_path, NO_COLOR="1", TERM="dumb") as terminal:
        assert "ZeroDivisionError" in terminal.enter("1 / 0")
        assert PAINTED not in terminal.raw


def test_code_gives_no_orders_to_the_terminal(terminal: Terminal) -> None:
    title, asks, red = r"\x1b]0;title\x07", r"\x1b[6n\x9b6n", r"\x1b[31mred\x1b[0m"
    assert terminal.enter(f"import sys; print('{title}'); sys.stderr.write('{asks}\\n'); print('{red}')") != ""
    shown = terminal.raw.rpartition("print")[2]
    assert r"\x1b]0;title" in shown and r"\x1b[6n\x9b6n" in shown
    assert "\x1b]" not in shown and "\x1b[6n" not in shown
    assert "\x1b[31mred\x1b[0m" in shown


def test_a_rich_output_is_shown_once_by_its_text(terminal: Terminal) -> None:
    terminal.enter("class Rich:\n    def __repr__(self): return 'as text'\n    def _repr_html_(self): return '<b>'\n")
    assert terminal.enter("Rich()") == "as text\n"
    assert terminal.enter("display(Rich()); 7") == "as text\n7\n"


def run_piped(server: Server, home: Path, program: str) -> tuple[str, str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "pyrunner_client", server.url],
        input=program,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stdout, done.stderr, done.returncode


@pytest.mark.parametrize(
    ("program", "stdout", "stderr", "status"),
    [
        ("for n in range(2):\n    print(n)\n'unseen'\n", "0\n1\n", "", 0),
        ("print('\\x1b]0;t')\nimport sys; sys.stderr.write('err')", "\x1b]0;t\n", "err", 0),
        ("print('before')\n1 / 0", "before\n", 'File "<stdin>", line 2', 1),
        ("print('begun')\nwhile True: pass", "begun\n", "execution timeout: interrupted after ", 1),
        ("import os\nos._exit(3)", "", "the session was lost: session crashed: exit status 3\n", 1),
    ],
)
def test_a_program_on_stdin_runs_as_python_would_run_it(
    server: Server, tmp_path: Path, program: str, stdout: str, stderr: str, status: int
) -> None:
    out, err, returned = run_piped(server, tmp_path, program)
    assert (out, returned) == (stdout, status)
    assert stderr in err and PAINTED not in err


@pytest.mark.parametrize(
    ("source", "more"),
    [
        ("x = 1", False),
        ("", False),
        ("def f():", True),
        ("def f():\n    return 1", True),
        ("def f():\n    return 1\n", False),
        ("'''open", True),
        ("x =", False),
        ("x = (1,", True),
        ("a = 1\nb = 2", False),
        ("a = 1\ndef f():", True),
        ("a = 1\ndef f():\n    return 1", True),
        ("a = 1\ndef f():\n    return 1\n", False),
        ("x = 1\\", True),
        ("\0", False),
    ],
)
def test_another_line_is_asked_for_where_python_does(source: str, more: bool) -> None:
    assert needs_more(source) is more


def test_a_sequence_that_comes_in_two_parts_is_put_together() -> None:
    harmless = colours.Harmless()
    assert [harmless.text(part) for part in ("a\x1b", "[3", "1mred", "\x1b")] == ["a", "", "\x1b[31mred", ""]
    assert harmless.rest() == r"\x1b"


def test_a_file_gets_no_colours(tmp_path: Path) -> None:
    assert not colours.wanted(io.StringIO(), {"TERM": "xterm"})
    ours, theirs = os.openpty()
    with open(theirs, "w") as terminal:
        assert colours.wanted(terminal, {"TERM": "xterm"})
        assert not colours.wanted(terminal, {"TERM": "dumb"})
        assert not colours.wanted(terminal, {"TERM": "xterm", "NO_COLOR": "1"})
    os.close(ours)
