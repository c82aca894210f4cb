"""A session belongs to the key that opened it: for any other it does not exist, at no door."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from server.keys import new_key
from tests.conftest import Server, running, until

OWNER, OWNERS_ENTRY = new_key("owner")
OTHER, OTHERS_ENTRY = new_key("other")
UNKNOWN = "no such session: it was closed, lost, or never opened"


class Client:
    """Requests with a key, or without one."""

    def __init__(self, server: Server, token: str | None) -> None:
        self._url = server.url
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> requests.Response:
        return requests.request(method, self._url + path, json=body, headers=self._headers | headers, timeout=30)

    def execute(self, code: str, id: str | None = None, **fields: Any) -> dict[str, Any]:
        answer = self.ask("POST", "/execute", {"code": code, "id": id, **fields})
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(
        tmp_path_factory.mktemp("owners") / "server.log",
        API_KEYS=f"{OWNERS_ENTRY},{OTHERS_ENTRY}",
        SESSION_LIBRARIES="plain",
        POOL_SIZE=2,
        IDLE_TIMEOUT_SECONDS=300,
    ) as server:
        yield server.wait_ready("plain")


@pytest.fixture(scope="module")
def owner(server: Server) -> Client:
    return Client(server, OWNER)


@pytest.fixture(scope="module")
def other(server: Server) -> Client:
    return Client(server, OTHER)


@pytest.fixture
def session(owner: Client) -> Iterator[str]:
    """The id of a session of the owner's, in which x is 1."""
    id = owner.execute("x = 1")["id"]
    yield id
    owner.ask("DELETE", f"/sessions/{id}")


DOORS: dict[str, Callable[[Client, str], requests.Response]] = {
    "execute": lambda client, id: client.ask("POST", "/execute", {"code": "x = 2", "id": id}),
    "stream": lambda client, id: client.ask(
        "POST", "/execute", {"code": "x = 2", "id": id}, Accept="text/event-stream"
    ),
    "figures": lambda client, id: client.ask("GET", f"/sessions/{id}"),
    "head": lambda client, id: client.ask("HEAD", f"/sessions/{id}"),
    "close": lambda client, id: client.ask("DELETE", f"/sessions/{id}"),
    "interrupt": lambda client, id: client.ask("POST", f"/sessions/{id}/interrupt"),
    "complete": lambda client, id: client.ask("POST", f"/sessions/{id}/complete", {"text": "x"}),
    "inspect": lambda client, id: client.ask("POST", f"/sessions/{id}/inspect", {"text": "x"}),
    "inspect nothing": lambda client, id: client.ask("POST", f"/sessions/{id}/inspect", {"text": ""}),
    "a wrong body": lambda client, id: client.ask("POST", f"/sessions/{id}/inspect", {"cursor": 1}),
    "a long timeout": lambda client, id: client.ask("POST", "/execute", {"code": "1", "id": id, "timeout": 1e6}),
}


def shown(answer: requests.Response, id: str) -> tuple[int, str, dict[str, str]]:
    """All that is told, with the id that the client sent itself cut out."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "date")}
    return answer.status_code, answer.text.replace(id, "ID"), headers


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
@pytest.mark.parametrize("ends", ["never", "before"])
def test_another_key_is_told_what_it_is_told_of_an_id_that_never_was(
    owner: Client, other: Client, session: str, door: Callable[[Client, str], requests.Response], ends: str
) -> None:
    if ends == "before":
        assert owner.ask("DELETE", f"/sessions/{session}").status_code == 204
    unknown = str(uuid.uuid4())
    assert shown(door(other, session), session) == shown(door(other, unknown), unknown)
    if ends == "never":
        assert owner.execute("x", session)["result"] == "1", "and nothing has happened to it"


def test_what_it_is_told_is_session_not_found(other: Client, session: str) -> None:
    told = other.execute("x", session)
    assert (told["error"], told["detail"], told["id"]) == ("session not found", UNKNOWN, session)
    events = DOORS["stream"](other, session).text
    assert events.startswith("event: done\ndata: {") and '"error": "session not found"' in events
    assert events.count("event: ") == 1
    for name in ("figures", "close", "interrupt", "complete", "inspect", "inspect nothing"):
        answer = DOORS[name](other, session)
        assert (answer.status_code, answer.json()) == (404, {"error": UNKNOWN}), name


@pytest.mark.parametrize("name", ["figures", "interrupt", "complete", "inspect", "execute", "stream", "close"])
def test_its_own_key_comes_in_at_each_door(owner: Client, session: str, name: str) -> None:
    answer = DOORS[name](owner, session)
    assert answer.status_code in (200, 202, 204)
    assert "not found" not in answer.text


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
def test_without_a_key_there_is_not_even_that(
    server: Server, session: str, door: Callable[[Client, str], requests.Response]
) -> None:
    nobody, unknown = Client(server, None), str(uuid.uuid4())
    assert shown(door(nobody, session), session) == shown(door(nobody, unknown), unknown)
    assert door(nobody, session).status_code == 401


def test_a_key_sees_its_own_sessions_only(owner: Client, other: Client, session: str) -> None:
    own = other.execute("1")["id"]
    assert [one["id"] for one in owner.ask("GET", "/sessions").json()["sessions"]] == [session]
    assert [one["id"] for one in other.ask("GET", "/sessions").json()["sessions"]] == [own]
    other.ask("DELETE", f"/sessions/{own}")


def test_what_runs_is_not_interrupted_by_another_key(owner: Client, other: Client, session: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(owner.execute, "import time\ntime.sleep(0.5)\nx", session)
        until(lambda: owner.ask("GET", f"/sessions/{session}").json()["state"] == "busy")
        for name in ("interrupt", "close", "complete", "execute"):
            assert "ID" not in DOORS[name](other, session).json()
        assert running.result()["result"] == "1"


@pytest.mark.parametrize(
    "id", ["", "owner", "*", ">", ".", "a.b", "../sessions", "x" * 100, "\0", "%2e%2e", "owner/x", "ä", "🐍", " "]
)
def test_no_other_way_of_writing_an_id_leads_to_a_session(other: Client, session: str, id: str) -> None:
    for text in (id, f"{session}{id}", f"{id}{session}", session.upper(), session.replace("-", ""), f"{{{session}}}"):
        if text == session:
            continue
        answer = other.ask("POST", "/execute", {"code": "x", "id": text})
        assert answer.status_code == 422 or answer.json()["error"] == "session not found", text


@pytest.mark.parametrize("shows", ["true", "false"])
def test_ids_of_one_s_own_are_shown_whatever_the_setting_says(start_server: Callable[..., Server], shows: str) -> None:
    server = start_server(
        API_KEYS=OWNERS_ENTRY, LIST_SESSIONS=shows, SESSION_LIBRARIES="plain", POOL_SIZE=1
    ).wait_ready("plain")
    client = Client(server, OWNER)
    id = client.execute("1")["id"]
    assert [one["id"] for one in client.ask("GET", "/sessions").json()["sessions"]] == [id]
