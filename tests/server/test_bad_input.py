"""What a caller gets for a request that cannot be used: a status that says whose fault, and a sentence in JSON."""

import asyncio
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
import requests

from sandbox.limits import SOURCE_CHARS
from server.app import create_app
from server.body import MOST_BYTES
from server.settings import Settings
from tests.conftest import Server

JSON = {"Content-Type": "application/json"}
MARK = "MARK_IN_THE_CODE"


def post(server: Server, body: str | bytes, headers: dict[str, str] = JSON) -> requests.Response:
    data = body.encode() if isinstance(body, str) else body
    answer = server.http.post(f"{server.url}/execute", data=data, headers=headers, timeout=30)
    if answer.status_code == 200 and answer.json()["id"]:
        server.close(answer.json()["id"])
    return answer


def refused(answer: requests.Response, status: int) -> dict[str, Any]:
    """The body of an answer that must be a refusal in JSON: one sentence, and nothing that was sent."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert MARK not in answer.text
    body = answer.json()
    assert isinstance(body["error"], str) and body["error"]
    assert body.keys() <= {"error", "detail"}
    return body


# 400: not JSON


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "{",
        "}",
        f'{{"code": "{MARK}"',
        f'{{"code": "{MARK}",}}',
        f"{{'code': '{MARK}'}}",
        f'{{"code": "{MARK}\n"}}',
        f'{{"code": "{MARK}"}} more',
        f"{MARK}",
        f'{{"code": {MARK}}}',
        f'{{"code": "{MARK}\\x41"}}',
        b'{"code": "\xff"}',
        b"\x80\x04K\x01.",
        "{" * 100_000,
        "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=range(16),
)
def test_what_is_no_json_is_400_or_422(server: Server, body: str | bytes) -> None:
    answer = post(server, body)
    refused(answer, 422 if answer.status_code == 422 and len(body) > 1000 else 400)


def test_the_place_of_the_fault_is_told(server: Server) -> None:
    assert "line 2, column 1" in refused(post(server, '{"code":\n}'), 400)["error"]


# 415: said not to be JSON


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp", "", "json"]
)
def test_a_body_that_is_not_said_to_be_json_is_415(server: Server, kind: str) -> None:
    refused(post(server, json.dumps({"code": MARK}), {"Content-Type": kind}), 415)


def test_a_body_without_a_content_type_is_415(server: Server) -> None:
    refused(post(server, json.dumps({"code": MARK}).encode(), {}), 415)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
def test_json_is_json_however_it_is_written(server: Server, kind: str) -> None:
    assert post(server, '{"code": "1"}', {"Content-Type": kind}).status_code == 200


# 413: too large


def test_a_body_too_large_is_413(server: Server) -> None:
    body = refused(post(server, json.dumps({"code": MARK + "x" * MOST_BYTES})), 413)
    assert str(MOST_BYTES) in body["error"]


def test_a_body_too_large_is_413_when_it_does_not_say_how_large(server: Server) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"code": "' + MARK.encode()
        for _ in range(MOST_BYTES // 2**20 + 1):
            yield b"x" * 2**20

    refused(requests.post(f"{server.url}/execute", data=chunks(), headers=JSON, timeout=30), 413)


def test_a_body_in_chunks_is_put_together(server: Server) -> None:
    body = json.dumps({"code": "6 * 7"}).encode()
    chunks = (body[at : at + 1] for at in range(len(body)))
    answer = server.http.post(f"{server.url}/execute", data=chunks, headers=JSON, timeout=30)
    server.close(answer.json()["id"])
    assert answer.json()["result"] == "42"


# 422: a field is wrong

WRONG = {
    "no code": {},
    "empty code": {"code": ""},
    "code is null": {"code": None},
    "code is a number": {"code": 5},
    "code is a list": {"code": [MARK]},
    "code is an object": {"code": {MARK: MARK}},
    "id is a number": {"code": MARK, "id": 5},
    "id is a list": {"code": MARK, "id": [MARK]},
    "id is too long": {"code": MARK, "id": MARK * 10},
    "timeout is text": {"code": MARK, "timeout": "1"},
    "timeout is true": {"code": MARK, "timeout": True},
    "timeout is 0": {"code": MARK, "timeout": 0},
    "timeout is negative": {"code": MARK, "timeout": -1},
    "timeout is too high": {"code": MARK, "timeout": 1e9},
    "timeout is not a number": {"code": MARK, "timeout": float("nan")},
    "timeout is endless": {"code": MARK, "timeout": float("inf")},
    "stdin is a number": {"code": MARK, "stdin": 5},
    "stdin is a list": {"code": MARK, "stdin": [MARK]},
    "a field that nobody knows": {"code": MARK, "session_id": "x"},
    "a field in the wrong case": {"Code": MARK},
    "a list": [MARK],
    "a text": MARK,
    "null": None,
    "a number": 5,
    "true": True,
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_wrong_field_is_422_with_its_place_and_without_what_was_sent(server: Server, body: Any) -> None:
    answer = refused(post(server, json.dumps(body)), 422)
    assert answer["detail"]
    for problem in answer["detail"]:
        assert problem.keys() == {"loc", "msg"}
        assert problem["loc"][0] == "body"
        assert problem["msg"]


def test_a_client_that_says_session_id_learns_it_at_once(server: Server) -> None:
    before = server.health()["sessions"]["open"]
    answer = refused(post(server, '{"code": "1", "session_id": "x"}'), 422)
    assert answer["detail"][0]["loc"] == ["body", "session_id"]
    assert "session_id" in answer["error"]
    assert server.health()["sessions"]["open"] == before


def test_each_wrong_field_is_named(server: Server) -> None:
    answer = refused(post(server, '{"code": 5, "timeout": "x", "extra": 1}'), 422)
    assert {problem["loc"][1] for problem in answer["detail"]} == {"code", "timeout", "extra"}


@pytest.mark.parametrize("field", ["code", "stdin"])
@pytest.mark.parametrize("character", ["x", "é", "🐍", "\x01", '"'])
def test_a_mebi_of_characters_is_taken_and_one_more_is_refused(server: Server, field: str, character: str) -> None:
    text = "#" + character * (SOURCE_CHARS - 1)
    body = {"code": "import sys\nlen(sys.stdin.read())"} | {field: text}
    answer = post(server, json.dumps(body))
    assert (answer.status_code, answer.json()["error"]) == (200, None)
    if field == "stdin":
        assert answer.json()["result"] == str(SOURCE_CHARS)
    answer = post(server, json.dumps(body | {field: text + "x"}))
    assert refused(answer, 422)["detail"][0]["loc"] == ["body", field]


def test_many_fields_are_refused_before_they_cost_anything(server: Server) -> None:
    for body in (
        {str(number): number for number in range(100_000)},
        {"code": "1", "x": [[]] * 100_000},
        {"code": "\ud800", "x": [[]] * 100_000},
    ):
        refused(post(server, json.dumps(body)), 422)


# Odd text is no fault


def test_nul_in_code_is_a_syntax_error_of_the_code(server: Server) -> None:
    answer = post(server, '{"code": "a = 1\\nb = \'\\u0000\'"}')
    assert answer.status_code == 200
    assert answer.json()["stderr"].endswith("SyntaxError: source code cannot contain null bytes\n")


@pytest.mark.parametrize("field", ["code", "id", "stdin"])
def test_a_lone_surrogate_in_a_request_is_422(server: Server, field: str) -> None:
    body = json.dumps({"code": "1"} | {field: "'\ud800'"})
    assert refused(post(server, body), 422)["detail"][0]["loc"] == ["body", field]


def test_a_pair_of_surrogates_is_a_character(server: Server) -> None:
    assert post(server, '{"code": "print(\'\\ud83d\\udc0d\')"}').json()["stdout"] == "🐍\n"


# 404 and 405


@pytest.mark.parametrize("path", ["/nothing", "/execute/1", "/sessions/1/2", "/docs/assets/none.js", "/é", "/%00"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_404(server: Server, method: str, path: str) -> None:
    answer = server.http.request(method, server.url + path, timeout=10)
    refused(answer, 405 if answer.status_code == 405 and "assets" in path else 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/execute"),
        ("PUT", "/execute"),
        ("DELETE", "/"),
        ("POST", "/sessions"),
        ("PATCH", "/sessions/x"),
        ("GET", "/sessions/x/interrupt"),
        ("POST", "/docs"),
    ],
)
def test_a_wrong_method_is_405_and_the_right_one_is_told(server: Server, method: str, path: str) -> None:
    answer = server.http.request(method, server.url + path, timeout=10)
    refused(answer, 405)
    assert answer.headers["allow"]


def test_head_answers_as_get_without_a_body(server: Server) -> None:
    answer = server.http.head(server.url, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"")


# 421: asked for by another name


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:80", "localhost.example.org", "127.0.0.1.example.org", "x" * 500]
)
def test_on_loopback_a_strangers_name_for_this_host_is_421(server: Server, host: str) -> None:
    for method, path in (("GET", "/"), ("POST", "/execute"), ("POST", "/run"), ("GET", "/docs"), ("GET", "/sessions")):
        answer = server.http.request(method, server.url + path, headers=JSON | {"Host": host}, timeout=10)
        refused(answer, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000"])
def test_this_machines_own_names_are_answered(server: Server, host: str) -> None:
    assert server.http.get(server.url, headers={"Host": host}, timeout=10).status_code == 200


@pytest.mark.parametrize("path", ["livez", "readyz", "metrics"])
def test_probes_are_answered_under_any_name(server: Server, path: str) -> None:
    """They are asked by the address of a container."""
    answer = server.http.get(f"{server.url}/{path}", headers={"Host": "10.1.2.3:8000"}, timeout=10)
    assert answer.status_code == 200


# Not even HTTP


def raw(server: Server, *parts: bytes) -> bytes:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        received = b""
        try:
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                received += data
        except OSError:  # it was closed while we still sent
            pass
        return received


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"\x00\xff\xfe\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_gets_a_sentence_in_json(server: Server, data: bytes) -> None:
    head, _, body = raw(server, data).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert re.search(rb"\r\nx-request-id: [0-9a-f]{16}", head, re.IGNORECASE)
    assert json.loads(body)["error"]


def test_headers_without_end_are_refused(server: Server) -> None:
    answer = raw(server, b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"X-Filler: " + b"x" * 8000 + b"\r\n"] * 20)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert server.health()["status"] == "healthy"


def test_a_client_that_would_rather_speak_another_protocol_is_answered_in_this_one(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(SESSION_LIBRARIES="plain")
    wish = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA"}
    for _ in range(2):  # on one connection
        body = b'{"code": "6 * 7",\r\n\r\n\r\n"stdin":"Upgrade:"}'
        answer = server.http.post(f"{server.url}/execute", body, headers=JSON | wish, timeout=20)
        assert answer.json()["result"] == "42"
    assert server.http.get(server.url, headers=wish, timeout=20).status_code == 200
    assert "WebSocket" not in server.log.read_text() and "upgrade" not in server.log.read_text()


def slowly(server: Server, *parts: bytes) -> bytes:
    """What is answered to parts that come one after another, each in a packet of its own."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(0.05)
            connection.settimeout(1)
            while data := connection.recv(65536):
                received += data
        except OSError:  # it was closed while we still sent, or waits for more
            pass
        return received


