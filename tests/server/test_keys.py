"""Keys: how they are made and read, and that nobody comes in without one."""

import ast
import asyncio
import hashlib
import inspect
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from server import keys
from server.gate import Gate, Unauthorized
from server.keys import Keys, KeysError, Quota, new_key
from server.quotas import Quotas
from tests.conftest import ROOT, Server, running, until

TOKEN, ENTRY = new_key("ada")
OTHER_TOKEN, OTHER_ENTRY = new_key("bob")
DIGEST = "0123456789abcdef" * 4


def read(listed: str = "", file: str = "", quota: Quota = Quota()) -> Keys | None:  # noqa: B008 - it is frozen
    return Keys.read(listed, file, quota)


# Making


def test_a_token_has_256_bits_and_only_its_hash_is_stored() -> None:
    made = [new_key("ada") for _ in range(100)]
    assert len({token for token, _ in made}) == 100
    for token, entry in made:
        assert re.fullmatch(r"pyrunner_[\w-]{43}", token)
        assert entry == f"ada:{hashlib.sha256(token.encode()).hexdigest()}"


@pytest.mark.parametrize("name", ["", "a" * 65, "-a", ".a", "a b", "a:b", "a,b", "ä", "a\n", "#a", "a/b"])
def test_a_name_is_short_and_plain(name: str) -> None:
    with pytest.raises(KeysError, match="at most 64"):
        new_key(name)


def make_key(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, ROOT / "run.py", *arguments], capture_output=True, text=True, timeout=30)


def test_the_command_line_makes_a_key() -> None:
    done = make_key("--new-key", "ada")
    assert (done.returncode, done.stderr) == (0, "")
    (token,) = re.findall(r"pyrunner_\S+", done.stdout)
    (entry,) = re.findall(r"ada:\S+", done.stdout)
    found = read(entry)
    assert found and found.find(token.encode())
    assert make_key("--new-key", "a:b").returncode == 2


# Reading


def test_without_both_settings_there_are_no_keys() -> None:
    assert read() is None


def test_a_key_has_its_own_limits_and_the_settings_where_it_has_none() -> None:
    found = read(f"ada:{DIGEST}:cpu=5, bob:{DIGEST[::-1]}:requests=0:sessions=3", quota=Quota(1, 2, 4))
    assert found is not None
    assert [key.quota for key in found] == [Quota(1, 2, 5), Quota(3, 0, 4)]


