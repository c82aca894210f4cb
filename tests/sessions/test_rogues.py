"""A rogue costs at most its own session: its caller gets a clear answer, and nobody else notices."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tests.conftest import Server, running, until
from tests.events import Events
from tests.rogues import DISPLAYS, KEPT, LOST, ROGUES, SPIKES, TIMEOUT, Rogue

LIMIT_S = 0.4
LONG_S = 8  # for those that end by themselves, on a busy machine too
PROMPT_S = 1.0  # generous: a neighbour's answer takes a millisecond
OUTPUT_BYTES = 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Room for one session besides the neighbour's: it must be free again each time."""
    log = tmp_path_factory.mktemp("rogues") / "server.log"
    with running(log, TIMEOUT_SECONDS=LIMIT_S, MAX_SESSIONS=2, SESSION_LIBRARIES="numpy", POOL_SIZE=2) as server:
        yield server.wait_ready("numpy")
        assert server.stop() == 0


@pytest.fixture(scope="module")
def neighbour(server: Server) -> str:
    """The id of a session that must live through all of this."""
    id: str = server.execute("state = 'kept'\ncount = 0")["id"]
    return id


@pytest.fixture(autouse=True)
def others_closed(server: Server, neighbour: str) -> Iterator[None]:
    yield
    for session in server.http.get(f"{server.url}/sessions", timeout=10).json()["sessions"]:
        if session["id"] != neighbour:
            server.close(session["id"])


def undisturbed(server: Server, neighbour: str) -> bool:
    started = time.monotonic()
    answer = server.execute("count += 1\nstate", neighbour)
    return answer["result"] == "'kept'" and time.monotonic() - started < PROMPT_S


def clear(answer: dict[str, Any], rogue: Rogue) -> None:
    """Its answer is one of those that the rogue may get, and says why."""
    assert (answer["error"], answer["state"]) in rogue.ends, answer
    if answer["error"] is None:
        assert (answer["detail"], answer["partial"]) == (None, None)
    else:
        assert re.search(rogue.detail or ".", answer["detail"]), answer["detail"]
        assert answer["partial"].keys() == {"stdout", "stderr"}
    for text in (answer["stdout"], answer["stderr"], *(answer["partial"] or {}).values()):
        assert len(text or "") <= OUTPUT_BYTES


def ended(server: Server, id: str) -> None:
    """Its session is closed, and its slot is free at once."""
    server.close(id)
    last = server.execute("6 * 7")
    assert last["result"] == "42", last
    server.close(last["id"])


@pytest.mark.parametrize("rogue", ROGUES.values(), ids=ROGUES)
def test_a_rogue_costs_only_its_own_session(server: Server, neighbour: str, rogue: Rogue) -> None:
    may_end_at_its_limit = any(error == TIMEOUT for error, _ in rogue.ends)
    answer = server.execute(rogue.code, timeout=LIMIT_S if may_end_at_its_limit else LONG_S)
    assert undisturbed(server, neighbour)
    clear(answer, rogue)
    if answer["state"] == LOST:
        assert server.health()["sessions"]["open"] == 1, "its slot is free at once"
    after = server.execute("1 + 1", answer["id"])
    assert after["error"] is not None or rogue.stays or after["result"] in ("2", "'forged'")
    assert undisturbed(server, neighbour)
    ended(server, answer["id"])


@pytest.mark.parametrize("rogue", SPIKES.values(), ids=SPIKES)
def test_no_spike_of_memory_escapes(server: Server, neighbour: str, rogue: Rogue) -> None:
    answer = server.execute(rogue.code, timeout=10)
    assert undisturbed(server, neighbour)
    clear(answer, rogue)
    assert answer["memory_used"] < 120
    if answer["state"] != LOST:
        assert server.execute("x = None\n1 + 1", answer["id"])["result"] == "2"
    ended(server, answer["id"])


@pytest.mark.parametrize(
    "name", [name for name, rogue in ROGUES.items() if rogue.ends == ((None, KEPT),) and not rogue.stays]
)
def test_a_session_that_bore_a_rogue_is_as_good_as_new(server: Server, neighbour: str, name: str) -> None:
    id = server.execute("mine = 1")["id"]
    server.execute(ROGUES[name].code, id)
    answer = server.execute("print('printed')\n6 * 7", id)
    assert (answer["error"], answer["result"]) == (None, "42"), answer
    ended(server, id)


