"""Limits: how late a timeout's answer is, how soon a crash is told, and whether a memory spike is ever missed."""

import time
from collections.abc import Iterator
from statistics import median

from bench.connection import Connection
from bench.context import Context
from bench.results import Figure, Result, Row
from bench.servers import LIMIT_S, MAX_SESSIONS, wait_warm

_ENDLESS = "while True: pass"
_ENDLESS_IN_C = "sum(range(10**12))"
_DEATHS = {
    "os._exit": "import os, time\nprint(repr(time.time()))\nos._exit(3)",
    "SIGSEGV": "import ctypes, time\nprint(repr(time.time()))\nctypes.string_at(0)",
}
_SPIKES = {
    "bytearray": "spike = bytearray(150 << 20)\nspike[::4096] = b'x' * len(spike[::4096])\ndel spike",
    "numpy.ones": "import numpy\nspike = numpy.ones(150 << 17)\ndel spike",
    "many small": "spike = [b'x' * 65536 + bytes([n % 256]) for n in range(2400)]\ndel spike",
}


def measure(context: Context) -> Iterator[Result]:
    """Each in a session of its own, one after another."""
    with context.ours.connect() as http:
        yield from _timeouts(http, context.pick(6, 2))
        yield from _crashes(http, context.pick(20, 5))
        for kind, code in _SPIKES.items():
            yield _spikes(http, kind, code)
    context.ours.clear()


def _timeouts(http: Connection, count: int) -> Iterator[Result]:
    endless = [_seconds_of(http, _ENDLESS, "execution timeout") for _ in range(count)]
    in_c = [_seconds_of(http, _ENDLESS_IN_C, "execution timeout") for _ in range(count)]
    yield Row.of_seconds("timeout answer, while True", endless)
    yield Row.of_seconds("timeout answer, a loop in C", in_c)
    late = 100 * (median(endless) - LIMIT_S) / LIMIT_S
    note = f"of the {LIMIT_S:g} s limit; worst {100 * (max(endless) - LIMIT_S) / LIMIT_S:.2f} %"
    yield Figure("timeout answer after its limit, while True", late, "%", at_most=2, note=note)
    yield Figure("timeout answer after its limit, a loop in C", max(in_c) - LIMIT_S, "s", at_most=0.3, note="the worst")


def _crashes(http: Connection, count: int) -> Iterator[Result]:
    """All sessions but one are open, so that each crash needs the slot of the one before."""
    for _ in range(MAX_SESSIONS - 1):
        http.execute("print(1)")
    refused = 0
    for kind, code in _DEATHS.items():
        late = []
        wait_warm(http)
        for _ in range(count):
            answer, _ = http.execute(code)
            refused += answer["error"] == "max sessions reached"
            if answer["error"] == "session crashed":
                late.append(time.time() - float(answer["partial"]["stdout"]))
        if late:
            yield Row.of_seconds(f"crash to its answer, {kind}", late)
            yield Figure(f"crash to its answer, {kind}", 1e3 * median(late), "ms", at_most=50)
        yield Figure(f"crashes told as such, {kind}", 100 * len(late) / count, "%", at_least=100)
    yield Figure("a crash's slot not free at once", refused, "times", at_most=0, note=f"of {2 * count}")


def _spikes(http: Connection, kind: str, code: str) -> Figure:
    caught = 0
    for _ in range(10):
        answer, _ = http.execute(code)
        caught += answer["error"] == "memory limit exceeded"
        http.delete(answer["id"])
    return Figure(f"spike of 150 MiB caught, {kind}", caught, "of 10", at_least=10)


def _seconds_of(http: Connection, code: str, error: str) -> float:
    answer, seconds = http.execute(code)
    http.delete(answer["id"])
    if answer["error"] != error:
        raise RuntimeError(f"{code!r} was to end with {error!r}: {answer}")
    return seconds
