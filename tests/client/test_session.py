"""Session.run and what is around it, against a real server."""

import threading
from collections.abc import Callable

import pytest
from pyrunner_client import (
    BadRequest,
    Busy,
    ExecutionFailed,
    MaxSessionsReached,
    Printed,
    PyRunnerError,
    ServerUnreachable,
    Session,
    SessionLost,
    SessionNotFound,
    run_once,
)

from server.models import ExecuteAnswer, RunAnswer, SessionInfo
from tests.conftest import Server, answer_on, until

ENDLESS = "print('begun')\nwhile True: pass"
UNSTOPPABLE = "print('begun', flush=True)\nsum(range(10**12))"
CRASHES = "print('last words')\nimport os\nos._exit(3)"


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Runs it in a thread; its result or PyRunnerError is put into the list."""
    ends: list[object] = []

    def end() -> None:
        try:
            ends.append(work())
        except PyRunnerError as error:
            ends.append(error)

    thread = threading.Thread(target=end)
    thread.start()
    return thread, ends


def test_variables_stay_from_one_run_to_the_next(server: Server) -> None:
    with Session(server.url) as session:
        session.run("x = 1")
        assert session.run("x").result == "1"


def test_the_result_has_each_key_of_the_answer(remote: Session) -> None:
    result = remote.run("import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
    assert set(ExecuteAnswer.model_fields) <= set(vars(result))
    assert (result.stdout, result.stderr, result.result) == ("out\n", "err\n", "42")
    assert (result.error, result.detail, result.partial, result.failure) == (None, None, None, None)
    assert (result.outputs, result.truncated, result.state) == ([], False, "kept")
    assert result.id == remote.id
    assert result.execution_time > 0


def test_nothing_printed_is_an_empty_text(remote: Session) -> None:
    result = remote.run("x = 1")
    assert (result.stdout, result.stderr, result.result) == ("", "", None)


def test_stdin_is_what_input_reads(remote: Session) -> None:
    assert remote.run("input() + input()", stdin="a\nb\n").result == "'ab'"


def test_any_text_comes_back_as_it_was(remote: Session) -> None:
    assert remote.run("print('é 😀 \u2028 \x85 \x1b')").stdout == "é 😀 \u2028 \x85 \x1b\n"
    assert remote.run(r"print('\ud800 \x00 \r')").stdout == "\\ud800 \x00 \r\n"


@pytest.mark.parametrize(
    ("code", "exception"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("x =", "SyntaxError: invalid syntax"),
        ("raise KeyError", "KeyError"),
        ("raise ExceptionGroup('two', [ValueError(1), ValueError(2)])", "ExceptionGroup: two (2 sub-exceptions)"),
        ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise ValueError('more')", "ValueError: more"),
        ("class Own(Exception): pass\nraise Own('two\\nlines')", "Own: two"),
        ("import sys\nprint('Error: all is well', file=sys.stderr)", None),
        ("import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()\n7", None),
    ],
)
def test_the_exception_is_read_from_the_end_of_stderr(remote: Session, code: str, exception: str | None) -> None:
    assert remote.run(code).exception == exception


def test_check_raises_for_an_exception_and_for_a_limit(remote: Session) -> None:
    with pytest.raises(ExecutionFailed, match=r"^ZeroDivisionError: division by zero$") as raised:
        remote.run("print('before')\n1 / 0", check=True)
    assert raised.value.result.stdout == "before\n"
    with pytest.raises(ExecutionFailed, match=r"^execution timeout: interrupted after "):
        remote.run(ENDLESS, timeout=0.3, check=True)
    assert remote.run("6 * 7", check=True).result == "42"


def test_what_was_printed_before_a_limit_is_in_the_result(remote: Session) -> None:
    result = remote.run(ENDLESS, timeout=0.3)
    assert (result.error, result.state) == ("execution timeout", "kept")
    assert result.stdout == "begun\n"
    assert result.partial == Printed("begun\n", result.stderr)


def test_the_session_has_a_time_limit_of_its_own(server: Server) -> None:
    with Session(server.url, timeout=0.3) as session:
        assert session.run(ENDLESS).error == "execution timeout"
        assert session.run("import time\ntime.sleep(0.5)\n1", timeout=10).result == "1"


def test_a_wrong_request_is_told_in_the_servers_words(remote: Session) -> None:
    with pytest.raises(BadRequest, match=r"^timeout: Input should be less than or equal to 30$") as raised:
        remote.run("1", timeout=1e6)
    assert raised.value.status == 422
    assert raised.value.detail[0]["loc"] == ["body", "timeout"]
    assert remote.run("1").result == "1"


@pytest.mark.parametrize(
    ("code", "fields", "cause", "printed"),
    [
        (CRASHES, {}, "session crashed: exit status 3", "last words\n"),
        (UNSTOPPABLE, {"timeout": 0.3}, "execution timeout: killed: it did not end", "begun\n"),
    ],
)
def test_a_lost_session_tells_why_and_stays_lost(
    remote: Session, code: str, fields: dict[str, float], cause: str, printed: str
) -> None:
    remote.run("x = 1")
    lost_id = remote.id
    with pytest.raises(SessionLost) as raised:
        remote.run(code, **fields)
    assert not isinstance(raised.value, SessionNotFound)
    assert raised.value.cause.startswith(cause) and str(raised.value).startswith("the session was lost: ")
    assert raised.value.printed.stdout == printed
    assert raised.value.result is not None and raised.value.result.state == "lost"
    for call in (lambda: remote.run("x = 2"), remote.info, lambda: remote.complete("x")):
        with pytest.raises(SessionNotFound, match=r"^the session is not there: (session crashed|execution timeout) "):
            call()
    assert remote.id == lost_id


def test_a_session_that_crashes_in_its_first_run_is_not_replaced(remote: Session) -> None:
    with pytest.raises(SessionLost):
        remote.run(CRASHES)
    with pytest.raises(SessionNotFound, match="exit status 3"):
        remote.run("1")


def test_leaving_the_with_closes_the_session(server: Server) -> None:
    with Session(server.url) as session:
        session.run("x = 1")
        with Session(server.url, id=session.id) as same:
            assert same.run("x").result == "1"
        with pytest.raises(SessionNotFound, match="closed by DELETE"):
            session.run("x")
    with pytest.raises(SessionNotFound, match="closed here"):
        session.run("x")


def test_a_session_that_was_never_used_opens_none(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain").wait_ready("plain")
    with Session(server.url) as session:
        assert session.id is None and not session.interrupt()
    assert server.health()["sessions"]["open"] == 0


@pytest.mark.parametrize("id", ["no-such", "../sessions", "a/b?c#d", "é"])
def test_an_id_that_is_none_is_not_found(server: Server, id: str) -> None:
    with Session(server.url, id=id) as session:
        for call in (lambda: session.run("1"), session.info):
            with pytest.raises(SessionNotFound):
                call()


def test_the_memory_limit_is_told_and_the_session_kept(remote: Session) -> None:
    remote.run("import numpy")
    result = remote.run("print('begun'); numpy.ones(1 << 30)", timeout=20)
    assert (result.error, result.stdout) == ("memory limit exceeded", "begun\n")


def test_info_is_the_servers(remote: Session) -> None:
    remote.run("x = 1")
    info = remote.info()
    assert set(vars(info)) == set(SessionInfo.model_fields)
    assert (info.id, info.state) == (remote.id, "idle")


def test_an_interrupt_ends_the_first_run_and_keeps_the_variables(remote: Session) -> None:
    thread, ends = in_thread(lambda: remote.run("x = 1\nwhile True: pass", timeout=30))
    until(lambda: remote.id is not None)
    until(remote.interrupt)
    thread.join()
    (result,) = ends
    assert result.error == "execution interrupted" and result.state == "kept"  # type: ignore[attr-defined]
    assert remote.run("x").result == "1"
    assert not remote.interrupt()


def test_a_session_closed_by_another_thread_is_lost(server: Server, remote: Session) -> None:
    remote.run("1")
    thread, ends = in_thread(lambda: remote.run(ENDLESS, timeout=30))
    until(lambda: remote.info().state == "busy")
    server.close(str(remote.id))
    thread.join()
    assert isinstance(ends[0], SessionLost) and "closed by DELETE" in ends[0].cause


def test_max_sessions_is_an_error_of_its_own_and_passes(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain", MAX_SESSIONS=1).wait_ready("plain")
    with Session(server.url) as late:
        with Session(server.url) as early:
            early.run("1")
            with pytest.raises(MaxSessionsReached, match="all 1 sessions are open"):
                late.run("1")
        assert late.run("1").result == "1"


def test_a_full_queue_is_busy_and_is_waited_for(server: Server, remote: Session) -> None:
    remote.run("x = 1")
    asked = [server.ask(code, remote.id, timeout=30) for code in (ENDLESS, *16 * ["x += 1"])]
    hasty = Session(server.url, id=remote.id, patience=0)
    with pytest.raises(Busy, match=r"^session busy: 16 executions are waiting already$") as raised:
        hasty.run("x")
    assert raised.value.retry_after == 1.0
    thread, ends = in_thread(lambda: remote.run("x"))
    assert hasty.interrupt()
    thread.join()
    assert [answer_on(connection)["state"] for connection in asked] == 17 * ["kept"]
    assert ends[0].result == "17"  # type: ignore[attr-defined]


def test_no_server_is_told() -> None:
    with pytest.raises(ServerUnreachable, match=r"^no connection to http://127\.0\.0\.1:1: Connection refused$"):
        Session("127.0.0.1:1").run("1")
    with pytest.raises(ServerUnreachable, match="no address of a server"):
        Session("ftp://127.0.0.1").run("1")


def test_a_server_that_has_stopped_is_told_and_closing_is_no_error(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain").wait_ready("plain")
    with Session(server.url) as session:
        session.run("x = 1")
        server.stop()
        with pytest.raises(ServerUnreachable):
            session.run("x")


def test_a_server_that_stops_ends_what_runs_and_tells_so(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain").wait_ready("plain")
    with Session(server.url) as session:
        thread, ends = in_thread(lambda: session.run(ENDLESS, timeout=30))
        until(lambda: session.id is not None)
        server.stop()
        thread.join()
    assert isinstance(ends[0], SessionLost) and "the server stops" in ends[0].cause
    assert ends[0].printed.stdout == "begun\n"


def test_run_once_has_each_key_of_the_answer(server: Server) -> None:
    result = run_once(server.url, "print(6 * 7)", timeout=5, memory_limit=128)
    assert set(vars(result)) == set(RunAnswer.model_fields)
    assert (result.status, result.stdout, result.error) == ("success", "42\n", None)


def test_run_once_tells_what_ended_it(server: Server) -> None:
    assert run_once(server.url, "import os").status == "error"
    assert run_once(server.url, ENDLESS, timeout=1).stdout == "begun\n"
    with pytest.raises(BadRequest, match=r"^memory_limit: "):
        run_once(server.url, "1", memory_limit=1)
