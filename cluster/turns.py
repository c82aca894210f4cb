"""A bounded queue in front of costly work: so many at once, so many waiting, first in first out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cluster.vitals import Queue


class QueueFull(Exception):
    """No place is left in the queue. Its text is a sentence that a person can act on."""


class Turns:
    """`at_once`: how many have their turn at the same time; `most_waiting`: how many wait for theirs.

    `what`: the plural of what waits, for the sentence of a refusal.
    """

    def __init__(self, what: str, at_once: int, most_waiting: int) -> None:
        self._what = what
        self._turns = asyncio.Semaphore(at_once)  # it wakes in the order of arrival
        self.at_once = at_once
        self.most_waiting = most_waiting
        self.active = 0
        self.waiting = 0
        self.on_change: Callable[[], None] = lambda: None

    @property
    def has_turn(self) -> bool:
        """Whether who comes now need not wait."""
        return not self._turns.locked()

    @property
    def has_place(self) -> bool:
        """Whether who comes now is not refused."""
        return self.has_turn or self.waiting < self.most_waiting

    @property
    def figures(self) -> Queue:
        return Queue(self.active, self.at_once, self.waiting, self.most_waiting)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it. Raises QueueFull at once when too many wait."""
        if not self.has_place:
            raise QueueFull(f"{self.waiting} {self._what} are waiting already: try again in a moment")
        self.waiting += 1
        self.on_change()
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
            self.on_change()
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self._turns.release()
            self.on_change()
