"""An execution as it happens: what it prints and shows in the order in which it did, then its outcome.

What is printed is looked for on the tapes every 20 ms, so that printing costs the worker nothing, and a reader that
is slow holds up nobody but itself.
"""

import asyncio
import codecs
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Iterator
from typing import Any, NamedTuple

from sandbox.outcome import Outcome
from sandbox.wire import Shown
from sessions.execution import Execution
from sessions.session import Session

_POLL_S = 0.02
_SILENCE_S = 1.0


class News(NamedTuple):
    """`name` is `session`, `stdout`, `stderr` or `display`; or `silence` when there is nothing to tell."""

    name: str
    data: dict[str, Any]


Event = News | Outcome
_SILENCE = News("silence", {})


async def follow(execution: Execution, work: Coroutine[Any, Any, Outcome]) -> AsyncGenerator[Event, None]:
    """News of an execution, and last its Outcome. Raises what `work` raises.

    News begin when it has a session. Closed before its end, it abandons the execution and waits for `work`.
    """
    working = asyncio.create_task(work, name="streamed execution")
    try:
        while not working.done() and execution.session is None:
            await asyncio.wait([working], timeout=_POLL_S)
        if working.done():
            working.result()
        session = execution.session
        assert isinstance(session, Session)
        yield News("session", {"id": session.id})
        teller = _Teller(execution, session)
        told_at = asyncio.get_running_loop().time()
        while not working.done():
            for news in teller.news():
                told_at = asyncio.get_running_loop().time()
                yield news
            if asyncio.get_running_loop().time() - told_at >= _SILENCE_S:
                told_at = asyncio.get_running_loop().time()
                yield _SILENCE
            await asyncio.wait([working], timeout=_POLL_S)
        outcome = working.result()
        for news in teller.rest(outcome):
            yield news
        yield outcome
    finally:
        if not working.done():
            execution.abandon()
            await asyncio.wait([working])
            if not working.cancelled():
                working.exception()  # nobody is left to be told


class _Teller:
    """What was told of one execution, and what is new."""

    def __init__(self, execution: Execution, session: Session) -> None:
        self._execution = execution
        self._session = session
        self._texts = _Text("stdout"), _Text("stderr")
        self._shown = 0

    def news(self) -> Iterator[News]:
        """What has been printed and shown since the last look."""
        out, err = self._texts
        printed = self._session.unread(self._execution, out.at, err.at)
        shown = self._execution.shown[self._shown :]  # taken at once: both may grow while news are sent
        is_all = self._session.is_heard_out()  # else a bundle is on its way that belongs before the end of the text
        for one in shown:
            if any(text.at + len(data) < end for text, data, end in self._before(one, printed)):
                is_all = False  # the worker has ended it this moment: the outcome will have the text
                break
            printed = yield from self._tell_before(one, printed)
            yield News("display", one.bundle)
            self._shown += 1
        if is_all:
            yield from self._tell(printed)

    def rest(self, outcome: Outcome) -> Iterator[News]:
        """What is in the outcome and was not told yet; the session's tapes may be another execution's by now."""
        out, err = self._texts
        printed = out.rest(outcome.printed.stdout), err.rest(outcome.printed.stderr)
        for one in self._execution.shown[self._shown :]:
            printed = yield from self._tell_before(one, printed)
            yield News("display", one.bundle)
        yield from self._tell(printed, last=True)
        yield from (News("display", bundle) for bundle in outcome.outputs[len(self._execution.shown) :])

    def _before(self, shown: Shown, printed: tuple[bytes, bytes]) -> Iterable[tuple["_Text", bytes, int]]:
        """Each stream, what is there of it, and the place in it where the bundle was shown."""
        return zip(self._texts, printed, (shown.stdout_bytes, shown.stderr_bytes), strict=True)

    def _tell_before(self, shown: Shown, printed: tuple[bytes, bytes]) -> Generator[News, None, tuple[bytes, bytes]]:
        """What was printed before it; returns what is left."""
        out, err = (max(0, end - text.at) for text, _, end in self._before(shown, printed))
        yield from self._tell((printed[0][:out], printed[1][:err]))
        return printed[0][out:], printed[1][err:]

    def _tell(self, printed: Iterable[bytes], *, last: bool = False) -> Iterator[News]:
        for text, data in zip(self._texts, printed, strict=True):
            if news := text.decode(data, last=last):
                yield News(text.name, {"text": news})


class _Text:
    """How much of one stream was told. `at`: in bytes of its tape."""

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

    def rest(self, whole: str) -> bytes:
        """What a whole text has beyond what was told."""
        half, _ = self._decoder.getstate()  # of a character: it is in the whole text again
        self._decoder.reset()
        self.at -= len(half)
        return whole[self._chars :].encode()
