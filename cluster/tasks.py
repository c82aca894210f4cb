"""Tasks that nobody in particular waits for."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Keeps those that it began until they have ended; an event loop would forget them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Have it done beside everything else."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def all_ended(self) -> None:
        """Wait until none is left, with those that are begun meanwhile."""
        while self._tasks:
            await asyncio.wait(self._tasks)
