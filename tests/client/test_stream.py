"""Session.stream: events as they happen, and what becomes of them when something goes wrong."""

import signal
from collections.abc import Callable

import pytest
from pyrunner_client import (
    Busy,
    Completion,
    Display,
    Done,
    Inspection,
    MaxSessionsReached,
    ServerGone,
    Session,
    SessionLost,
    Stderr,
    Stdout,
)

from tests.client.test_session import CRASHES, ENDLESS
from tests.conftest import Server, until

GOES_ON_WHEN_INTERRUPTED = (
    "try:\n    print('begun')\n    while True: pass\nexcept KeyboardInterrupt:\n    print('ended')"
)


def test_events_come_in_order_and_done_is_the_whole_answer(remote: Session) -> None:
    code = "import sys\nprint('out')\ndisplay('shown')\nprint('err', file=sys.stderr)\n42"
    *events, done = remote.stream(code)
    assert isinstance(done, Done)
    assert "".join(event.text for event in events if isinstance(event, Stdout)) == done.result.stdout == "out\n"
    assert "".join(event.text for event in events if isinstance(event, Stderr)) == done.result.stderr == "err\n"
    assert [event.bundle for event in events if isinstance(event, Display)] == done.result.outputs
    assert done.result.outputs == [{"text/plain": "'shown'"}]
    assert done.result.result == "42"


def test_an_event_comes_while_the_code_runs(remote: Session) -> None:
    events = remote.stream(GOES_ON_WHEN_INTERRUPTED, timeout=30)
    assert next(events) == Stdout("begun\n")
    assert remote.info().state == "busy"
    until(remote.interrupt)
    *_, done = events
    assert isinstance(done, Done) and done.result.stdout == "begun\nended\n"


def test_whoever_leaves_the_loop_interrupts_the_code(remote: Session) -> None:
    for event in remote.stream("x = 1\n" + ENDLESS, timeout=30):
        assert event == Stdout("begun\n")
        break
    until(lambda: remote.info().state == "idle")
    assert remote.run("x").result == "1"


def test_a_session_lost_in_a_stream_is_told_behind_its_last_words(remote: Session) -> None:
    printed = []
    with pytest.raises(SessionLost, match="exit status 3") as raised:
        for event in remote.stream(CRASHES):
            printed.append(event)
    assert printed == [Stdout("last words\n")]
    assert raised.value.printed.stdout == "last words\n"


def test_a_server_that_dies_in_a_stream_is_told_with_what_came(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain").wait_ready("plain")
    session = Session(server.url)
    events = session.stream(ENDLESS, timeout=30)
    assert next(events) == Stdout("begun\n")
    server.process.send_signal(signal.SIGKILL)
    with pytest.raises(ServerGone, match=f"^the connection to {server.url} broke: ") as raised:
        next(events)
    assert raised.value.printed.stdout == "begun\n"
    session.close()


def test_a_refusal_comes_before_any_event(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain", MAX_SESSIONS=1).wait_ready("plain")
    with Session(server.url) as first, Session(server.url) as second:
        first.run("1")
        with pytest.raises(MaxSessionsReached):
            next(second.stream("1"))


def test_rich_outputs_are_bundles_and_pictures_bytes(remote: Session) -> None:
    result = remote.run(
        "import matplotlib.pyplot as plt\nimport sympy\nplt.plot([1, 2])\nsympy.Symbol('x') ** 2", timeout=30
    )
    assert result.failure is None
    (picture,) = result.images
    assert picture.startswith(b"\x89PNG")
    assert any("text/latex" in bundle for bundle in result.outputs)
    assert result._repr_mimebundle_() == {"text/plain": "x**2", **result.outputs[-1]}


def test_a_long_output_comes_whole(remote: Session) -> None:
    result = remote.run("for n in range(20_000):\n    print(n, 'é' * 10)", timeout=20)
    assert result.stdout == "".join(f"{n} {'é' * 10}\n" for n in range(20_000))


def test_names_are_completed_from_the_session(remote: Session) -> None:
    remote.run("marvellous = [3, 1]")
    assert remote.complete("print(marve") == Completion(["marvellous"], 6)
    assert "append" in remote.complete("marvellous.app + 1", 14).names
    assert remote.complete("nothing_like_this") == Completion([], 0)


def test_names_are_inspected_in_the_session(remote: Session) -> None:
    remote.run("def double(n: int) -> int:\n    'Twice as much.'\n    return 2 * n")
    assert remote.inspect("double") == Inspection("double", "(n: int) -> int", "Twice as much.")
    assert remote.inspect("nothing_like_this") == Inspection(None, None, None)


def test_completion_opens_the_session_and_is_busy_while_code_runs(remote: Session) -> None:
    assert "print" in remote.complete("prin").names
    events = remote.stream(ENDLESS, timeout=30)
    next(events)
    with pytest.raises(Busy) as raised:
        remote.complete("prin")
    assert raised.value.retry_after is None
    events.close()
