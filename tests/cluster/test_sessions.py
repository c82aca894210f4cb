"""Sessions that several gateways use, and ids that are none."""

import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
import requests

from cluster.service import _SESSIONS_A_LETTER
from tests.cluster.conftest import Start
from tests.cluster.fleet import Fleet, ask, post
from tests.conftest import answer_on, until

ADDRESSES = [
    "*",
    ">",
    "pyrunner.>",
    "nodes",
    "pyrunner.nodes",
    "pyrunner.sessions",
    "pyrunner.runs.now",
    "..",
    "a.b",
    "a b",
    " ",
    "\n",
    "a\r\nPUB pyrunner.nodes 0",
    "{id}\n",
    " {id}",
    "{id}.x",
    "{ID}",
    "{id}>",
    "é🐍",
    "\0",
    "x" * 100,
]


def test_a_session_is_used_listed_interrupted_and_closed_at_any_gateway(shared: Fleet) -> None:
    here, there = shared.gateways
    id = here.execute("x = 1")["id"]
    assert there.execute("x += 1\nx", id)["result"] == "2"
    assert id in {session["id"] for session in there.http.get(f"{there.url}/sessions", timeout=10).json()["sessions"]}
    assert there.session(id)["executions"] == 2
    completed = post(there, f"/sessions/{id}/complete", text="x.numer")
    assert "numerator" in completed.text
    running = ask(here, "/execute", code="while True: pass", id=id, timeout=20)
    until(lambda: there.session(id)["state"] == "busy")
    there.interrupt(id)
    assert answer_on(running)["error"] == "execution interrupted"
    there.close(id)
    answer = here.execute("x", id)
    assert (answer["error"], answer["detail"]) == ("session not found", "closed by DELETE")
    assert here.http.get(f"{here.url}/sessions/{id}", timeout=10).status_code == 404


def test_executions_from_two_gateways_run_one_after_another_in_order(shared: Fleet) -> None:
    id = shared.gateway.execute("order, inside = [], 0")["id"]
    code = "inside += 1\nassert inside == 1\nimport time\ntime.sleep(0.001)\norder.append({n})\ninside -= 1"

    def client(first: int) -> None:
        with requests.Session() as http:
            for n in range(first, first + 100):
                body = {"code": code.format(n=n), "id": id}
                answer = http.post(f"{shared.gateways[n % 2].url}/execute", json=body, timeout=30).json()
                assert (answer["error"], answer["stderr"]) == (None, None)

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(client, range(0, 800, 100)))
    order = eval(shared.gateway.execute("order", id)["result"])
    assert sorted(order) == list(range(800))
    for first in range(0, 800, 100):
        mine = [n for n in order if first <= n < first + 100]
        assert mine == sorted(mine)
    shared.gateway.close(id)


def test_long_code_is_not_overtaken_by_short(shared: Fleet) -> None:
    """It takes two letters, but it came first."""
    id = shared.gateway.execute("order = []\nimport time")["id"]
    busy = ask(shared.gateway, "/execute", code="time.sleep(0.5)", id=id)
    until(lambda: shared.gateway.session(id)["state"] == "busy")
    long = "x = '" + "é" * 900_000 + "'\norder.append('long')"
    first = ask(shared.gateway, "/execute", code=long, id=id)
    shared.gateway.health()
    second = ask(shared.gateway, "/execute", code="order.append('short')", id=id)
    for connection in (busy, first, second):
        assert answer_on(connection)["error"] is None
    assert shared.gateway.execute("order", id)["result"] == "['long', 'short']"
    shared.gateway.close(id)


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: ascii(address[:20]))
def test_what_is_no_id_reaches_nothing(shared: Fleet, address: str) -> None:
    gateway = shared.gateway
    id = gateway.execute("x = 1")["id"]
    wrong = address.replace("{id}", id).replace("{ID}", id.upper())
    seen = shared.nats.ask("varz")["in_msgs"]
    answer = gateway.execute("x", wrong)
    assert (answer["error"], answer["state"], answer["id"]) == ("session not found", "lost", wrong)
    if wrong != "..":  # a client resolves that before it asks
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/interrupt")):
            told = requests.request(method, f"{gateway.url}/sessions/{quote(wrong, safe='')}{path}", timeout=10)
            assert told.status_code == 404
            assert told.json()["error"]
        assert post(gateway, f"/sessions/{quote(wrong, safe='')}/complete", text="x").status_code in (
            404,
            405,
        )
    assert shared.nats.ask("varz")["in_msgs"] - seen < 40  # who was asked what became of it; nothing went round
    assert gateway.execute("x", id)["result"] == "1"
    assert shared.gateways[1].session(id)["executions"] == 2
    gateway.close(id)


def test_an_id_that_nobody_has_is_not_found_soon(shared: Fleet) -> None:
    began = time.monotonic()
    answer = shared.gateway.execute("1", "11111111-1111-4111-8111-111111111111")
    assert (answer["error"], answer["state"]) == ("session not found", "lost")
    assert "no such session" in answer["detail"]
    assert time.monotonic() - began < 1


def test_a_list_that_is_longer_than_a_letter_is_whole(start: Start) -> None:
    gateway = start(nodes=1, MAX_SESSIONS=_SESSIONS_A_LETTER + 1).gateway
    with ThreadPoolExecutor(8) as clients:
        opened = {answer["id"] for answer in clients.map(gateway.execute, ["1"] * (_SESSIONS_A_LETTER + 1))}
    listed = gateway.http.get(f"{gateway.url}/sessions", timeout=10).json()["sessions"]
    assert [len(opened), len(listed)] == [_SESSIONS_A_LETTER + 1] * 2
    assert {session["id"] for session in listed} == opened
