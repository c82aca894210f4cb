"""What each key has used of its quota. Counted in this process: several gateways count each for itself."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.strategies import MovingWindowRateLimiter

from server.keys import Key
from server.windows import Windows

_US = 1_000_000  # CPU time is counted in microseconds


@dataclass(frozen=True, slots=True)
class Standing:
    """How a key stands with one of its limits. `reset_at`: when room comes back, in seconds since 1970."""

    limit: int
    remaining: int
    reset_at: int


class QuotaExceeded(Exception):
    """A key has used what it may. `retry_after`: whole seconds until there is room again."""

    def __init__(self, sentence: str, retry_after: int, limit: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
        self.standing = Standing(limit, 0, math.ceil(time.time()) + retry_after)


class Quotas:
    """`clock`: the time in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._windows = Windows(clock)
        self._limiter = MovingWindowRateLimiter(self._windows)

    async def admit(self, key: Key) -> Standing | None:
        """Count a request in; how the key then stands with its requests, if they are limited. Raises QuotaExceeded."""
        if key.quota.cpu_s:
            item = _cpu_time(key)
            if not await self._limiter.test(item, key.name):
                raise self._exceeded(key, item, key.quota.cpu_s, "CPU seconds")
        if not key.quota.requests:
            return None
        item = _requests(key)
        if not await self._limiter.hit(item, key.name):
            raise self._exceeded(key, item, key.quota.requests, "requests")
        stats = await self._limiter.get_window_stats(item, key.name)
        reset_at = time.time() + stats.reset_time - self._windows.clock()
        return Standing(key.quota.requests, stats.remaining, math.ceil(reset_at))

    def charge(self, key: Key, cpu_s: float) -> None:
        """Count in what a request has used. What is more than there was room for is owed in the minutes that follow."""
        if key.quota.cpu_s:
            item = _cpu_time(key)
            self._windows.charge(item.key_for(key.name), item.amount, item.get_expiry(), math.ceil(cpu_s * _US))

    def _exceeded(self, key: Key, item: RateLimitItem, limit: int, what: str) -> QuotaExceeded:
        wait_s = math.ceil(self._windows.wait_s(item.key_for(key.name), item.amount, item.get_expiry()))
        sentence = f"the key {key.name} has used its {limit} {what} of a minute: there is room again in {wait_s} s"
        return QuotaExceeded(sentence, max(1, wait_s), limit)


def _requests(key: Key) -> RateLimitItem:
    return RateLimitItemPerMinute(key.quota.requests, namespace="requests")


def _cpu_time(key: Key) -> RateLimitItem:
    return RateLimitItemPerMinute(key.quota.cpu_s * _US, namespace="cpu")