SMUGGLED = b"GET /sessions HTTP/1.1\r\nHost: localhost\r\nX: "
UPGRADES = b"x" + b"\r\nupgrade:" * (len(SMUGGLED) // 2) + b"\r\n\r\n" + SMUGGLED
HEAD = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d" % len(UPGRADES)
WISH = b"\r\nConnection: Upgrade\r\nUpgrade: h2c"


@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize("wish", [b"", WISH], ids=["plain", "upgrade"])
def test_a_body_is_never_touched_wherever_its_head_is_cut(server: Server, cut: int, wish: bytes) -> None:
    whole = HEAD + wish + b"\r\n\r\n" + UPGRADES
    at = len(HEAD + wish) + cut
    assert slowly(server, whole[:at], whole[at:]).count(b"HTTP/1.1 ") == 1
    first = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"
    behind = slowly(server, first + b"ab", b"c" + whole[:at], whole[at:])
    assert behind.count(b"HTTP/1.1 ") <= 2 and b'"sessions"' not in behind


UNSEEN = {
    "cut before its name": (HEAD + b"\r\nConnection: Upgrade\r\n", b"Upgrade: h2c\r\n\r\n", SMUGGLED),
    "cut in its name": (HEAD + b"\r\nConnection: Upgrade\r\nUpg", b"rade: h2c\r\n\r\n", SMUGGLED),
    "behind empty lines": (b"\r\n\r\n" + HEAD + WISH + b"\r\n\r\n", SMUGGLED),
    "behind another request": (
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + HEAD + WISH + b"\r\n\r\n",
        SMUGGLED,
    ),
}


@pytest.mark.parametrize("parts", UNSEEN.values(), ids=UNSEEN)
def test_what_is_behind_a_head_is_never_another_protocol(server: Server, parts: tuple[bytes, ...]) -> None:
    answered = slowly(server, *parts[:-1], parts[-1] + b"\r\n\r\n")
    assert b'"sessions"' not in answered
    assert answered.count(b"HTTP/1.1 ") <= 2


def test_requests_are_not_piled_up(server: Server) -> None:
    slow = json.dumps({"code": "import time\ntime.sleep(0.5)"}).encode()
    first = b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    answered = slowly(server, first % len(slow) + slow + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
    assert answered.count(b"HTTP/1.1 ") <= 18
    few = slowly(server, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)
    assert few.count(b"HTTP/1.1 200") == 10


def test_headers_without_number_are_refused(server: Server) -> None:
    answered = raw(server, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 200 + b"\r\n")
    assert answered.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("cut", [1, 30, 120])
def test_a_client_that_leaves_in_the_middle_of_its_request_disturbs_nobody(server: Server, cut: int) -> None:
    body = json.dumps({"code": "1"}).encode()
    request = b"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    raw(server, (request % (len(body) + 5, body))[:cut])
    assert post(server, '{"code": "6 * 7"}').json()["result"] == "42"


# Every answer


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", None),
        ("GET", "/sessions", None),
        ("GET", "/docs", None),
        ("GET", "/openapi.json", None),
        ("GET", "/nothing", None),
        ("GET", "/execute", None),
        ("GET", "/run", None),
        ("DELETE", "/sessions/x", None),
        ("POST", "/execute", "{"),
        ("POST", "/execute", '{"code": ""}'),
        ("POST", "/run", "{"),
        ("POST", "/run", '{"code": ""}'),
        ("POST", "/run", '{"code": "1 / 0"}'),
        ("POST", "/execute", '{"code": "1", "id": "x"}'),
    ],
)
def test_every_answer_has_a_request_id_of_its_own(server: Server, method: str, path: str, body: str | None) -> None:
    answers = [server.http.request(method, server.url + path, data=body, headers=JSON, timeout=10) for _ in range(2)]
    ids = {answer.headers["X-Request-ID"] for answer in answers}
    assert len(ids) == 2
    assert all(re.fullmatch(r"[0-9a-f]{16}", id) for id in ids)
    assert all(answer.headers["X-Content-Type-Options"] == "nosniff" for answer in answers)


