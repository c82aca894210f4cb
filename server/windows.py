"""Moving windows in memory, for the strategies of the `limits` library.

Its own storage in memory keeps an entry for each unit and sweeps in a thread; here an entry has an amount. And here
may be charged afterwards what nobody knew before: what does not fit counts in the windows that follow.
"""

import math
import time
from collections import deque
from collections.abc import Callable

from limits.aio.storage import MemoryStorage

_STEPS = 600  # of a window: what is used in one step is one entry


class _Window:
    """`length_s`, `limit`: so much may be used in any such time."""

    def __init__(self, length_s: int, limit: int) -> None:
        self._length_s = length_s
        self._step_s = length_s / _STEPS
        self._limit = limit
        self._entries: deque[tuple[float, int]] = deque()  # when, and how much; the oldest first
        self._step_began = -math.inf
        self._owed = 0  # used beyond the limit
        self.used = 0

    def move_to(self, now: float) -> None:
        """Give back what is past. What is owed takes its room."""
        if self._owed >= self._limit:
            self._pay(min(self._owed // self._limit, int((now - self._entries[-1][0]) // self._length_s)))
        entries = self._entries
        while entries and entries[0][0] + self._length_s <= now:
            at, amount = entries.popleft()
            paid = min(amount, self._owed)
            self._owed -= paid
            self.used -= amount - paid
            if paid:
                entries.append((at + self._length_s, paid))

    def use(self, amount: int, now: float) -> None:
        """Count an amount in, whether there is room for it or not."""
        fits = min(amount, self._limit - self.used)
        self._owed += amount - fits
        if fits <= 0:
            return
        self.used += fits
        if self._entries and now - self._step_began < self._step_s:
            fits += self._entries.pop()[1]  # the older is given back with the newer: never too early
        else:
            self._step_began = now
        self._entries.append((now, fits))

    def room_at(self, now: float) -> float:
        """When there will be room for one more."""
        if self.used < self._limit:
            return now
        whole, owed = divmod(self._owed, self._limit)
        wait_s = (whole + 1) * self._length_s
        entries = iter(self._entries)
        at, amount = next(entries)
        while amount <= owed:
            owed -= amount
            at, amount = next(entries)
        return at + wait_s

    def _pay(self, whole: int) -> None:
        """Windows that go by with nothing but debt in them. While anything is owed, a window is full."""
        if whole > 0:
            self._owed -= whole * self._limit
            self._entries = deque((at + whole * self._length_s, amount) for at, amount in self._entries)

    def given_back_at(self, now: float) -> float:
        """When its oldest entry is past."""
        return self._entries[0][0] + self._length_s if self._entries else now


class Windows(MemoryStorage):
    """`clock`: the time in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.clock = clock
        self._windows: dict[str, _Window] = {}

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Use an amount if there is room for it."""
        now, window = self._look(key, limit, expiry)
        fits = window.used + amount <= limit
        if fits:
            window.use(amount, now)
        return fits

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the window began, and what is used of it."""
        now, window = self._look(key, limit, expiry)
        return window.given_back_at(now) - expiry, window.used

    def charge(self, key: str, limit: int, expiry: int, amount: int) -> None:
        """Use an amount that may be more than there is room for."""
        now, window = self._look(key, limit, expiry)
        window.use(amount, now)

    def wait_s(self, key: str, limit: int, expiry: int) -> float:
        """In how many seconds there is room for one more."""
        now, window = self._look(key, limit, expiry)
        return window.room_at(now) - now

    def _look(self, key: str, limit: int, expiry: int) -> tuple[float, _Window]:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(expiry, limit)
        now = self.clock()
        window.move_to(now)
        return now, window
