"""Keys where there are gateways and nodes: a session is its key's alone, and what is used is charged."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from server.keys import new_key
from tests.cluster.fleet import Fleet, Nats
from tests.conftest import Server, until

LIMITS = {
    **{"ada": "", "bob": "", "five": ":sessions=5", "two": ":sessions=2", "left": ":sessions=2"},
    **{"busy": ":cpu=1", "away": ":cpu=1", "reader": ":cpu=1"},
}
MADE = {name: new_key(name) for name in LIMITS}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, needs_nats: None) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("keyed")
    nats = Nats(folder)
    try:
        fleet = Fleet(folder, nats)
        try:
            keys = ",".join(entry + LIMITS[name] for name, (_, entry) in MADE.items())
            yield fleet.start(gateways=2, nodes=2, API_KEYS=keys, MAX_SESSIONS=20)
        finally:
            fleet.stop()
    finally:
        nats.kill()
    for log in Path(folder).glob("*.log"):
        assert not [name for name, (token, _) in MADE.items() if token in log.read_text()]


def ask(
    server: Server, name: str, method: str, path: str, body: dict[str, Any] | None = None, **headers: str
) -> requests.Response:
    """A request with the key of that name."""
    headers["Authorization"] = f"Bearer {MADE[name][0]}"
    return requests.request(method, server.url + path, json=body, headers=headers, timeout=60)


def execute(server: Server, name: str, code: str, id: str | None = None, **fields: Any) -> dict[str, Any]:
    answer = ask(server, name, "POST", "/execute", {"code": code, "id": id, **fields})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def close_all(server: Server, name: str) -> None:
    for session in ask(server, name, "GET", "/sessions").json()["sessions"]:
        ask(server, name, "DELETE", f"/sessions/{session['id']}")


DOORS: dict[str, Callable[[Server, str, str], requests.Response]] = {
    "execute": lambda server, name, id: ask(server, name, "POST", "/execute", {"code": "x", "id": id}),
    "stream": lambda server, name, id: ask(
        server, name, "POST", "/execute", {"code": "x", "id": id}, Accept="text/event-stream"
    ),
    "figures": lambda server, name, id: ask(server, name, "GET", f"/sessions/{id}"),
    "interrupt": lambda server, name, id: ask(server, name, "POST", f"/sessions/{id}/interrupt"),
    "complete": lambda server, name, id: ask(server, name, "POST", f"/sessions/{id}/complete", {"text": "x"}),
    "inspect": lambda server, name, id: ask(server, name, "POST", f"/sessions/{id}/inspect", {"text": "x"}),
    "inspect nothing": lambda server, name, id: ask(server, name, "POST", f"/sessions/{id}/inspect", {"text": ""}),
    "close": lambda server, name, id: ask(server, name, "DELETE", f"/sessions/{id}"),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
def test_on_every_gateway_a_session_is_there_for_its_key_only(
    fleet: Fleet, door: Callable[[Server, str, str], requests.Response]
) -> None:
    id = execute(fleet.gateway, "ada", "x = 1")["id"]
    unknown = "00000000-0000-4000-8000-000000000000"
    for gateway in fleet.gateways:
        told, expected = door(gateway, "bob", id), door(gateway, "bob", unknown)
        assert told.status_code == expected.status_code
        assert told.text.replace(id, unknown) == expected.text
        assert "no such session" in told.text
    assert execute(fleet.gateways[1], "ada", "x", id)["result"] == "1"
    assert [one["id"] for one in ask(fleet.gateways[1], "ada", "GET", "/sessions").json()["sessions"]] == [id]
    assert ask(fleet.gateways[1], "bob", "GET", "/sessions").json()["sessions"] == []
    assert "no such session" not in door(fleet.gateways[1], "ada", id).text
    ask(fleet.gateway, "ada", "DELETE", f"/sessions/{id}")
    until(lambda: "no such session" in door(fleet.gateways[1], "bob", id).text)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_of_many_openings_at_once_as_many_pass_as_the_limit_says(fleet: Fleet, accept: str) -> None:
    body = {"code": "import time; time.sleep(0.3)"}
    with ThreadPoolExecutor(12) as pool:
        answers = [*pool.map(lambda _: ask(fleet.gateway, "five", "POST", "/execute", body, Accept=accept), range(12))]
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 7
    for gateway in fleet.gateways:
        assert len(ask(gateway, "five", "GET", "/sessions").json()["sessions"]) == 5
        refused = ask(gateway, "five", "POST", "/execute", {"code": "1"})
        assert refused.status_code == 429 and 500 < int(refused.headers["Retry-After"]) <= 600
    close_all(fleet.gateway, "five")


def test_an_opening_that_takes_long_does_not_hold_up_the_next(fleet: Fleet) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(execute, fleet.gateway, "two", "import time; time.sleep(20)", timeout=25)
        until(lambda: ask(fleet.gateway, "two", "GET", "/sessions").json()["sessions"])
        began = time.monotonic()
        assert execute(fleet.gateway, "two", "1")["result"] == "1"
        assert time.monotonic() - began < 5
        close_all(fleet.gateway, "two")
        assert slow.result()["error"] == "execution interrupted"


BURN = "import time\nbegin = time.process_time()\nwhile time.process_time() - begin < 1.1: pass"


def test_what_the_nodes_used_is_charged_by_the_gateway_that_asked(fleet: Fleet) -> None:
    first, second = fleet.gateways
    assert execute(first, "busy", "import time; time.sleep(1.2)")["error"] is None
    id = execute(first, "busy", BURN, timeout=20)["id"]
    assert ask(first, "busy", "POST", "/execute", {"code": "1", "id": id}).status_code == 429
    assert execute(second, "busy", "1", id)["result"] == "1", "each gateway counts for itself"
    assert ask(first, "busy", "DELETE", f"/sessions/{id}").status_code == 204


def test_who_leaves_a_run_is_charged(fleet: Fleet) -> None:
    gateway = fleet.gateway
    with pytest.raises(requests.exceptions.ReadTimeout):
        headers = {"Authorization": f"Bearer {MADE['away'][0]}", "Content-Type": "application/json"}
        body = json.dumps({"code": "while True: pass", "timeout": 20})
        requests.post(f"{gateway.url}/run", data=body, headers=headers, timeout=1.4)
    until(lambda: ask(gateway, "away", "POST", "/run", {"code": "1"}).status_code == 429)


def test_who_leaves_a_stream_is_charged(fleet: Fleet) -> None:
    code = f"{BURN}\nwhile True: print('enough', flush=True)"
    headers = {"Authorization": f"Bearer {MADE['reader'][0]}", "Accept": "text/event-stream"}
    nowhere = {"code": "1", "id": "00000000-0000-4000-8000-000000000000"}
    url, body = f"{fleet.gateway.url}/execute", {"code": code, "timeout": 25}
    with requests.post(url, json=body, headers=headers, stream=True, timeout=30) as answer:
        assert any(b"enough" in line for line in answer.iter_lines())
    until(lambda: ask(fleet.gateway, "reader", "POST", "/execute", nowhere).status_code == 429)
    close_all(fleet.gateway, "reader")


def test_who_leaves_before_there_was_a_place_opens_no_session(fleet: Fleet) -> None:
    """A gateway asks the nodes how many sessions the key has, and its client leaves meanwhile."""
    body = json.dumps({"code": "while True: pass", "timeout": 20})
    head = f"Host: localhost\r\nAuthorization: Bearer {MADE['left'][0]}\r\nContent-Type: application/json\r\n"
    host, _, port = fleet.gateway.url.removeprefix("http://").partition(":")
    for _ in range(4):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(f"POST /execute HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            time.sleep(0.03)
    assert execute(fleet.gateway, "left", "6 * 7")["result"] == "42"
    assert len(ask(fleet.gateway, "left", "GET", "/sessions").json()["sessions"]) == 1
    close_all(fleet.gateway, "left")


def test_nodes_ask_for_no_key(fleet: Fleet) -> None:
    assert {requests.get(node.url, timeout=10).status_code for node in fleet.nodes} == {200}


def test_the_time_of_an_answer_does_not_tell_whether_there_is_a_session(fleet: Fleet) -> None:
    id = execute(fleet.gateway, "ada", "1")["id"]
    unknown = "00000000-0000-4000-8000-000000000000"

    def fastest(id: str) -> float:
        took = []
        for _ in range(5):
            began = time.monotonic()
            assert DOORS["figures"](fleet.gateway, "bob", id).status_code == 404
            took.append(time.monotonic() - began)
        return min(took)

    assert abs(fastest(id) - fastest(unknown)) < 0.05
    ask(fleet.gateway, "ada", "DELETE", f"/sessions/{id}")
