"""A bounded queue in front of costly work: so many at once, so many waiting, first in first out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


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

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it. Raises QueueFull at once when too many wait."""
        if self._turns.locked() and self.waiting >= self.most_waiting:
            raise QueueFull(f"{self.waiting} {self._what} are waiting already: try again in a moment")
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self._turns.release()
