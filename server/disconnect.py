"""Noticing that a client has left while its execution runs."""

import asyncio
from collections.abc import Callable
from types import TracebackType

from starlette.types import Receive

_NOT_BEFORE_S = 0.02  # most executions have ended by then, and pay nothing


class Departure:
    """Calls `on_leave` if the client leaves inside the `with` block."""

    def __init__(self, receive: Receive, on_leave: Callable[[], None]) -> None:
        self._receive = receive
        self._on_leave = on_leave
        self._watch: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_NOT_BEFORE_S, self._start)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def _start(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._until_it_leaves(), name="departure")

    async def _until_it_leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._on_leave()
