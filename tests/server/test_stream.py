"""POST /execute as events: what is printed and shown as it happens, then the answer that there is without them."""

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

import psutil
import pytest

from server.body import MOST_BYTES
from sessions.session import MOST_WAITING
from tests.conftest import Server, answer_on, until
from tests.events import ACCEPT, Event, Events, told

Run = Callable[..., dict[str, Any]]
FIGURES = {"id", "execution_time", "memory_used"}  # they differ from one time to the next


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of few sessions and little output."""
    log = tmp_path_factory.mktemp("stream") / "server.log"
    server = Server(log, MAX_SESSIONS=2, OUTPUT_LIMIT_KB=64, SESSION_LIBRARIES="plain", POOL_SIZE=2, RUN_POOL_SIZE=0)
    yield server.wait_ready("plain")
    assert server.stop() == 0
    assert "Traceback" not in log.read_text()


@pytest.fixture(autouse=True)
def closed_sessions(small: Server) -> Iterator[None]:
    yield
    for session in small.http.get(f"{small.url}/sessions", timeout=10).json()["sessions"]:
        small.close(session["id"])


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def text(events: list[Event], name: str) -> str:
    return "".join(event.data["text"] for event in events if event.name == name)


def steady(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in FIGURES}


# The events


def test_the_events_come_in_order(server: Server) -> None:
    code = (
        "import sys, time\nprint('a')\ntime.sleep(0.1)\nprint('b', file=sys.stderr)\ntime.sleep(0.1)\n"
        "display(5)\ntime.sleep(0.1)\nprint('c')\n6 * 7"
    )
    with Events(server, code) as events:
        assert events.response.status == 200
        headers = events.response.headers
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert headers["Cache-Control"] == "no-store"
        assert len(headers["X-Request-ID"]) == 16
        got = events.rest()
    assert names(got) == ["session", "stdout", "stderr", "display", "stdout", "done"]
    assert got[0].data == {"id": events.session}
    assert [event.data for event in got[1:5]] == [
        {"text": "a\n"},
        {"text": "b\n"},
        {"text/plain": "5"},
        {"text": "c\n"},
    ]
    done = got[-1].data
    assert (done["id"], done["stdout"], done["stderr"], done["result"]) == (events.session, "a\nc\n", "b\n", "42")
    assert done["outputs"] == [{"text/plain": "5"}]
    assert server.execute("6 * 7", events.session)["result"] == "42"
    server.close(events.session)


def test_what_is_printed_comes_soon(server: Server, session: Run) -> None:
    """The best of ten: the machine may be busy."""
    id = session("import time")["id"]
    code = "for _ in range(10):\n    print(time.monotonic())\n    time.sleep(0.05)"
    with Events(server, code, id) as events:
        late = [event.at - float(event.data["text"].split()[0]) for event in events.rest() if event.name == "stdout"]
    assert 0 < min(late) < 0.05


def test_events_come_while_the_code_runs(server: Server, session: Run) -> None:
    id = session("1")["id"]
    with Events(server, "print('begun')\ndisplay(1)\nwhile True: pass", id, timeout=20) as events:
        assert events.until("stdout").data == {"text": "begun\n"}
        assert events.until("display").data == {"text/plain": "1"}
        assert server.session(id)["state"] == "busy"
        server.interrupt(id)
        assert events.until("done").data["error"] == "execution interrupted"


ANSWERS = {
    "nothing": "x = 1",
    "a result": "6 * 7",
    "text": "print('é🐍' * 1000)\nprint('x', end='')",
    "both streams": "import sys\nfor n in range(200): print(n, file=(sys.stdout, sys.stderr)[n % 2])",
    "an exception": "print('a')\n1 / 0",
    "no Python": "x ===",
    "an exit": "import sys\nsys.exit('gone')",
    "outputs": "display(1)\nprint('a')\ndisplay(2)\nimport pandas as pd\npd.DataFrame({'a': [1]})",
    "figures": "from matplotlib.pyplot import figure, show\nfigure(figsize=(1, 1))\nshow()\nfigure()\nNone",
    "too much text": "print('x' * 3_000_000)\nprint('end')\n5",
    "too many outputs": "for n in range(300): display(n)",
    "bytes that are no text": "import sys\nsys.stdout.buffer.write(b'a\\xffb\\xe9')\nsys.stdout.write('\\udcff\\0')",
    "a crash": "print('a')\ndisplay(1)\nimport os\nos._exit(3)",
    "no memory": "print('a')\nx = bytearray(200 * 2**20)",
    "an interrupt of its own": "print('a')\nraise KeyboardInterrupt",
}


@pytest.mark.parametrize("code", ANSWERS.values(), ids=ANSWERS)
def test_done_is_the_answer_and_the_events_make_it_up(server: Server, code: str) -> None:
    answer = server.execute(code, timeout=10)
    with Events(server, code, timeout=10) as events:
        got = events.rest()
    for id in (answer["id"], events.session):
        server.close(id)
    assert names(got)[0] == "session" and names(got).count("done") == 1
    assert steady(events.done) == steady(answer)
    assert events.done.keys() == answer.keys()
    texts = events.done["partial"] or events.done
    for name in ("stdout", "stderr"):
        assert text(got, name) == (texts[name] or "")
    assert [event.data for event in got if event.name == "display"] == answer["outputs"]


@pytest.mark.parametrize("write", ["sys.stdout.write", "lambda text: sys.stdout.buffer.write(text.encode())"])
def test_slow_text_is_whole(server: Server, session: Run, write: str) -> None:
    id = session(f"import sys, time\nwrite = {write}")["id"]
    code = "for n in range(40):\n    write(f'{n} é🐍\\n')\n    time.sleep(0.005)"
    with Events(server, code, id, timeout=10) as events:
        got = events.rest()
    assert names(got).count("stdout") > 3
    assert text(got, "stdout") == "".join(f"{n} é🐍\n" for n in range(40)) == events.done["stdout"]


def test_a_character_that_is_printed_in_halves_comes_whole(server: Server, session: Run) -> None:
    id = session("import sys, time")["id"]
    code = (
        "for byte in 'aé🐍'.encode() + b'\\xff' + '€'.encode()[:2]:\n"
        "    sys.stdout.buffer.write(bytes([byte]))\n    time.sleep(0.04)"
    )
    with Events(server, code, id) as events:
        got = events.rest()
    assert names(got).count("stdout") > 2
    assert text(got, "stdout") == "aé🐍\\xff\\xe2\\x82" == events.done["stdout"]


def test_half_a_character_and_its_other_half_behind_a_display(server: Server, session: Run) -> None:
    id = session("import sys, time")["id"]
    code = (
        "out = sys.stdout.buffer\nout.write('é'.encode()[:1])\ntime.sleep(0.06)\ndisplay(1)\ntime.sleep(0.06)\n"
        "out.write('é'.encode()[1:] + b'x')\ndisplay(2)\nout.write(b'y')"
    )
    with Events(server, code, id) as events:
        got = events.rest()
    assert told(got) == "DéxDy"


def test_input_and_time_limit_are_those_of_the_request(server: Server, session: Run) -> None:
    id = session("x = 5")["id"]
    with Events(server, "print(input())\nwhile True: pass", id, stdin="line\n", timeout=0.2) as events:
        got = events.rest()
    assert text(got, "stdout") == "line\n"
    assert (events.done["error"], events.done["state"]) == ("execution timeout", "kept")
    assert session("x")["result"] == "5"


def test_the_traceback_of_an_interrupt_is_told_to_nobody(server: Server, session: Run) -> None:
    """However the limit and the looks at the tape meet."""
    id = session("import sys")["id"]
    for turn in range(60):
        code = "print('e', file=sys.stderr)\nwhile True: pass"
        with Events(server, code, id, timeout=0.02 + 0.001 * turn) as events:
            got = events.rest()
        assert events.done["error"] == "execution timeout"
        assert text(got, "stderr") == (events.done["partial"]["stderr"] or "")


def test_a_killed_execution_is_told_with_what_it_had_printed(server: Server) -> None:
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('before')\ndisplay(1)\nwhile True: pass"
    with Events(server, code, timeout=0.3) as events:
        got = events.rest()
    assert told(got) == "before\nD"
    assert (events.done["error"], events.done["state"]) == ("execution timeout", "lost")
    assert events.done["partial"]["stdout"] == "before\n"


def test_text_that_others_overtake_is_in_its_place_in_done(server: Server, session: Run) -> None:
    """As in CPython: what is printed waits in a buffer, what is written to the descriptor does not."""
    id = session("import os, time")["id"]
    with Events(server, "print('later')\ntime.sleep(0.1)\nos.write(1, b'first\\n')", id) as events:
        events.rest()
    assert events.done["stdout"] == "first\nlater\n"


# Silence


def test_silence_is_filled_with_pings(server: Server, session: Run) -> None:
    id = session("import time")["id"]
    with Events(server, "time.sleep(2.5)", id, timeout=10) as events:
        got = []
        while not events.done:
            got.append(events.read().name)
    assert got == ["session", ": ping", ": ping", "done"]


def test_one_that_waits_for_its_turn_gets_pings_and_then_only_its_own_events(server: Server, session: Run) -> None:
    id = session("import time")["id"]
    with Events(server, "while True:\n    print('first')\n    time.sleep(0.01)", id, timeout=20) as first:
        first.until("stdout")
        with Events(server, "print('second')", id) as second:
            assert second.read().name == "session", "at once, though its turn has not come"
            assert second.read().name == ": ping"
            server.interrupt(id)
            got = second.rest()
        assert (names(got), text(got, "stdout")) == (["stdout", "done"], "second\n")
        first.until("done")


# What is asked for


@pytest.mark.parametrize(
    ("accept", "is_stream"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream", True),
        ("text/event-stream, application/json;q=0.5", True),
        ("application/json", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
        (None, False),
    ],
)
def test_events_are_for_those_who_accept_them(server: Server, accept: str | None, is_stream: bool) -> None:
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    headers = {"Content-Type": "application/json"} | ({} if accept is None else {"Accept": accept})
    connection.request("POST", "/execute", b'{"code": "6 * 7"}', headers)
    answer = connection.getresponse()
    kind, body = answer.headers["Content-Type"], answer.read().decode()
    connection.close()
    assert kind == ("text/event-stream; charset=utf-8" if is_stream else "application/json")
    assert body.startswith("event: session\n" if is_stream else "{")
    server.close(json.loads(body.split("data: ")[-1])["id"])


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"code": ', "application/json"),
        (413, b'{"code": "' + b"1" * MOST_BYTES + b'"}', "application/json"),
        (415, b"{}", "text/plain"),
        (422, b"{}", "application/json"),
        (422, b'{"code": "1", "timeout": 1e9}', "application/json"),
        (422, b'{"code": "1", "session_id": "x"}', "application/json"),
    ],
)
def test_what_cannot_be_begun_is_refused_in_json(server: Server, status: int, body: bytes, kind: str) -> None:
    headers = {"Content-Type": kind, "Accept": "text/event-stream"}
    answer = server.http.post(f"{server.url}/execute", data=body, headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    assert answer.json()["error"]


def test_a_full_queue_is_refused_in_json(server: Server, session: Run) -> None:
    id = session("import time")["id"]
    running = server.ask("time.sleep(30)", id, timeout=30)
    until(lambda: server.session(id)["state"] == "busy")
    waiting = [server.ask("1", id) for _ in range(MOST_WAITING)]
    with Events(server, "1", id) as events:
        assert events.response.status == 429
        assert events.response.headers["Retry-After"] == "1"
        assert json.loads(events.response.read())["error"]
    server.interrupt(id)
    for connection in (running, *waiting):
        answer_on(connection)


def test_a_session_that_is_not_there_is_told_as_done(small: Server) -> None:
    id = small.execute("1")["id"]
    small.close(id)
    with Events(small, "1", id) as events:
        assert names(events.rest()) == ["done"]
    plain = small.execute("1", id)
    assert events.done == plain
    assert (plain["error"], plain["id"]) == ("session not found", id)


def test_sessions_that_are_all_open_are_told_as_done(small: Server) -> None:
    for _ in range(2):
        small.execute("1")
    with Events(small, "1") as events:
        assert names(events.rest()) == ["done"]
    assert (events.done["error"], events.done["id"]) == ("max sessions reached", None)


def test_a_session_that_is_closed_before_the_turn_comes_is_told_as_done(small: Server) -> None:
    id = small.execute("import time")["id"]
    with Events(small, "time.sleep(20)", id, timeout=20) as first, Events(small, "1", id) as second:
        first.until("session")
        second.until("session")
        small.close(id)
        assert first.until("done").data["error"] == "execution interrupted"
        done = second.until("done").data
        assert (done["error"], done["detail"]) == ("session not found", "closed by DELETE")


# Readers that leave, and those that do not read


def test_a_reader_that_leaves_interrupts_its_execution(server: Server, session: Run) -> None:
    id = session("import time\nstate = 'begun'")["id"]
    events = Events(server, "print('x')\ntime.sleep(20)\nstate = 'ended'", id, timeout=20)
    events.until("stdout")
    events.leave()
    until(lambda: server.session(id)["state"] == "idle")
    assert session("state")["result"] == "'begun'"


def test_a_reader_that_leaves_while_it_waits_gives_its_place_back(server: Server, session: Run) -> None:
    id = session("import time\nran = []")["id"]
    with Events(server, "time.sleep(20)", id, timeout=20) as first:
        first.until("session")
        events = Events(server, "ran.append(1)", id)
        events.until("session")
        events.leave()
        last = server.ask("ran", id)
        server.interrupt(id)
        assert first.until("done").data["error"] == "execution interrupted"
    assert answer_on(last)["result"] == "[]"


def test_a_reader_that_leaves_before_its_session_was_opened_leaves_none(server: Server) -> None:
    before = server.health()["sessions"]["open"]
    for _ in range(10):
        Events(server, "import time\ntime.sleep(20)", timeout=20).leave()
    until(lambda: server.health()["sessions"]["open"] <= before + 10)
    for session in server.http.get(f"{server.url}/sessions", timeout=10).json()["sessions"]:
        until(lambda id=session["id"]: server.session(id).get("state") != "busy")


class Deaf(Events):
    """A reader that reads the head and the first events, and then no more, with little room for what comes."""

    def __init__(self, server: Server, code: str, id: str | None = None, **fields: Any) -> None:
        super().__init__(server, "pass")
        self.rest()
        server.close(self.session)
        self.connection.close()
        host, port = server.url.removeprefix("http://").split(":")
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(30)
        sock.connect((host, int(port)))
        self.connection.sock = sock
        self.connection.request("POST", "/execute", json.dumps({"code": code, "id": id, **fields}), ACCEPT)
        self._response = None
        self.done = {}
        assert self.read().name == "session"


FLOOD = "while True: print('flood' * 1000)"
LARGE = "display('x' * 5_000_000)\ndisplay('y' * 5_000_000)\nprint('z' * 900_000)"


def test_a_reader_that_does_not_read_holds_up_no_limit_and_nobody(server: Server, session: Run) -> None:
    id = session("x = 5")["id"]
    deaf = Deaf(server, FLOOD, id, timeout=0.5)
    started = time.monotonic()
    assert session("x")["result"] == "5", "the next execution begins when this one has reached its limit"
    assert time.monotonic() - started < 5
    deaf.leave()


def test_a_reader_that_does_not_read_holds_up_no_execution_of_its_session(server: Server, session: Run) -> None:
    id = session("x = 5")["id"]
    deaf = [Deaf(server, LARGE, id, timeout=10) for _ in range(3)]
    assert session("x")["result"] == "5"
    assert server.session(id)["state"] == "idle"
    for reader in deaf:
        reader.leave()


def test_a_reader_that_reads_late_gets_all_of_it(server: Server, session: Run) -> None:
    id = session("x = 5")["id"]
    deaf = Deaf(server, f"print('first')\n{LARGE}", id, timeout=10)
    assert session("x")["result"] == "5"
    assert session("print('other')\ndisplay(1)")["stdout"] == "other\n", "the tape is another's now"
    got = deaf.rest()
    assert told(got).replace("first\n", "") == "DD" + "z" * 900_000 + "\n"
    assert deaf.done["stdout"] == text(got, "stdout") == "first\n" + "z" * 900_000 + "\n"
    assert deaf.done["outputs"] == [event.data for event in got if event.name == "display"]
    deaf.leave()


def test_readers_that_do_not_read_cost_bounded_memory(small: Server) -> None:
    """Each floods as long as it may: what waits for it is no more than its answer."""
    process = psutil.Process(small.process.pid)
    id = small.execute("1")["id"]
    before = process.memory_info().rss
    deaf = [Deaf(small, f"import time\ntime.sleep(0.02)\n{FLOOD}", id, timeout=0.4) for _ in range(8)]
    assert small.execute("6 * 7", id)["result"] == "42"
    grown = process.memory_info().rss - before
    for reader in deaf:
        reader.leave()
    assert grown < 30 * 2**20


def test_a_thousand_looks_at_a_flood_cost_bounded_memory(server: Server, session: Run) -> None:
    id = session("1")["id"]
    process = psutil.Process(server.process.pid)
    deaf = Deaf(server, FLOOD, id, timeout=3)
    before = process.memory_info().rss
    most = 0
    while server.session(id)["state"] == "busy":
        most = max(most, process.memory_info().rss - before)
    deaf.leave()
    assert most < 30 * 2**20


# The connection and the server


def test_a_connection_goes_on_behind_the_events(server: Server) -> None:
    with Events(server, "print('x')\n6 * 7") as events:
        events.rest()
        sock = events.connection.sock
        for code, result in (("1 + 1", "2"), ("2 + 2", "4")):
            events.connection.request("POST", "/execute", json.dumps({"code": code, "id": events.session}), ACCEPT)
            body = events.connection.getresponse().read().decode()
            assert f'"result": "{result}"' in body.split("event: done")[1]
        events.connection.request("GET", "/")
        assert json.loads(events.connection.getresponse().read())["service"] == "PyRunner"
        assert events.connection.sock is sock is not None, "it is the same connection"
    server.close(events.session)


def test_an_old_client_gets_the_events_up_to_the_end_of_its_connection(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    body = b'{"code": "print(1)"}'
    head = b"POST /execute HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Accept: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection((host, int(port)), 30) as sock:
        sock.sendall(head + body)
        answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    head_, _, events = answer.partition("\r\n\r\n")
    assert head_.startswith("HTTP/1.1 200")
    assert "event: session" in events and "event: done" in events
    server.close(json.loads(events.split("event: session\ndata: ")[1].split("\n")[0])["id"])


def test_many_read_at_once(server: Server) -> None:
    code = "import time\nfor n in range(30):\n    print(n)\n    display(n)\n    time.sleep(0.005)"

    def read(_: int) -> tuple[str, str]:
        with Events(server, code, timeout=20) as events:
            return told(events.rest()), events.session

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(read, range(16)))
    assert {text for text, _ in results} == {"".join(f"{n}\nD" for n in range(30))}
    for _, id in results:
        server.close(id)


def test_a_server_that_stops_tells_its_readers(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain", POOL_SIZE=1, RUN_POOL_SIZE=0).wait_ready("plain")
    with Events(server, "print('x')\nwhile True: pass", timeout=30) as events:
        events.until("stdout")
        server.process.send_signal(signal.SIGTERM)
        done = events.until("done").data
    assert (done["error"], done["state"], done["partial"]["stdout"]) == ("execution interrupted", "lost", "x\n")
    assert server.stop() == 0


def test_a_server_that_is_killed_leaves_events_without_done(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain", POOL_SIZE=1, RUN_POOL_SIZE=0).wait_ready("plain")
    with Events(server, "print('x')\nwhile True: pass", timeout=30) as events:
        events.until("stdout")
        server.stop(signal.SIGKILL)
        with pytest.raises((EOFError, OSError, AssertionError)):
            events.until("done")
