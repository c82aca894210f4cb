"""A reader of the events of an execution, on a connection of its own."""

import json
import socket
import struct
import time
from http.client import HTTPConnection, HTTPResponse
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.conftest import Server

ACCEPT = {"Content-Type": "application/json", "Accept": "text/event-stream"}


class Event(NamedTuple):
    """One event, or a comment, which has no data. `at`: when it was read."""

    name: str
    data: dict[str, Any]
    at: float


class Events:
    """Asks for an execution, and yields its events up to `done`; raises EOFError where they end without it."""

    def __init__(self, server: Server, code: str, id: str | None = None, **fields: Any) -> None:
        self.connection = HTTPConnection(server.url.removeprefix("http://"), timeout=30)
        body = json.dumps({"code": code, "id": id, **fields})
        self.connection.request("POST", "/execute", body, ACCEPT)
        self._response: HTTPResponse | None = None
        self.session = ""
        self.done: dict[str, Any] = {}

    @property
    def response(self) -> HTTPResponse:
        """The head of the answer; waits for it."""
        if self._response is None:
            self._response = self.connection.getresponse()
        return self._response

    def read(self) -> Event:
        """The next event or comment."""
        lines = []
        while (line := self.response.readline()) not in (b"\n", b""):
            lines.append(line.decode().removesuffix("\n"))
        if not lines:
            raise EOFError("the events end without `done`")
        if lines[0].startswith(":"):
            assert len(lines) == 1
            return Event(lines[0], {}, time.monotonic())
        name, data = lines
        assert name.startswith("event: ") and data.startswith("data: ")
        event = Event(name.removeprefix("event: "), json.loads(data.removeprefix("data: ")), time.monotonic())
        if event.name == "session":
            self.session = event.data["id"]
        elif event.name == "done":
            self.done = event.data
        return event

    def until(self, name: str) -> Event:
        """The next one of that name; those before it are passed over."""
        while (event := self.read()).name != name:
            assert event.name != "done", event
        return event

    def rest(self) -> list[Event]:
        """All to the end without comments, `done` the last of them, and nothing behind it."""
        events = []
        while not self.done:
            event = self.read()
            if not event.name.startswith(":"):
                events.append(event)
        assert self.response.read() == b""
        return events

    def leave(self) -> None:
        """Close the connection without a word of farewell."""
        if self.connection.sock is not None:
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self._response is not None:
            self._response.close()
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._response is not None:
            self._response.close()
        self.connection.close()


def told(events: list[Event]) -> str:
    """What was printed on stdout, and D for each bundle, in order."""
    return "".join({"stdout": event.data.get("text", ""), "display": "D"}.get(event.name, "") for event in events)
