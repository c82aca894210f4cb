"""Quotas: what a key may use, to the last request, and what it is told when that is used up."""

import asyncio
import json
import math
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import requests

from server.keys import KEY, Key, Quota, new_key
from server.quotas import QuotaExceeded, Quotas
from tests.conftest import Server, running, until

HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(name: str = "ada", **quota: int) -> Key:
    return Key(name, b"", Quota(**quota))


def refusal(quotas: Quotas, of: Key) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as raised:
        asyncio.run(quotas.admit(of))
    return raised.value


# Counting, with a clock that is passed in


def test_without_limits_nothing_is_counted() -> None:
    quotas = Quotas(Clock())
    for _ in range(1000):
        quotas.charge(key(), 1000.0)
        assert asyncio.run(quotas.admit(key())) is None


def test_requests_come_back_as_their_minute_passes() -> None:
    clock = Clock()
    quotas, ada = Quotas(clock), key(requests=2)
    standings = []
    for _ in range(2):
        standings.append(asyncio.run(quotas.admit(ada)))
        clock.now += 20
    assert [(standing.limit, standing.remaining) for standing in standings if standing] == [(2, 1), (2, 0)]
    refused = refusal(quotas, ada)
    assert refused.retry_after == 20, "the first is 40 s old"
    assert refused.standing.remaining == 0
    assert str(refused) == "the key ada has used its 2 requests of a minute: there is room again in 20 s"
    clock.now += 19.9
    assert refusal(quotas, ada).retry_after == 1, "rounded up"
    clock.now += 0.1
    assert asyncio.run(quotas.admit(ada))


def test_a_refusal_costs_nothing() -> None:
    clock = Clock()
    quotas, ada = Quotas(clock), key(requests=1, cpu_s=1)
    asyncio.run(quotas.admit(ada))
    for _ in range(100):
        refusal(quotas, ada)
    clock.now += 60
    quotas.charge(ada, 1.0)
    refusal(quotas, ada)
    clock.now += 60
    assert asyncio.run(quotas.admit(ada)), "what its processor time refused is no request"


def test_keys_are_counted_apart() -> None:
    quotas = Quotas(Clock())
    asyncio.run(quotas.admit(key("ada", requests=1)))
    assert asyncio.run(quotas.admit(key("bob", requests=1)))
    refusal(quotas, key("ada", requests=1))


def test_processor_time_is_charged_to_the_microsecond_and_beyond_the_limit() -> None:
    clock = Clock()
    quotas, ada = Quotas(clock), key(cpu_s=2)
    quotas.charge(ada, 1.999999)
    asyncio.run(quotas.admit(ada))
    quotas.charge(ada, 0.000001)
    assert refusal(quotas, ada).retry_after == 60
    quotas.charge(ada, 3.0)
    refused = refusal(quotas, ada)
    assert (refused.retry_after, refused.standing.limit) == (120, 2), "what is owed is paid minute by minute"
    assert "2 CPU seconds" in str(refused)
    clock.now += 120
    assert asyncio.run(quotas.admit(ada)) is None


# A real server


