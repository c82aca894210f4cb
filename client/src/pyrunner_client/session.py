"""A session on a server: one namespace, that every call reaches by the same id."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import quote

import requests

from pyrunner_client.answers import (
    Completion,
    Display,
    Done,
    Event,
    Inspection,
    Printed,
    Result,
    SessionInfo,
    Stderr,
    Stdout,
)
from pyrunner_client.errors import (
    ExecutionFailed,
    MaxSessionsReached,
    PyRunnerError,
    ServerGone,
    SessionLost,
    SessionNotFound,
)
from pyrunner_client.transport import Read, Transport, understanding

_OPENING = "\n"  # code that does nothing


class Session:
    """A session; the first call that needs it opens it on the server, and leaving the `with` closes it.

    A session that was lost stays lost: every later call raises SessionNotFound, none opens another one.
    It is for one thread; others may call `interrupt`, `info` and `close` while that one runs code.

    `url`: of the server. `id`: of an open session to go on with. `timeout`: time limit of each execution in seconds,
    unless it is given its own; None is the server's default. `patience`: for how many seconds a server that says
    that it is busy is asked again. `key`: of the server, if it wants one; None is that of PYRUNNER_KEY.
    """

    def __init__(
        self,
        url: str,
        *,
        id: str | None = None,
        timeout: float | None = None,
        patience: float = 10.0,
        key: str | None = None,
    ) -> None:
        self.id = id
        self.timeout = timeout
        self._transport = Transport(url, patience, key)
        self._closed = False

    @property
    def url(self) -> str:
        return self._transport.url

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Session({self.url!r}, id={self.id!r})"

    def run(self, code: str, *, timeout: float | None = None, stdin: str | None = None, check: bool = False) -> Result:
        """Run code and wait for its end.

        An exception of the code is in `stderr` of the result, a limit that it met in `error`.
        `check`: raise ExecutionFailed for both.
        Raises SessionLost when the namespace is gone; see `errors` for the rest.
        """
        for event in self.stream(code, timeout=timeout, stdin=stdin):
            if isinstance(event, Done):
                if check and event.result.failure is not None:
                    raise ExecutionFailed(event.result)
                return event.result
        raise AssertionError("a stream ends with Done or raises")

    def stream(
        self, code: str, *, timeout: float | None = None, stdin: str | None = None
    ) -> Generator[Event, None, None]:
        """Run code; yields Stdout, Stderr and Display as they happen, at last one Done.

        The code is sent when the first event is asked for. Leaving the loop early interrupts it.
        Raises as `run` does, in place of Done.
        """
        self._check_open()
        body = {
            "code": code,
            "id": self.id,
            "timeout": self.timeout if timeout is None else timeout,
            "stdin": stdin,
        }
        printed: list[Event] = []
        try:
            with self._transport.reply("POST", "/execute", body, accept="text/event-stream") as reply:
                events = self._events(reply)
                while True:
                    with understanding(reply):
                        event = next(events)
                    if isinstance(event, Done):
                        self._check_kept(event.result)
                        yield event
                        return
                    printed.append(event)
                    yield event
        except ServerGone as gone:
            raise ServerGone(str(gone), _printed(printed)) from gone

    def open(self) -> str:
        """The session's id; opens it if no call has done so yet."""
        if self.id is None:
            self.run(_OPENING)
        assert self.id is not None
        return self.id

    def complete(self, text: str, cursor: int | None = None) -> Completion:
        """The names that may stand at the cursor, by default the end of the text. Raises Busy while code runs."""
        return self._ask(Completion.of, "POST", "/complete", {"text": text, "cursor": cursor})

    def inspect(self, text: str, cursor: int | None = None) -> Inspection:
        """Signature and documentation of the name at the cursor. Raises Busy while code runs."""
        return self._ask(Inspection.of, "POST", "/inspect", {"text": text, "cursor": cursor})

    def interrupt(self) -> bool:
        """Interrupt what runs in the session, from another thread; it ends with the error `execution interrupted`.

        False when nothing ran.
        """
        return self.id is not None and self._ask(lambda answer: bool(answer["interrupted"]), "POST", "/interrupt")

    def info(self) -> SessionInfo:
        """The session's state and figures."""
        return self._ask(SessionInfo.of, "GET")

    def close(self) -> None:
        """Close the session. If the server cannot be reached, it closes it by itself when it is idle for long."""
        if not self._closed and self.id is not None:
            with suppress(PyRunnerError):
                self._ask(lambda nothing: None, "DELETE")
        self._closed = True
        self._transport.close()

    def _ask(
        self, read: Callable[[Any], Read], method: str, what: str = "", body: dict[str, Any] | None = None
    ) -> Read:
        self._check_open()
        return self._transport.ask(read, method, f"/sessions/{quote(self.open(), safe='')}{what}", body)

    def _check_open(self) -> None:
        if self._closed:
            raise SessionNotFound("it was closed here")

    def _events(self, reply: requests.Response) -> Iterator[Event]:
        """The events of an answer; its session event gives us our id."""
        parsed = _parsed(reply.iter_content(None))
        for name, data in parsed:
            if name == "session":
                self.id = data["id"]
            elif name == "stdout":
                yield Stdout(data["text"])
            elif name == "stderr":
                yield Stderr(data["text"])
            elif name == "display":
                yield Display(data)
            elif name == "error":
                raise ServerGone(data["error"])
            elif name == "done":
                result = Result.of(data)
                with suppress(requests.exceptions.RequestException):  # to its end, so that the connection can go on
                    for _ in parsed:
                        pass
                yield Done(result)
                return
        raise ServerGone("the server went away while the code ran")

    def _check_kept(self, result: Result) -> None:
        """Raises SessionLost, SessionNotFound or MaxSessionsReached."""
        if result.error == "max sessions reached":
            raise MaxSessionsReached(result.detail or result.error)
        if result.error == "session not found":
            raise SessionNotFound(result.detail or result.error, result)
        if result.state == "lost":
            raise SessionLost(result.failure or "nobody knows how", result)


def _parsed(chunks: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """Name and data of each server-sent event."""
    name, data = "", ""
    for line in _lines(chunks):
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = value
        elif not line and data:
            yield name, json.loads(data)
            name = data = ""


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    held: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        held.append(first)
        for other in others:
            yield b"".join(held).decode()
            held = [other]


def _printed(events: Iterable[Event]) -> Printed:
    return Printed(
        "".join(event.text for event in events if isinstance(event, Stdout)),
        "".join(event.text for event in events if isinstance(event, Stderr)),
    )