TOLD = {
    "nothing": "''",
    "noise": "'\\xff' * 1000",
    "a number": "'7'",
    "null": "'null'",
    "wrong types": "json.dumps({'names': 7, 'start': 'x', 'name': [], 'signature': 5, 'doc': {}})",
    "names that are numbers": "json.dumps({'names': [1, 2], 'start': 0})",
    "a million names": "json.dumps({'names': ['x'] * 10**5, 'start': 0})",
    "a place below zero": "json.dumps({'names': [], 'start': -5})",
    "a place that is no number": '\'{"names": [], "start": NaN}\'',
    "half a surrogate": '\'{"names": ["\\\\ud800"], "start": 0, "name": "\\\\ud800"}\'',
    "deep JSON": "'[' * 10**5 + ']' * 10**5",
    "JSON that does not end": "'{\"names\": [' * 10**4",
}


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_what_a_worker_tells_when_it_is_looked_up_is_not_trusted(server: Server, neighbour: str, told: str) -> None:
    id = server.execute(
        f"import json, sys\ntold = {told}\nlook_ups = sys.modules['sandbox.worker']._LOOK_UPS\n"
        "for errand in look_ups: look_ups[errand] = lambda *a: told"
    )["id"]
    nothing = {"complete": {"names": [], "start": 0}, "inspect": {"name": None, "signature": None, "doc": None}}
    for what, answer in nothing.items():
        got = server.http.post(f"{server.url}/sessions/{id}/{what}", json={"text": "x"}, timeout=10)
        assert (got.status_code, got.json()) == (200, answer)
        assert undisturbed(server, neighbour)
    ended(server, id)


def test_a_place_behind_the_text_is_its_end(server: Server, neighbour: str) -> None:
    id = server.execute(
        "import json, sys\nlook_ups = sys.modules['sandbox.worker']._LOOK_UPS\n"
        "for errand in look_ups: look_ups[errand] = lambda *a: json.dumps({'names': ['x'], 'start': 10**9})"
    )["id"]
    got = server.http.post(f"{server.url}/sessions/{id}/complete", json={"text": "abc"}, timeout=10)
    assert got.json() == {"names": [], "start": 3}
    ended(server, id)


@pytest.mark.parametrize(
    "rogue", [rogue for rogue in DISPLAYS.values() if rogue.ends[0][0] != TIMEOUT], ids=lambda rogue: rogue.code[-40:]
)
def test_a_rogue_whose_events_are_read_costs_only_its_own_session(server: Server, neighbour: str, rogue: Rogue) -> None:
    with Events(server, rogue.code, timeout=LONG_S) as events:
        events.rest()
    assert undisturbed(server, neighbour)
    clear(events.done, rogue)
    ended(server, events.session)


def test_a_stream_that_never_says_whether_it_is_closed_ends_at_the_limit(server: Server, neighbour: str) -> None:
    id = server.execute(
        "import sys\nclass S:\n    write = flush = len\n    @property\n    def closed(self):\n        while True: pass"
    )["id"]
    server.execute("sys.stdout = S()", id)
    answer = server.execute("1", id)
    assert answer["error"] in ("execution timeout", "session not found")
    assert undisturbed(server, neighbour)
    ended(server, id)


def test_many_rogues_at_once_do_not_keep_the_neighbour_waiting(start_server: Callable[..., Server]) -> None:
    server = start_server(TIMEOUT_SECONDS=LIMIT_S, MAX_SESSIONS=10, SESSION_LIBRARIES="plain", POOL_SIZE=4)
    neighbour = server.execute("state = 'kept'\ncount = 0")["id"]
    names = ("floods stdout", "loops in C", "floods its queue", "blocks all signals", "leaves threads that loop")
    asked = [server.ask(ROGUES[name].code) for name in names]
    for connection in asked:
        assert undisturbed(server, neighbour)
        with connection.getresponse() as answer:
            assert answer.status == 200
            answer.read()
        connection.close()
    assert undisturbed(server, neighbour)


FORKS = """
import ctypes
libc = ctypes.CDLL(None)
child = libc.fork()
while child == 0: libc.pause()
child
"""


@pytest.mark.parametrize("end", ["delete", "exit"])
def test_a_child_that_got_out_dies_with_its_session(start_server: Callable[..., Server], end: str) -> None:
    server = start_server(SESSION_LIBRARIES="plain", POOL_SIZE=1, ALLOW_STUBS_ONLY="true", SANDBOX_STEPS="session")
    answer = server.execute(FORKS)
    child = psutil.Process(int(answer["result"]))
    assert child.is_running()
    if end == "delete":
        server.close(answer["id"])
    else:
        server.execute("import os\nos._exit(0)", answer["id"])
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 2)


def test_without_the_wall_shared_memory_is_seen_by_the_watchdog(start_server: Callable[..., Server]) -> None:
    server = start_server(SESSION_LIBRARIES="plain", POOL_SIZE=1, ALLOW_STUBS_ONLY="true", SANDBOX_STEPS="session")
    answer = server.execute(SPIKES["a shared mapping"].code + "\nimport time\ntime.sleep(1)")
    assert (answer["error"], answer["state"]) == ("memory limit exceeded", "lost")
    assert re.fullmatch(r"killed: used \d+ of 100 MiB", answer["detail"])
