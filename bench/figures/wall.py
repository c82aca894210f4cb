"""What the wall around workers costs: a birth, and a warm execution, with it and without."""

from collections.abc import Iterator
from statistics import median

from bench.connection import Connection
from bench.context import Context
from bench.results import Figure, Result, Row
from bench.servers import PyRunner

_PRINT = "print(1)"
_WITHOUT = {"SANDBOX_STEPS": "session,descriptors,parent", "ALLOW_STUBS_ONLY": "true"}


def measure(context: Context) -> Iterator[Result]:
    """In turn on two servers without a pool, so that a new session waits for its worker to be born."""
    with (
        PyRunner(context.scratch, POOL_SIZE=0) as walled,
        PyRunner(context.scratch, POOL_SIZE=0, **_WITHOUT) as bare,
        walled.connect() as inside,
        bare.connect() as outside,
    ):
        yield from _births(inside, outside, context.pick(100, 30))
        yield from _warm(inside, outside, context.pick(2000, 500))


def _births(inside: Connection, outside: Connection, count: int) -> Iterator[Result]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        for http, seconds in zip((inside, outside), times, strict=True):
            answer, took_s = http.execute(_PRINT)
            seconds.append(took_s)
            http.delete(answer["id"])
    with_wall, without = times
    yield Row.of_seconds("new session, no pool, with the wall", with_wall)
    yield Row.of_seconds("new session, no pool, without", without)
    cost_ms = 1e3 * (median(with_wall) - median(without))
    yield Figure("the wall's part of a worker's birth", cost_ms, "ms", at_most=2, note="median with it less without")


def _warm(inside: Connection, outside: Connection, count: int) -> Iterator[Result]:
    ids = [http.execute(_PRINT)[0]["id"] for http in (inside, outside)]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        for http, session, seconds in zip((inside, outside), ids, times, strict=True):
            seconds.append(http.execute(_PRINT, session)[1])
    ratio = median(times[0]) / median(times[1])
    yield Figure("warm p50 with the wall / without", ratio, at_most=1.1, note="one client, in turn")