class Client:
    """Requests with a key."""

    def __init__(self, server: Server, token: str) -> None:
        self.url = server.url
        self.headers = {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> requests.Response:
        return requests.request(method, self.url + path, json=body, headers=self.headers | headers, timeout=60)

    def execute(self, code: str, id: str | None = None, **fields: Any) -> requests.Response:
        return self.ask("POST", "/execute", {"code": code, "id": id, **fields})

    def leave(self, path: str, body: dict[str, Any], accept: str, after_s: float) -> requests.Response:
        """Ask, and close the connection before the answer is there. Raises ReadTimeout if not even its head was."""
        headers = self.headers | {"Accept": accept}
        began = time.monotonic()
        with requests.post(self.url + path, json=body, headers=headers, timeout=after_s, stream=True) as answer:
            if answer.status_code == 200:
                time.sleep(max(0.0, began + after_s - time.monotonic()))
        return answer

    def sessions(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.ask("GET", "/sessions").json()["sessions"]
        return listed

    def at_once(self, count: int, path: str, body: dict[str, Any], **headers: str) -> list[requests.Response]:
        with ThreadPoolExecutor(count) as pool:
            return [*pool.map(lambda _: self.ask("POST", path, body, **headers), range(count))]


LIMITS = {"plain": "", "ten": ":requests=10", "one": ":requests=1", "two": ":sessions=2", "five": ":sessions=5"}
LIMITS |= {
    "busy": ":cpu=1",
    "sleepy": ":cpu=1",
    "gone": ":cpu=1",
    "runs": ":cpu=1",
    "asks": ":cpu=1",
    "away": ":cpu=1",
    "dozes": ":cpu=1",
}
LIMITS |= {"unread": ":cpu=1", "newline": ":requests=2"}
LIMITS |= {"judged": ":cpu=1", "streams": ":cpu=1", "all": ":requests=100:cpu=60:sessions=3"}
MADE = {name: new_key(name) for name in LIMITS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(
        tmp_path_factory.mktemp("quotas") / "server.log",
        API_KEYS=",".join(entry + LIMITS[name] for name, (_, entry) in MADE.items()),
        SESSION_LIBRARIES="plain",
        POOL_SIZE=4,
        RUN_POOL_SIZE=1,
        RUN_MODULES="default,time",
        IDLE_TIMEOUT_SECONDS=300,
    ) as server:
        yield server.wait_ready("plain")


@pytest.fixture
def client(server: Server) -> Iterator[Callable[[str], Client]]:
    """A client by the name of its key. Its sessions are closed afterwards."""
    made: list[Client] = []

    def make(name: str) -> Client:
        made.append(Client(server, MADE[name][0]))
        return made[-1]

    yield make
    for one in made:
        for session in one.sessions():
            one.ask("DELETE", f"/sessions/{session['id']}")


def refused(answer: requests.Response, limit: int) -> float:
    """Checks a refusal; its Retry-After."""
    assert answer.status_code == 429, answer.text
    assert set(answer.json()) == {"error"}
    told = [answer.headers[name] for name in HEADERS]
    after = answer.headers["Retry-After"]
    assert told[:2] == [str(limit), "0"] and after.isdecimal() and int(after) >= 1
    assert abs(int(told[2]) - time.time() - int(after)) < 10, "both say the same time"
    assert all(len(answer.raw.headers.getlist(name)) == 1 for name in HEADERS)
    return float(after)


def test_of_twenty_at_once_exactly_as_many_pass_as_the_limit_says(client: Callable[[str], Client]) -> None:
    ten = client("ten")
    answers = ten.at_once(20, "/run", {"code": "1"})
    passed = [answer for answer in answers if answer.status_code == 200]
    assert len(passed) == 10
    for answer in answers:
        if answer not in passed:
            assert 50 < refused(answer, 10) <= 60
    assert sorted(int(answer.headers["X-RateLimit-Remaining"]) for answer in passed) == [*range(10)]
    for answer in passed:
        assert answer.headers["X-RateLimit-Limit"] == "10"
        assert 0 < int(answer.headers["X-RateLimit-Reset"]) - time.time() <= 61


def test_what_is_refused_opens_no_session_and_runs_nothing(client: Callable[[str], Client]) -> None:
    one = client("one")
    id = one.execute("x = 1").json()["id"]
    for answer in (one.execute("x = 2"), one.execute("x = 2", id), one.ask("POST", "/run", {"code": "1"})):
        refused(answer, 1)
    (session,) = one.sessions()
    assert (session["id"], session["executions"]) == (id, 1)
    for path in (f"/sessions/{id}/complete", f"/sessions/{id}/inspect", "/submit", "/execute"):
        refused(one.ask("POST", path), 1)


def test_one_can_always_look_at_and_end_what_one_has(client: Callable[[str], Client]) -> None:
    one = client("one")
    while (answer := one.execute("1")).status_code == 200:
        pass
    assert answer.status_code == 429
    for method, path, status in (
        ("GET", "/sessions", 200),
        ("GET", "/sessions/unknown", 404),
        ("POST", "/sessions/unknown/interrupt", 404),
        ("DELETE", "/sessions/unknown", 404),
        ("GET", "/execute", 405),
        ("POST", "/nothing", 404),
    ):
        told = one.ask(method, path)
        assert told.status_code == status
        assert not [name for name in HEADERS if name in told.headers], "it is not counted"


def test_without_limits_there_are_no_headers_of_them(client: Callable[[str], Client]) -> None:
    answer = client("plain").execute("1")
    assert answer.status_code == 200
    assert not [name for name in (*HEADERS, "Retry-After") if name in answer.headers]


def test_a_request_that_is_wrong_counts_and_is_told_so(client: Callable[[str], Client]) -> None:
    everything = client("all")
    left = int(everything.execute("1").headers["X-RateLimit-Remaining"])
    wrong = everything.ask("POST", "/execute", {"session_id": "x"})
    assert wrong.status_code == 422
    assert int(wrong.headers["X-RateLimit-Remaining"]) == left - 1


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_of_many_openings_at_once_as_many_pass_as_the_limit_says(client: Callable[[str], Client], accept: str) -> None:
    five = client("five")
    answers = five.at_once(20, "/execute", {"code": "import time; time.sleep(0.2)"}, Accept=accept)
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 15
    assert len(five.sessions()) == 5
    for answer in answers:
        if answer.status_code == 429:
            refused(answer, 5)
            assert "5 sessions open" in answer.json()["error"]


def test_a_refusal_tells_of_the_limit_that_it_meets_and_of_no_other(client: Callable[[str], Client]) -> None:
    everything = client("all")
    for _ in range(3):
        assert everything.execute("1").headers["X-RateLimit-Limit"] == "100"
    refused(everything.execute("1"), 3)


def test_an_opening_that_takes_long_does_not_hold_up_the_next(client: Callable[[str], Client]) -> None:
    two = client("two")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(two.execute, "import time; time.sleep(20)", timeout=25)
        until(lambda: [session["state"] for session in two.sessions()] == ["busy"])
        began = time.monotonic()
        assert two.execute("1").json()["result"] == "1"
        assert time.monotonic() - began < 5
        after = refused(two.execute("1"), 2)
        assert 290 < after <= 300, "when the idle one closes"
        for session in two.sessions():
            two.ask("DELETE", f"/sessions/{session['id']}")
        assert slow.result().json()["error"] == "execution interrupted"
    assert two.execute("1").status_code == 200, "there is room again"


def test_a_session_that_is_there_may_be_used_at_the_limit(client: Callable[[str], Client]) -> None:
    two = client("two")
    first, _ = two.execute("x = 1").json()["id"], two.execute("x = 2")
    assert two.execute("x", first).json()["result"] == "1"
    refused(two.execute("x"), 2)


BURN = "import time\nbegin = time.process_time()\nwhile time.process_time() - begin < {seconds}: pass"


def test_busy_code_is_charged_and_the_next_request_refused(client: Callable[[str], Client]) -> None:
    busy = client("busy")
    id = busy.execute(BURN.format(seconds=0.8), timeout=20).json()["id"]
    assert busy.execute(BURN.format(seconds=0.3), id, timeout=20).status_code == 200, "0.2 s were left"
    assert 50 < refused(busy.execute("1", id), 1) <= 61


def test_sleeping_code_is_not_charged(client: Callable[[str], Client]) -> None:
    sleepy = client("sleepy")
    for _ in range(2):
        assert sleepy.execute("import time; time.sleep(1)").status_code == 200
    assert sleepy.ask("POST", "/run", {"code": "1"}).status_code == 200


def until_refused(ask: Callable[[], requests.Response]) -> None:
    """Ask until the CPU seconds are used up: on a busy machine code gets few of them in its time."""
    for _ in range(20):
        answer = ask()
        if answer.status_code == 429:
            refused(answer, 1)
            return
        assert answer.status_code == 200, answer.text
    raise AssertionError("it is not charged")


def test_a_run_is_charged(client: Callable[[str], Client]) -> None:
    runs = client("runs")
    until_refused(lambda: runs.ask("POST", "/run", {"code": "while True: pass", "timeout": 1}))


def test_a_submission_is_charged(client: Callable[[str], Client]) -> None:
    judged = client("judged")
    burn = "int f(void) { for (volatile long n = 0; n < 1000000000000; n++); return 1; }"
    body = {"code": burn, "tests": "assert(f());", "valgrind": False, "timeout": 3, "perTestTimeout": 1}
    until_refused(lambda: judged.ask("POST", "/submit", body))


LEAVING = {
    "an execution": ("away", "/execute", {"code": "while True: pass", "timeout": 20}, "application/json"),
    "a stream": ("streams", "/execute", {"code": "while True: pass", "timeout": 20}, "text/event-stream"),
    "a run": ("gone", "/run", {"code": "while True: pass", "timeout": 20}, "application/json"),
}


@pytest.mark.parametrize(("name", "path", "body", "accept"), LEAVING.values(), ids=LEAVING.keys())
def test_who_leaves_is_charged_for_what_ran(
    client: Callable[[str], Client], name: str, path: str, body: dict[str, Any], accept: str
) -> None:
    leaver = client(name)

    def ask_and_leave() -> bool:
        """Whether it was let in."""
        try:
            answer = leaver.leave(path, body, accept, after_s=0.5)
        except requests.exceptions.ReadTimeout:
            return True
        return answer.status_code == 200

    until(lambda: not ask_and_leave(), 30)


@pytest.mark.parametrize("what", LEAVING)
def test_who_leaves_is_not_charged_for_what_slept(server: Server, client: Callable[[str], Client], what: str) -> None:
    dozes = client("dozes")
    _, path, body, accept = LEAVING[what]
    body = body | {"code": "import time; time.sleep(20)"}
    with suppress(requests.exceptions.ReadTimeout):
        assert dozes.leave(path, body, accept, after_s=1.2).status_code == 200
    until(lambda: all(session["state"] != "busy" for session in dozes.sessions()))
    until(lambda: server.health()["runs"]["active"] == 0)
    assert dozes.execute("1").status_code == 200


def test_who_does_not_read_its_stream_is_charged(client: Callable[[str], Client], server: Server) -> None:
    unread = client("unread")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, _, port = server.url.removeprefix("http://").partition(":")
        slow.connect((host, int(port)))
        burn = "import time\nbegin = time.process_time()\nwhile time.process_time() - begin < 1.2: pass"
        body = json.dumps({"code": f"for n in range(9): display('x' * 10**6 + str(n))\n{burn}", "timeout": 25})
        head = f"POST /execute HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {MADE['unread'][0]}\r\n"
        head += "Content-Type: application/json\r\nAccept: text/event-stream\r\n"
        slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        nowhere = {"code": "1", "id": "00000000-0000-4000-8000-000000000000"}
        until(lambda: unread.ask("POST", "/execute", nowhere).status_code == 429)


def test_a_path_with_more_behind_it_is_counted_too(client: Callable[[str], Client]) -> None:
    newline = client("newline")
    answers = [newline.ask("POST", path, {"code": "1"}) for path in ("/run%0A", "/run", "/run%0A", "/execute%0A")]
    assert [answer.status_code for answer in answers[2:]] == [429, 429]


def test_looking_up_is_charged(client: Callable[[str], Client]) -> None:
    asks = client("asks")
    code = "class Slow:\n    def __dir__(self):\n        while True: pass\nslow = Slow()"
    id = asks.execute(code).json()["id"]
    answers = [asks.ask("POST", f"/sessions/{id}/complete", {"text": "slow."}) for _ in range(4)]
    assert answers[0].status_code == 200
    refused(answers[-1], 1)


def test_what_a_key_uses_is_not_charged_to_another(client: Callable[[str], Client]) -> None:
    while client("busy").execute(BURN.format(seconds=0.5), timeout=20).status_code == 200:
        pass
    assert client("plain").execute("1").json()["result"] == "1"


def test_keys_off_there_are_no_limits(start_server: Callable[..., Server]) -> None:
    server = start_server(
        KEY_REQUESTS_PER_MINUTE=1, KEY_MAX_SESSIONS=1, SESSION_LIBRARIES="plain", POOL_SIZE=1
    ).wait_ready("plain")
    for _ in range(3):
        assert server.execute("1")["result"] == "1"


def test_a_key_without_limits_of_its_own_has_those_of_the_settings(start_server: Callable[..., Server]) -> None:
    token, entry = MADE["plain"]
    server = start_server(API_KEYS=entry, KEY_REQUESTS_PER_MINUTE=2, SESSION_LIBRARIES="plain", POOL_SIZE=1).wait_ready(
        "plain"
    )
    plain = Client(server, token)
    assert [plain.ask("POST", "/run", {}).status_code for _ in range(3)] == [422, 422, 429]


def test_counting_is_cheap() -> None:
    """The bound is generous: this is measured on machines that do other things."""
    quotas, ada = Quotas(), key(requests=1_000_000, sessions=3, cpu_s=1_000)

    async def admit(count: int) -> float:
        began = time.process_time()
        for _ in range(count):
            await quotas.admit(ada)
            quotas.charge(ada, 0.0001)
        return (time.process_time() - began) / count

    assert math.isfinite(asyncio.run(admit(1000)))
    assert min(asyncio.run(admit(1000)) for _ in range(5)) < 100e-6
    assert KEY.get() is None
