"""Events from a node through a gateway, slow readers, and clients that leave."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.cluster.fleet import Fleet, ask, post
from tests.conftest import Server, command, until
from tests.events import Event, Events, told


@pytest.fixture
def id(shared: Fleet) -> Iterator[str]:
    """Of a session on the first node."""
    id = shared.session_on(shared.nodes[0])
    yield id
    shared.gateway.close(id)


def is_idle(server: Server, id: str) -> bool:
    return bool(server.session(id)["state"] == "idle")


def launched(node: Server) -> list[psutil.Process]:
    """What its compilers and programs run in."""
    return [child for child in node.descendants() if "sandbox.launch" in command(child)]


def test_events_come_in_order_and_while_the_code_runs(shared: Fleet) -> None:
    code = "import sys\nprint('a')\ndisplay(5)\nprint('é🐍', file=sys.stderr)\nwhile True: pass"
    with Events(shared.gateway, code, timeout=20) as events:
        begun = [events.read() for _ in range(4)]
        id = events.session
        other = shared.gateways[1]
        assert other.session(id)["state"] == "busy"
        other.interrupt(id)
        end = [event for event in events.rest() if not event.name.startswith(":")]
    assert sorted(event.name for event in begun[1:]) == ["display", "stderr", "stdout"]
    assert [event.name for event in begun if event.name != "stderr"] == ["session", "stdout", "display"]
    assert [event.name for event in end] == ["done"]
    assert events.done["error"] == "execution interrupted" and events.done["state"] == "kept"
    assert events.done["partial"] == {"stdout": "a\n", "stderr": "é🐍\n"}
    shared.gateway.close(id)


def test_what_is_printed_comes_soon(shared: Fleet, id: str) -> None:
    """The best of ten: the machine may be busy."""
    code = "import time\nfor _ in range(10):\n    print(time.monotonic())\n    time.sleep(0.05)"
    with Events(shared.gateway, code, id) as events:
        late = [event.at - float(event.data["text"].split()[0]) for event in events.rest() if event.name == "stdout"]
    assert 0 < min(late) < 0.05


def test_what_is_refused_is_told_as_one_event(shared: Fleet) -> None:
    with Events(shared.gateway, "1", "11111111-1111-4111-8111-111111111111") as events:
        assert [event.name for event in events.rest()] == ["done"]
    assert events.done["error"] == "session not found"


def test_a_slow_reader_loses_nothing_and_holds_up_nobody(shared: Fleet, id: str) -> None:
    """More than the buffers between here and there hold, so the node waits for the reader."""
    code = "for n in range(60):\n    print(n)\n    display(str(n) * 100_000)\n"
    with Events(shared.gateway, code, id, timeout=20) as slow:
        events = [slow.read()]
        until(lambda: is_idle(shared.gateways[1], id))
        neighbour = shared.session_on(shared.nodes[0])
        began = time.monotonic()
        assert shared.gateway.execute("6 * 7", neighbour)["result"] == "42"
        assert shared.gateway.execute("6 * 7", id)["result"] == "42"  # its execution has ended, whoever reads of it
        with Events(shared.gateway, "print('a')", neighbour) as quick:
            assert told(quick.rest()) == "a\n"
        assert time.monotonic() - began < 1.5
        events += slow.rest()
    shared.gateway.close(neighbour)
    assert told(events) == "".join(f"{n}\nD" for n in range(60))
    shown = [event.data for event in events if event.name == "display"]
    assert shown == slow.done["outputs"] == [{"text/plain": repr(str(n) * 100_000)} for n in range(60)]


def test_many_streams_at_once_are_each_whole(shared: Fleet) -> None:
    def stream(number: int) -> list[Event]:
        code = f"for n in range(40): print({number}, n); display(n)"
        with Events(shared.gateways[number % 2], code, timeout=20) as events:
            return events.rest()

    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(stream, range(24)))
    for number, events in enumerate(answers):
        assert told(events) == "".join(f"{number} {n}\nD" for n in range(40))
        shared.gateway.close(events[0].data["id"])


def test_a_client_that_leaves_interrupts_its_own_execution(shared: Fleet, id: str) -> None:
    leaving = ask(shared.gateway, "/execute", code="x = 'kept'\nwhile True: pass", id=id, timeout=30)
    until(lambda: shared.gateways[1].session(id)["state"] == "busy")
    waiting = ask(shared.gateways[1], "/execute", code="x", id=id, timeout=30)
    began = time.monotonic()
    leaving.close()
    assert b'"result":"\'kept\'"' in waiting.getresponse().read()
    assert time.monotonic() - began < 1
    waiting.close()


def test_one_that_leaves_while_it_waits_is_not_run(shared: Fleet, id: str) -> None:
    running = ask(shared.gateway, "/execute", code="ran = []\nwhile True: pass", id=id, timeout=30)
    until(lambda: shared.gateway.session(id)["state"] == "busy")
    leaving = ask(shared.gateway, "/execute", code="ran.append('left')", id=id)
    with Events(shared.gateway, "ran.append('left')", id) as events:
        assert events.read().name == "session"
        events.leave()
    leaving.close()
    busy_elsewhere = shared.gateway.execute("import time\ntime.sleep(0.6)")  # a node asks twice a second who listens
    shared.gateway.interrupt(id)
    assert running.getresponse().status == 200
    running.close()
    assert shared.gateway.execute("ran", id)["result"] == "[]"
    shared.gateway.close(busy_elsewhere["id"])


def test_a_reader_that_leaves_interrupts_its_own_execution(shared: Fleet, id: str) -> None:
    with Events(shared.gateway, "x = 'kept'\nprint('begun')\nwhile True: pass", id, timeout=30) as events:
        events.until("stdout")
        events.leave()
    began = time.monotonic()
    until(lambda: is_idle(shared.gateways[1], id))
    assert time.monotonic() - began < 1
    assert shared.gateways[1].execute("x", id)["result"] == "'kept'"


def test_readers_that_leave_at_once_leave_nothing_running(shared: Fleet, id: str) -> None:
    """Their farewell may come with what they ask, or before it is begun."""
    for _ in range(40):
        with Events(shared.gateway, "while True: pass", id, timeout=30) as events:
            events.leave()
    began = time.monotonic()
    until(lambda: post(shared.gateway, "/execute", code="1", id=id).status_code == 200)  # else its queue is full
    assert time.monotonic() - began < 3
    until(lambda: is_idle(shared.gateway, id), 3)


def test_new_sessions_whose_clients_left_at_once_run_nothing(shared: Fleet) -> None:
    for _ in range(20):
        ask(shared.gateway, "/execute", code="while True: pass", timeout=30).close()
        with Events(shared.gateway, "while True: pass", timeout=30) as events:
            events.leave()

    def states() -> list[str]:
        listed = shared.gateways[1].http.get(f"{shared.gateways[1].url}/sessions", timeout=10).json()["sessions"]
        return [session["state"] for session in listed]

    until(lambda: "busy" not in states(), 5)
    for session in shared.gateway.http.get(f"{shared.gateway.url}/sessions", timeout=10).json()["sessions"]:
        shared.gateway.close(session["id"])


def test_runs_whose_clients_left_end(shared: Fleet) -> None:
    def active() -> int:
        runs = [node.health()["runs"] for node in shared.nodes]
        return sum(run["active"] + run["waiting"] for run in runs)

    connections = [ask(shared.gateway, "/run", code="while True: pass", timeout=60) for _ in range(8)]
    until(lambda: active() == 8)
    for connection in connections:
        connection.close()
    until(lambda: active() == 0, 3)
    for _ in range(40):
        ask(shared.gateway, "/run", code="while True: pass", timeout=60).close()
    until(lambda: shared.gateway.run("print(1)")["stdout"] == "1\n", 5)
    until(lambda: active() == 0, 3)


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_submissions_whose_clients_left_end(shared: Fleet) -> None:
    hangs = {"code": "int f(void) { for (;;) ; }", "tests": "assert(f());", "timeout": 60, "perTestTimeout": 60}

    def processes() -> int:
        return sum(len(process.children()) for node in shared.nodes for process in launched(node))

    def active() -> int:
        return sum(node.health()["submissions"]["active"] for node in shared.nodes)

    before = processes()
    at_once = sum(node.health()["submissions"]["at_once"] for node in shared.nodes)
    connections = [ask(shared.gateway, "/submit", **hangs) for _ in range(at_once + 2)]
    until(lambda: active() == at_once)
    assert shared.nats.backlog() == at_once + 2
    for connection in connections:
        connection.close()
    until(lambda: active() == 0 and shared.nats.backlog() == 0, 5)
    until(lambda: processes() <= before, 5)
