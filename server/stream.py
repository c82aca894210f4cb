"""An execution as Server-Sent Events: what it prints and shows as it happens, then the whole answer.

What is printed is looked for on the tapes every 20 ms, so that printing costs the worker nothing, and a reader that
is slow holds up nobody but itself.
"""

import asyncio
import codecs
import json
from collections.abc import Iterable
from typing import Any

from starlette.types import Send

from sandbox.wire import Shown
from server.models import ExecuteAnswer
from sessions.execution import Execution

MEDIA_TYPE = "text/event-stream"
_POLL_S = 0.02
_PING_S = 1.0
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy in front sends on what it gets
]


class Stream:
    """The events of one execution. They begin when it has a session, or is answered without."""

    def __init__(self, send: Send, execution: Execution) -> None:
        self._send = send
        self._execution = execution
        self._texts = _Text("stdout"), _Text("stderr")
        self._shown = 0
        self._silent_since = 0.0

    async def follow(self, answering: asyncio.Task[ExecuteAnswer]) -> None:
        """Send events until it is answered. Raises what it raises, if that is before the first event."""
        while not answering.done() and self._execution.session is None:
            await asyncio.wait([answering], timeout=_POLL_S)
        if answering.done():
            answering.result()
        await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if self._execution.session is not None:
            await self._event("session", {"id": self._execution.session.id})
        while not answering.done():
            await self._tell_news()
            await asyncio.wait([answering], timeout=_POLL_S)
        answer = answering.result()
        await self._tell_rest(answer)
        await self._event("done", answer.model_dump(mode="json"))
        await self._send({"type": "http.response.body", "body": b""})

    async def _tell_news(self) -> None:
        session = self._execution.session
        assert session is not None
        out, err = self._texts
        printed = session.unread(self._execution, out.at, err.at)
        shown = self._execution.shown[self._shown :]  # taken at once: both may grow while an event is sent
        is_all = session.is_heard_out()  # else a bundle is on its way that belongs before the end of the text
        for one in shown:
            if any(text.at + len(data) < end for text, data, end in self._before(one, printed)):
                is_all = False  # the worker has ended it this moment: the answer will have the text
                break
            printed = await self._tell_before(one, printed)
            await self._event("display", one.bundle)
            self._shown += 1
        for text, data in zip(self._texts, printed, strict=True):
            await self._tell(text, data if is_all else b"")
        now = asyncio.get_running_loop().time()
        if now - self._silent_since >= _PING_S:
            self._silent_since = now
            await self._write(b": ping\n\n")

    async def _tell_rest(self, answer: ExecuteAnswer) -> None:
        """What is in the answer and was not sent yet; the session's tapes may be another execution's by now."""
        texts = answer if answer.partial is None else answer.partial
        out, err = self._texts
        printed = out.rest(texts.stdout), err.rest(texts.stderr)
        for one in self._execution.shown[self._shown :]:
            printed = await self._tell_before(one, printed)
            await self._event("display", one.bundle)
        for text, data in zip(self._texts, printed, strict=True):
            await self._tell(text, data, last=True)
        for bundle in answer.outputs[len(self._execution.shown) :]:
            await self._event("display", bundle)

    def _before(self, shown: Shown, printed: tuple[bytes, bytes]) -> Iterable[tuple["_Text", bytes, int]]:
        """Each stream, what is there of it, and the place in it where the bundle was shown."""
        return zip(self._texts, printed, (shown.stdout_bytes, shown.stderr_bytes), strict=True)

    async def _tell_before(self, shown: Shown, printed: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        """Send what was printed before it; returns what is left."""
        left = []
        for text, data, end in self._before(shown, printed):
            count = max(0, end - text.at)
            await self._tell(text, data[:count])
            left.append(data[count:])
        return left[0], left[1]

    async def _tell(self, text: "_Text", data: bytes, *, last: bool = False) -> None:
        news = text.decode(data, last=last)
        if news:
            await self._event(text.name, {"text": news})

    async def _event(self, name: str, data: dict[str, Any]) -> None:
        self._silent_since = asyncio.get_running_loop().time()
        await self._write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


class _Text:
    """How much of one stream was sent. `at`: in bytes of its tape."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.at = 0
        self._chars = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def decode(self, data: bytes, *, last: bool) -> str:
        self.at += len(data)
        news = self._decoder.decode(data, final=last)
        self._chars += len(news)
        return news

    def rest(self, whole: str | None) -> bytes:
        """What a whole text has beyond what was sent."""
        half, _ = self._decoder.getstate()  # of a character: it is in the whole text again
        self._decoder.reset()
        self.at -= len(half)
        return (whole or "")[self._chars :].encode()