def test_a_file_has_a_key_a_line_beside_those_of_the_other_setting(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who may come in\n\n  {OTHER_ENTRY}:sessions=2  \r\n#{ENTRY}\n")
    both, alone = read(ENTRY, str(file)), read("", str(file))
    assert both and alone
    assert [key.name for key in both] == ["ada", "bob"]
    assert [key.name for key in alone] == ["bob"]
    assert alone.find(TOKEN.encode()) is None


MALFORMED = {
    "a token in the place of its hash": f"bob:{TOKEN}",
    "no name": f":{DIGEST}",
    "a name with a space": f"b b:{DIGEST}",
    "a hash in capitals": f"bob:{DIGEST.upper()}",
    "a short hash": f"bob:{DIGEST[1:]}",
    "a long hash": f"bob:{DIGEST}0",
    "other digits": f"bob:{'٣' * 64}",
    "an unknown limit": f"bob:{DIGEST}:memory=3",
    "a limit twice": f"bob:{DIGEST}:cpu=3:cpu=4",
    "no number": f"bob:{DIGEST}:cpu=",
    "a negative number": f"bob:{DIGEST}:cpu=-1",
    "another kind of number": f"bob:{DIGEST}:cpu=٣",
    "an end without a limit": f"bob:{DIGEST}:",
    "a token alone": TOKEN,
}


@pytest.mark.parametrize("entry", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_is_told_by_its_place_and_not_repeated(entry: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# one a line\n\n{ENTRY}\n{entry}\n")
    for listed, path, place in (
        (f"{ENTRY},{entry}", "", "API_KEYS: entry 2"),
        ("", str(file), "API_KEYS_FILE: line 4"),
    ):
        with pytest.raises(KeysError, match=f"^{place} is not NAME:SHA256-HEX") as raised:
            read(listed, path)
        assert "bob" not in str(raised.value) and TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    ("second", "sentence"),
    [(f"ada:{DIGEST}", "has the name of a key before it"), (f"bob:{ENTRY[4:]}", "has the token of a key before it")],
    ids=["name", "token"],
)
def test_names_and_tokens_are_those_of_one_key(second: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(second)
    with pytest.raises(KeysError, match=f"entry 2 {sentence}"):
        read(f"{ENTRY},{second}")
    with pytest.raises(KeysError, match=f"line 1 {sentence}"):
        read(ENTRY, str(file))


@pytest.mark.parametrize("listed", [" ", ",", f"{ENTRY},", " , "], ids=["space", "comma", "end", "both"])
def test_a_setting_without_keys_is_no_open_door(listed: str) -> None:
    with pytest.raises(KeysError, match="API_KEYS: entry"):
        read(listed)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "no key in it"), (b"# none yet\n", "no key in it"), (b"\xff\xfe", "not text"), (None, "No such file")],
)
def test_a_file_without_keys_is_no_open_door(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(KeysError, match=f"^API_KEYS_FILE: .*{sentence}"):
        read(ENTRY, str(file))


def test_each_stored_hash_is_compared_in_constant_time() -> None:
    """Written in the tree of the source: a comparison that ends early can not be measured reliably."""
    find = ast.parse(inspect.getsource(keys)).body
    (keys_class,) = (node for node in find if isinstance(node, ast.ClassDef) and node.name == "Keys")
    (method,) = (node for node in keys_class.body if isinstance(node, ast.FunctionDef) and node.name == "find")
    (loop,) = (node for node in ast.walk(method) if isinstance(node, ast.For))
    assert not [node for node in ast.walk(loop) if isinstance(node, (ast.Break, ast.Return, ast.Continue))]
    assert not [node for node in ast.walk(method) if isinstance(node, ast.Compare)]
    calls = [node.func for node in ast.walk(loop) if isinstance(node, ast.Call)]
    assert [call.id for call in calls if isinstance(call, ast.Name)] == ["compare_digest"]


def test_a_token_is_found_wherever_its_key_is() -> None:
    made = [new_key(f"key{n}") for n in range(20)]
    found = read(",".join(entry for _, entry in made))
    assert found is not None
    for n, (token, _) in enumerate(made):
        key = found.find(token.encode())
        assert key and key.name == f"key{n}"
    for token in (b"", TOKEN.encode(), made[0][0].encode()[:-1], made[0][1].partition(":")[2].encode()):
        assert found.find(token) is None


# At the door


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two keys. `http` has none."""
    log = tmp_path_factory.mktemp("keyed") / "server.log"
    with running(
        log, API_KEYS=f"{ENTRY},{OTHER_ENTRY}", SESSION_LIBRARIES="plain", POOL_SIZE=2, LOG_LEVEL="debug"
    ) as server:
        yield server.wait_ready("plain")
    text = log.read_text()
    assert TOKEN not in text and OTHER_TOKEN not in text, "the log never holds a token"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def raw(server: Server, *lines: bytes, body: bytes = b"") -> tuple[int, bytes]:
    """Status and all bytes of the answer to a request that is written by hand."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = (*lines, b"Host: 127.0.0.1", b"Connection: close", b"Content-Length: %d" % len(body))
        connection.sendall(b"\r\n".join((*head, b"", b"")) + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.split()[1]), answer


OPEN = [
    "/",
    "/livez",
    "/readyz",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/notebook",
    "/notebook/assets/main.js",
    "/docs/assets/docs.js",
    "/?a=b",
]


@pytest.mark.parametrize("path", OPEN)
def test_pages_and_health_need_no_key(keyed: Server, path: str) -> None:
    assert keyed.http.get(keyed.url + path, timeout=10).status_code == 200


CLOSED = [
    ("POST", "/execute"), ("POST", "/run"), ("POST", "/submit"), ("GET", "/sessions"), ("GET", "/sessions/x"),
    ("DELETE", "/sessions/x"), ("POST", "/sessions/x/interrupt"), ("POST", "/sessions/x/complete"),
    ("POST", "/sessions/x/inspect"), ("GET", "/nothing"), ("GET", "/execute"), ("OPTIONS", "/execute"),
    ("HEAD", "/sessions"), ("PUT", "/execute"), ("TRACE", "/execute"), ("POST", "//execute"), ("POST", "/execute/"),
    ("POST", "/%65xecute"), ("POST", "/docs/../execute"), ("POST", "/docs/%2e%2e/execute"), ("POST", "/execute%00"),
    ("GET", "//"), ("GET", "/docs/"), ("GET", "/docs/../sessions"), ("GET", "/%2f/../sessions"),
    ("GET", "/sessions?/docs"), ("GET", "/sessions#/docs"), ("GET", "/sessions;/docs"),
    ("GET", "/docs/assets"), ("GET", "/DOCS"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_everything_else_does(keyed: Server, method: str, path: str) -> None:
    status, answer = raw(keyed, f"{method} {path} HTTP/1.1".encode(), body=b'{"code": "1"}')
    assert status == 401, answer
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"www-authenticate: bearer" in head and b"content-type: application/json" in head
    assert b"x-request-id" in head


@pytest.mark.parametrize(
    "path", ["/docs/assets/../../execute", "/docs/assets/%2e%2e/%2e%2e/sessions", "/notebook/assets//etc/passwd"]
)
def test_no_road_leads_through_an_open_folder(keyed: Server, path: str) -> None:
    for method in (b"GET", b"POST"):
        status, answer = raw(keyed, method + f" {path} HTTP/1.1".encode(), body=b'{"code": "print(6 * 7)"}')
        assert status in (404, 405), answer
        assert b"42" not in answer.partition(b"\r\n\r\n")[2]


WRONG = {
    "another token": b"Authorization: Bearer pyrunner_" + b"A" * 43,
    "the hash itself": b"Authorization: Bearer " + ENTRY[4:].encode(),
    "the name": b"Authorization: Bearer ada",
    "a token that is cut": b"Authorization: Bearer " + TOKEN[:-1].encode(),
    "a token with more behind it": b"Authorization: Bearer " + TOKEN.encode() + b"A",
    "two tokens": b"Authorization: Bearer " + f"{TOKEN} {TOKEN}".encode(),
    "a comma": b"Authorization: Bearer " + f"{TOKEN}, Bearer {TOKEN}".encode(),
    "quotes": b"Authorization: Bearer " + f'"{TOKEN}"'.encode(),
    "no scheme": b"Authorization: " + TOKEN.encode(),
    "another scheme": b"Authorization: Basic " + TOKEN.encode(),
    "a scheme and nothing else": b"Authorization: Bearer",
    "nothing": b"Authorization:",
    "a tab between": b"Authorization: Bearer\t" + TOKEN.encode(),
    "bytes that are no text": b"Authorization: Bearer " + TOKEN.encode() + b"\xff\xc3\xa9",
    "full-width letters": b"Authorization: Bearer " + TOKEN.replace("p", "ｐ").encode(),
    "very long": b"Authorization: Bearer " + b"A" * 30_000,
    "the token twice": b"Authorization: Bearer " + f"{TOKEN}\r\nAuthorization: Bearer {TOKEN}".encode(),
    "a wrong one behind": b"Authorization: Bearer " + f"{TOKEN}\r\nAuthorization: Bearer x".encode(),
    "a wrong one before": b"Authorization: Bearer x\r\nAuthorization: Bearer " + TOKEN.encode(),
    "two in other cases": b"authorization: Bearer " + f"{TOKEN}\r\nAUTHORIZATION: Bearer {OTHER_TOKEN}".encode(),
    "another header": b"X-Authorization: Bearer " + TOKEN.encode(),
    "a proxy's header": b"Proxy-Authorization: Bearer " + TOKEN.encode(),
    "a name with an underscore": b"Authorization_: Bearer " + TOKEN.encode(),
    "a cookie": b"Cookie: Authorization=Bearer " + TOKEN.encode(),
}  # fmt: skip


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG.keys())
def test_what_is_not_one_key_is_none(keyed: Server, header: bytes) -> None:
    status, answer = raw(keyed, b"GET /sessions HTTP/1.1", header)
    assert status == 401, answer
    assert TOKEN.encode() not in answer


@pytest.mark.parametrize(
    "where", [f"/sessions?key={TOKEN}", f"/sessions?Authorization=Bearer%20{TOKEN}"], ids=["key", "Authorization"]
)
def test_a_key_in_the_address_is_none(keyed: Server, where: str) -> None:
    assert keyed.http.get(keyed.url + where, timeout=10).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_the_scheme_and_the_header_have_any_case(keyed: Server, name: str, scheme: str) -> None:
    assert raw(keyed, b"GET /sessions HTTP/1.1", f"{name}: {scheme}{TOKEN}  ".encode())[0] == 200


def test_a_wrong_key_is_answered_as_a_missing_one_but_for_the_sentence(keyed: Server) -> None:
    missing = keyed.http.get(f"{keyed.url}/sessions", timeout=10)
    wrong = keyed.http.get(f"{keyed.url}/sessions", headers=bearer("x"), timeout=10)
    assert missing.json() == {"error": "This server wants a key: send it in the header Authorization: Bearer KEY"}
    assert set(wrong.json()) == {"error"} and wrong.json() != missing.json()
    told = [{name: value for name, value in answer.headers.items()} for answer in (missing, wrong)]
    for headers in told:
        for own in ("x-request-id", "content-length", "date"):
            headers.pop(own, None)
    assert told[0] == told[1]
    assert told[0]["www-authenticate"] == "Bearer"


def test_it_is_answered_before_a_body_is_read(keyed: Server) -> None:
    host, port = keyed.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_the_key_of_one_request_is_not_that_of_the_next_on_its_connection(keyed: Server) -> None:
    first = f"GET /sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    second = "GET /sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    host, port = keyed.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall((first + second).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"401"]


def test_a_host_that_is_not_ours_is_refused_before_its_key_is_looked_at(keyed: Server) -> None:
    answer = keyed.http.get(f"{keyed.url}/sessions", headers={"Host": "elsewhere"}, timeout=10)
    assert answer.status_code == 421


# The process


def fails(tmp_path: Path, **env: str) -> str:
    """What a server says that does not start."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYRUNNER_")}
    given = {f"PYRUNNER_{name}": value for name, value in env.items()}
    command = [sys.executable, str(ROOT / "run.py"), "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, env=clean | given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    return done.stderr


def test_a_server_with_a_malformed_key_does_not_start(tmp_path: Path) -> None:
    said = fails(tmp_path, API_KEYS=f"{ENTRY},bob:{TOKEN}")
    assert said.startswith("run.py: API_KEYS: entry 2 is not NAME:SHA256-HEX")
    assert TOKEN not in said and ENTRY not in said and said.count("\n") == 1


def test_the_help_shows_no_key(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"API_KEYS={ENTRY}\n")
    env = os.environ | {"API_KEYS": OTHER_ENTRY}
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "--help"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert "API_KEYS_FILE" in done.stdout
    assert ENTRY not in done.stdout and OTHER_ENTRY not in done.stdout


def test_no_log_has_a_key_and_the_audit_log_has_its_name(start_server: Callable[..., Server]) -> None:
    server = start_server(
        API_KEYS=f"{ENTRY}:requests=3", LOG_FORMAT="json", LOG_LEVEL="debug", SESSION_LIBRARIES="plain", POOL_SIZE=1
    ).wait_ready("plain")

    def ask(token: str, path: str) -> int:
        url, body = server.url + path, {"code": "1"}
        return requests.post(url, json=body, headers=bearer(token), timeout=30).status_code

    asked = [
        ask(token, path) for token in (TOKEN, OTHER_TOKEN) for path in ("/execute", "/run", f"/{token}", "/submit")
    ]
    assert asked == [200, 200, 404, 200, 401, 401, 401, 401]
    assert ask(TOKEN, "/run") == 429
    raw(server, b"POST /run HTTP/1.1", b"Authorization: Bearer " + OTHER_TOKEN.encode(), b"Broken")
    events = until(lambda: [event for event in server.events() if event["logger"] == "audit"])
    assert [event["event"] for event in events] == ["execution", "run", "submission"]
    assert {event["key"] for event in events} == {"ada"}
    assert server.lines is not None
    for text in (server.lines.read_text(), server.log.read_text()):
        assert TOKEN not in text and OTHER_TOKEN not in text


def test_keys_are_read_again_on_sighup(start_server: Callable[..., Server], tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(ENTRY)
    server = start_server(API_KEYS_FILE=file, SESSION_LIBRARIES="plain", POOL_SIZE=1)

    def status(token: str) -> int:
        return requests.get(f"{server.url}/sessions", headers=bearer(token), timeout=10).status_code

    assert (status(TOKEN), status(OTHER_TOKEN)) == (200, 401)
    file.write_text(f"{OTHER_ENTRY}\n")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: status(OTHER_TOKEN) == 200)
    assert status(TOKEN) == 401, "a key that is no longer there is no key at once"
    file.write_text(f"{ENTRY}\nnonsense:{TOKEN}\n")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "line 2 is not" in server.log.read_text())
    assert (status(TOKEN), status(OTHER_TOKEN)) == (401, 200), "they stay as they were"
    assert TOKEN not in server.log.read_text()


def test_the_gate_lets_in_whom_it_knows() -> None:
    """What the server's answers can not show: a request that is let in has its key, the one that is not has none."""
    found = read(ENTRY)
    assert found is not None
    gate = Gate(found, Quotas())
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/sessions",
        "headers": [(b"authorization", b"Bearer " + TOKEN.encode())],
    }

    async def names() -> list[str | None]:
        told = []
        await gate.admit(scope)
        told.append(keys.KEY.get())
        await gate.admit(scope | {"path": "/"})
        told.append(keys.KEY.get())
        with pytest.raises(Unauthorized):
            await gate.admit(scope | {"headers": []})
        told.append(keys.KEY.get())
        return [key and key.name for key in told]

    assert asyncio.run(names()) == ["ada", None, None]
