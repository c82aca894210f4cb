"""What other servers, and broken ones, may answer."""

from collections.abc import Callable

import pytest
from pyrunner_client import (
    BadRequest,
    Busy,
    PyRunnerError,
    ServerFault,
    ServerGone,
    Session,
    SessionNotFound,
    run_once,
)

from tests.client.conftest import Rogue, answer

DONE = (
    '{"id": "an-id", "stdout": null, "stderr": null, "error": null, "result": "42", "outputs": [], "truncated": false,'
    ' "execution_time": 0.1, "memory_used": 0.1, "state": "kept", "detail": null, "partial": null, "newer": 1}'
)
STREAM = (
    f'event: session\ndata: {{"id": "an-id"}}\n\n: ping\n\nevent: newer\ndata: {{}}\n\nevent: done\ndata: {DONE}\n\n'
)
SSE = "Content-Type: text/event-stream; charset=utf-8"


@pytest.mark.parametrize(
    ("bytes_", "kind", "sentence"),
    [
        (b"", ServerGone, "broke: Remote end closed connection without response"),
        (answer("200 OK", "event: done\n", SSE), ServerGone, "went away while the code ran"),
        (answer("200 OK", STREAM.replace(DONE, "{}"), SSE), ServerFault, "is this a PyRunner server"),
        (answer("200 OK", STREAM.replace(DONE, "{"), SSE), ServerFault, "is this a PyRunner server"),
        (
            answer("200 OK", "<html>", "Content-Type: text/html"),
            ServerFault,
            "200 with some text/html: is this a PyRunner",
        ),
        (answer("200 OK", "[]"), ServerFault, "some application/json: is this a PyRunner"),
        (answer("404 Not Found", "<html>", "Content-Type: text/html"), ServerFault, "404 with some text/html"),
        (answer("404 Not Found", '{"message": "no"}'), ServerFault, "404 with some application/json"),
        (answer("302 Found", "", "Location: https://elsewhere.invalid/execute"), ServerFault, "at https://elsewhere"),
        (answer("500 Oh", '{"error": "Internal server error"}', "X-Request-ID: abc"), ServerFault, "request abc"),
        (
            answer("502 Bad", "<html>", "Content-Type: text/html", "Retry-After: 1"),
            ServerFault,
            "502 with some text/html",
        ),
        (answer("503 Busy", '{"error": "come again"}'), Busy, "come again"),
        (answer("413 Large", '{"error": "The body is too large"}'), BadRequest, "^The body is too large$"),
    ],
)
def test_it_is_named_and_sent_once(
    rogue: Callable[..., Rogue], bytes_: bytes, kind: type[PyRunnerError], sentence: str
) -> None:
    server = rogue(bytes_)
    with pytest.raises(kind, match=sentence):
        Session(server.url).run("1")
    assert server.requests == 1


def test_what_a_newer_server_adds_is_left_out(rogue: Callable[..., Rogue]) -> None:
    session = Session(rogue(answer("200 OK", STREAM, SSE)).url)
    assert session.run("1").result == "42"
    assert session.id == "an-id"


def test_a_refusal_that_says_when_is_tried_again(rogue: Callable[..., Rogue]) -> None:
    busy = answer("503 Busy", '{"error": "come again"}', "Retry-After: 0")
    server = rogue(busy, busy, answer("200 OK", STREAM, SSE))
    assert Session(server.url).run("1").result == "42"
    assert server.requests == 3


def test_patience_ends(rogue: Callable[..., Rogue]) -> None:
    server = rogue(answer("429 Busy", '{"error": "come again"}', "Retry-After: 1"))
    with pytest.raises(Busy, match=r"^come again$") as raised:
        run_once(server.url, "1", patience=0.5)
    assert raised.value.retry_after == 1.0
    assert server.requests == 1


def test_what_was_printed_before_the_connection_broke_is_kept(rogue: Callable[..., Rogue]) -> None:
    events = b'event: session\ndata: {"id": "an-id"}\n\nevent: stdout\ndata: {"text": "so far"}\n\nevent: stdo'
    head = f"HTTP/1.1 200 OK\r\n{SSE}\r\nTransfer-Encoding: chunked\r\n\r\n{len(events):x}\r\n"
    server = rogue(head.encode() + events + b"\r\n")
    with pytest.raises(ServerGone) as raised:
        Session(server.url).run("1")
    assert raised.value.printed.stdout == "so far"
    assert server.requests == 1


def test_a_session_that_is_not_there_is_told_by_its_cause(rogue: Callable[..., Rogue]) -> None:
    server = rogue(answer("404 Not Found", '{"error": "closed after 60 s idle"}'))
    with pytest.raises(SessionNotFound, match=r"^the session is not there: closed after 60 s idle$") as raised:
        Session(server.url, id="x").info()
    assert raised.value.cause == "closed after 60 s idle"
