"""The log: JSON lines that all parse, with the request that they belong to, and nothing that anybody sent."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.conftest import ROOT, Server, until

MARKER = "pomegranate"
KEYS = ["time", "level", "logger", "message", "role"]


def start(start_server: Callable[..., Server], **settings: Any) -> Server:
    return start_server(LOG_FORMAT="json", SESSION_LIBRARIES="plain", POOL_SIZE=1, **settings)


def test_each_line_is_an_event_with_the_keys(start_server: Callable[..., Server]) -> None:
    server = start(start_server, LOG_LEVEL="debug").wait_ready("plain")
    server.execute("print(1)")
    events = server.events()
    assert len(events) > 10, "the steps of the wall among them"
    for event in events:
        assert list(event)[:5] == KEYS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["time"])
        assert abs(datetime.fromisoformat(event["time"]) - datetime.now(UTC)) < timedelta(minutes=1)
        assert event["level"] in ("DEBUG", "INFO", "WARNING", "ERROR") and event["role"] == "all"
    assert [event["message"] for event in events if "url" in event] == ["listening"]
    assert server.log.read_text() == "", "all of it is on stdout"


def test_the_address_is_told_at_each_level(start_server: Callable[..., Server]) -> None:
    server = start(start_server, LOG_LEVEL="error")
    assert [event["logger"] for event in server.events()] == ["server.address"]


def send_all_over(server: Server) -> None:
    """The marker, wherever a request can have one."""
    url, http = server.url, server.http
    json_type = {"Content-Type": "application/json"}
    marked: list[dict[str, Any]] = [
        {"code": f"print('{MARKER}')\n'{MARKER}'"},
        {"code": f"import sys\nprint(input(), file=sys.stderr)\nraise ValueError('{MARKER}')", "stdin": MARKER},
        {"code": f"# {MARKER}\nimport os\nos.write(1, b'{MARKER}')\nos._exit(3)"},
        {"code": f"'{MARKER}'\nwhile True: pass", "timeout": 0.1},
        {"code": f"x = '{MARKER}'\nbytearray(2**30)"},
        {"code": f"display({{'text/plain': '{MARKER}'}})"},
        {"code": "1", "id": MARKER},
        {"code": "1", MARKER: MARKER},
        {"code": "1", "timeout": MARKER},
        {"code": [MARKER]},
        {"code": f"\ud800{MARKER}"},
    ]
    for path in ("execute", "run"):
        for body in marked:
            http.post(f"{url}/{path}", json.dumps(body), headers=json_type, timeout=10)
        for data in (
            f'{{"{MARKER}',
            f"{MARKER}",
            f'{{"code": "{MARKER}"',
            f'["{MARKER}"]',
            f'{{"code": "\\{MARKER}"}}',
        ):
            http.post(f"{url}/{path}", data, headers=json_type, timeout=10)
            http.post(f"{url}/{path}", data, headers={"Content-Type": f"text/{MARKER}"}, timeout=10)
    events = {"Accept": "text/event-stream"}
    http.post(f"{url}/execute", json=marked[0], headers=events, timeout=10)
    for fields in (
        {"code": f'const char *f(void) {{ return "{MARKER}"; }}', "tests": f"assert(f()[0] == 1 /* {MARKER} */);"},
        {"code": f"int {MARKER}(void) {{ return x; }}"},
        {"code": f"int f(void) {{ return {MARKER}(); }}", "blacklisted": [MARKER]},
        {"code": "int f;", "flags": [f"-f{MARKER}"]},
        {
            "code": f'#include <stdio.h>\nvoid f(void) {{ puts("{MARKER}"); __builtin_trap(); }}',
            "tests": "f(); assert(1);",
        },
        {"code": "int f;", "stdin": MARKER, "whitelisted": [MARKER]},
    ):
        http.post(f"{url}/submit", json=fields, timeout=60)
    for path in (MARKER, f"sessions/{MARKER}", f"docs/assets/{MARKER}", f"%0a{MARKER}", f"?{MARKER}"):
        http.get(f"{url}/{path}", headers={"X-Request-ID": MARKER, "User-Agent": MARKER}, timeout=10)
    http.post(f"{url}/sessions/{MARKER}/complete", json={"text": MARKER}, timeout=10)
    http.get(url, headers={"Host": f"{MARKER}.example"}, timeout=10)
    host, _, port = url.removeprefix("http://").partition(":")
    address = host, int(port)
    for data in (
        f"{MARKER} / HTTP/1.1\r\n\r\n",
        f"GET / {MARKER}\r\n\r\n",
        f"GET /{MARKER}",
        f"POST /{MARKER} HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    ):
        with socket.create_connection(address) as connection:
            connection.sendall(data.encode())


@pytest.mark.parametrize("form", ["json", "text"])
def test_nothing_that_was_sent_or_printed_is_in_the_log(start_server: Callable[..., Server], form: str) -> None:
    server = start_server(
        LOG_FORMAT=form, LOG_LEVEL="debug", AUDIT_LOG="true", SESSION_LIBRARIES="plain", POOL_SIZE=2, MAX_SESSIONS=100
    ).wait_ready("plain")
    send_all_over(server)
    assert server.stop() == 0
    told = server.log.read_text() + (server.lines.read_text() if server.lines else "")
    assert told.count("audit") >= 15
    assert MARKER not in told
    if server.lines:
        assert all(list(event)[:5] == KEYS for event in server.events())


def test_a_line_names_the_request_that_it_belongs_to(start_server: Callable[..., Server]) -> None:
    server = start(start_server, LOG_LEVEL="debug", AUDIT_LOG="false")
    connection = HTTPConnection(server.url.removeprefix("http://"))
    connection.putrequest("POST", "/execute")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b'{"code": ')
    server.health()  # it has arrived
    connection.close()

    def left() -> list[dict[str, Any]]:
        return [event for event in server.events() if "the client left" in event["message"]]

    (line,) = until(left)
    assert re.fullmatch("[0-9a-f]{16}", line["request"]) and line["message"].startswith(f"request {line['request']}: ")
    assert all("request" not in event for event in server.events() if event["logger"].startswith("sessions."))


def test_why_the_server_does_not_start_is_a_line_too(start_server: Callable[..., Server]) -> None:
    first = start(start_server)
    port = first.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", "--port", port],
        env={"PYRUNNER_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (1, "")
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["level"] == "CRITICAL" and f"cannot listen on 127.0.0.1:{port}" in last["message"]


FAULTS = f"""
import asyncio, json, sys
from pydantic import BaseModel
from server import logs

