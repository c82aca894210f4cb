"""Noticing that a client has left while what it asked for waits or runs."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from server.body import ClientGone

T = TypeVar("T")


class Departure:
    """Calls `on_leave` when the client leaves between begin() and end()."""

    def __init__(self, receive: Receive, on_leave: Callable[[], object]) -> None:
        self._receive = receive
        self._on_leave = on_leave
        self._watch: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Watch for it. Most executions have ended before this is worth its cost."""
        self._watch = asyncio.get_running_loop().create_task(self._until_it_leaves(), name="departure")

    def end(self) -> None:
        """Watch no longer."""
        if self._watch is not None:
            self._watch.cancel()

    async def _until_it_leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._on_leave()


async def while_it_stays(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives. When the client leaves it is cancelled, and this raises ClientGone."""
    working = asyncio.create_task(work)
    departure = Departure(receive, working.cancel)
    departure.begin()
    try:
        return await working
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():  # type: ignore[union-attr] # the server itself stops waiting
            working.cancel()
            raise
        raise ClientGone from None
    finally:
        departure.end()
