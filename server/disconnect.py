"""Noticing that a client has left while its execution waits or runs."""

import asyncio
from collections.abc import Callable

from starlette.types import Receive


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
