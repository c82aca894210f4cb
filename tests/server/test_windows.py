"""Moving windows: never more than the limit in any minute, and what is owed is paid."""

import asyncio
import random

import pytest
from limits import RateLimitItemPerMinute
from limits.aio.strategies import MovingWindowRateLimiter

from server.windows import Windows


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Limited:
    """A window of a minute, by the strategy that uses it."""

    def __init__(self, limit: int) -> None:
        self.clock = Clock()
        self.windows = Windows(self.clock)
        self._limiter = MovingWindowRateLimiter(self.windows)
        self._item = RateLimitItemPerMinute(limit)
        self._key = self._item.key_for("somebody"), limit, 60

    def hit(self) -> bool:
        return asyncio.run(self._limiter.hit(self._item, "somebody"))

    def test(self) -> bool:
        return asyncio.run(self._limiter.test(self._item, "somebody"))

    def stats(self) -> tuple[float, int]:
        told = asyncio.run(self._limiter.get_window_stats(self._item, "somebody"))
        return told.reset_time - self.clock.now, told.remaining

    def charge(self, amount: int) -> None:
        self.windows.charge(*self._key, amount)

    def wait_s(self) -> float:
        return self.windows.wait_s(*self._key)


def test_as_many_as_the_limit_pass_and_the_next_when_the_first_is_past() -> None:
    limited = Limited(3)
    assert limited.stats() == (0, 3)
    assert [limited.hit() for _ in range(5)] == [True, True, True, False, False]
    assert limited.stats() == (60, 0)
    limited.clock.now += 59.9
    assert not limited.hit()
    assert limited.wait_s() == pytest.approx(0.1)
    limited.clock.now += limited.wait_s()
    assert [limited.hit() for _ in range(4)] == [True, True, True, False]


def test_in_no_minute_are_there_more_than_the_limit() -> None:
    limited, chance, passed = Limited(10), random.Random(7), []
    for _ in range(3000):
        limited.clock.now += chance.expovariate(1)
        if limited.hit():
            passed.append(limited.clock.now)
    assert len(passed) > 400, "and hardly fewer"
    assert all(later - first >= 60 for first, later in zip(passed, passed[10:], strict=False))


def test_the_wait_is_true() -> None:
    limited, chance = Limited(1000), random.Random(7)
    for _ in range(200):
        limited.charge(chance.randrange(600))
        limited.clock.now += chance.random() * 20
        wait_s = limited.wait_s()
        if wait_s:
            assert not limited.test()
            limited.clock.now += wait_s * 0.999
            assert not limited.test()
            limited.clock.now += wait_s * 0.001 + 1e-6
        assert limited.test()


def test_what_is_charged_beyond_the_limit_is_owed() -> None:
    limited = Limited(10)
    limited.charge(25)
    assert limited.stats() == (60, 0)
    assert limited.wait_s() == 120, "two whole minutes, and half of the third"
    limited.clock.now += 60
    assert not limited.test()
    assert limited.wait_s() == 60
    limited.clock.now += 60
    assert limited.stats() == (60, 5)


def test_a_debt_is_paid_while_nobody_looks() -> None:
    limited = Limited(10)
    limited.charge(100)
    limited.clock.now += 10_000
    assert limited.stats()[1] == 10


def test_the_largest_debt_takes_no_time_to_reckon() -> None:
    limited = Limited(1000)
    for _ in range(500):
        limited.clock.now += 0.11
        limited.charge(2)
    limited.charge(10**15)
    assert limited.wait_s() == pytest.approx(10**12 * 60 + 60 - 500 * 0.11 + 0.11, rel=1e-9)
    limited.clock.now += 10**12 * 60
    assert limited.wait_s() == pytest.approx(5.1, abs=0.02)
    limited.clock.now += 120
    assert limited.stats() == (0, 1000)


def test_what_is_owed_is_reckoned_as_if_each_entry_were_paid() -> None:
    chance = random.Random(7)
    for _ in range(20):
        limited, often = Limited(20), Limited(20)
        for _ in range(chance.randrange(1, 30)):
            amount, pause = chance.randrange(40), chance.choice((0.5, 5.0, 61.0, 500.0))
            for one in (limited, often):
                one.charge(amount)
            limited.clock.now += pause
            for _ in range(40):  # who looks often never sees whole windows go by
                often.clock.now += pause / 40
                often.test()
            often.clock.now = limited.clock.now
            assert limited.stats()[1] == often.stats()[1]
            assert limited.wait_s() == pytest.approx(often.wait_s(), abs=1e-3)


def test_in_the_long_run_no_more_is_used_than_the_limit() -> None:
    limited, chance, used = Limited(60), random.Random(7), 0
    begin = limited.clock.now
    while limited.clock.now < begin + 100_000:
        limited.clock.now += 30
        if limited.test():
            for _ in range(10):  # as many at once, none of which knew of the others
                used += (amount := chance.randrange(30))
                limited.charge(amount)
    assert used <= 60 * (100_000 / 60) + 300


def test_a_busy_window_is_small() -> None:
    limited = Limited(1_000_000)
    for _ in range(20_000):
        limited.clock.now += 0.003
        limited.charge(1)
    assert limited.stats()[1] == 1_000_000 - 20_000
    (window,) = limited.windows._windows.values()
    assert len(window._entries) <= 601