class Body(BaseModel):
    code: int

logs.begin(sys.argv[1], "info", "all")

def fails(work):
    try:
        work()
    except BaseException:
        logs.uncaught.exception("it failed")

def chained():
    try:
        int("{MARKER}")
    except ValueError as error:
        raise OSError(28, "No space left on device") from error

def grouped():
    raise ExceptionGroup("two", [KeyError("{MARKER}"), RuntimeError("a sentence")])

def parse():
    Body(code="{MARKER}")

async def forget():
    asyncio.get_running_loop().set_exception_handler(logs.on_loop_error)
    task = asyncio.create_task(asyncio.to_thread(int, "{MARKER}"))
    while not task.done():
        await asyncio.sleep(0)
    del task

for work in (chained, grouped, parse, lambda: json.loads("[{MARKER}"), lambda: "{MARKER}\\ud800".encode("ascii")):
    fails(work)
asyncio.run(forget())
import warnings
warnings.warn("a warning")
raise RuntimeError("the end")
"""


def faults(form: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", FAULTS, form]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    return done


def test_the_text_of_an_exception_is_left_out_where_it_may_quote() -> None:
    done = faults("json")
    assert done.stderr == ""
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert MARKER not in re.sub(r'File \\"<string>\\"', "", done.stdout)
    chained, grouped, parsed, decoded, encoded, forgotten, warned, last = events
    assert "ValueError: (its text is left out" in chained["exception"]
    assert chained["exception"].endswith("OSError: [Errno 28] No space left on device")
    assert "KeyError: (its text" in grouped["exception"] and "RuntimeError: a sentence" in grouped["exception"]
    for event, kind in ((parsed, "ValidationError"), (decoded, "JSONDecodeError"), (encoded, "UnicodeEncodeError")):
        assert f"{kind}: (its text is left out: it may quote a request)" in event["exception"]
    assert forgotten["message"] == "Task exception was never retrieved"
    assert "ValueError: (its text" in forgotten["exception"]
    assert warned["logger"] == "py.warnings"
    assert (last["level"], last["message"]) == ("CRITICAL", "the process ends by an exception")
    assert last["exception"].startswith("Traceback (most recent call last):\n")
    assert last["exception"].endswith("RuntimeError: the end")


def test_so_it_is_as_text() -> None:
    done = faults("text")
    assert done.stdout == "" and MARKER not in done.stderr
    assert done.stderr.count("Traceback (most recent call last):") >= 8
    assert "No space left on device" in done.stderr