def test_a_connection_is_kept_after_a_refusal(server: Server) -> None:
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    statuses = []
    for body in ("{", '{"code": ""}', '{"code": "1", "id": "none"}'):
        connection.request("POST", "/execute", body, JSON)
        first = connection.sock
        with connection.getresponse() as answer:
            statuses.append(answer.status)
            answer.read()
        assert connection.sock is first
    connection.close()
    assert statuses == [400, 422, 200]


# 500: ours


class BrokenSessions:
    """Stands where the managers of sessions and runs are, with a fault in all that it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("a cause that is nobody's business")


def ask_in_process(method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], Any]:
    """One request to the application itself, whose sessions are broken: status, headers, body."""
    app = create_app(Settings())
    app.state.sessions = app.state.work = BrokenSessions()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"content-type", b"application/json")],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 1),
    }
    sent: list[dict[str, Any]] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()  # the client stays
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.mark.parametrize(
    ("method", "path", "route", "body"),
    [
        ("POST", "/execute", "/execute", json.dumps({"code": MARK}).encode()),
        ("POST", "/run", "/run", json.dumps({"code": MARK}).encode()),
        ("GET", "/sessions", "/sessions", b""),
        ("GET", "/sessions/x", "/sessions/{id}", b""),
        ("GET", "/", "/", b""),
    ],
)
def test_a_500_says_nothing_and_the_log_says_it_all(
    caplog: pytest.LogCaptureFixture, method: str, path: str, route: str, body: bytes
) -> None:
    with caplog.at_level(logging.ERROR):
        status, headers, answer = ask_in_process(method, path, body)
    assert (status, answer) == (500, {"error": "Internal server error"})
    assert headers["content-type"] == "application/json"
    (record,) = [record for record in caplog.records if headers["x-request-id"] in record.getMessage()]
    assert f"{method} {route} failed" in record.getMessage()
    assert record.exc_info is not None
    assert MARK not in caplog.text
