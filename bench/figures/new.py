"""New sessions: one from the warm pool, one that is ready for numpy and the others, and a cold interpreter."""

import time
from collections.abc import Iterator
from statistics import median

from bench import cold
from bench.connection import Connection, execute_body
from bench.context import Context
from bench.results import Figure, Result, Row
from bench.servers import PyRunner, wait_warm

_PAUSE_S = 0.01  # before each timed request, so that all of them meet a server at rest


def measure(context: Context) -> Iterator[Result]:
    """One session after another, each deleted before the next, the pool full before each."""
    with context.echo.connect() as echo, context.ours.connect() as ours:
        yield from _plain(echo, ours, context.pick(150, 30))
    yield from _numpy_ready(context.ours, context.pick(60, 15), context.pick(5, 2))


def _plain(echo: Connection, ours: Connection, count: int) -> Iterator[Result]:
    bare, new = [], []
    for _ in range(count):
        bare.append(_timed_echo(echo))
        new.append(_timed_session(ours, cold.PRINT))
    yield Row.of_seconds("bare echo, one request at rest", bare)
    yield Row.of_seconds("new session + print(1)", new)
    yield Figure("new session p50 / echo's", median(new) / median(bare), at_most=4, note="one request at a time")
    processes = [cold.seconds(cold.PRINT) for _ in range(min(count, 20))]
    yield Row.of_seconds("cold python -I -c 'print(1)'", processes)


def _numpy_ready(server: PyRunner, count: int, rounds: int) -> Iterator[Result]:
    processes, new = [], []
    for _ in range(rounds):
        processes.append(cold.seconds(cold.SIX))  # without a connection, which the server would not keep for so long
        with server.connect() as ours:
            new += [_timed_session(ours, cold.SIX) for _ in range(count // rounds)]
    yield Row.of_seconds("numpy-ready new session (six libraries)", new)
    yield Row.of_seconds("cold python -I -c, six libraries", processes)
    yield Figure(
        "numpy-ready new session / cold process",
        median(new) / median(processes),
        at_most=1 / 200,
        note=f"1/{median(processes) / median(new):.0f}",
    )


def _timed_echo(echo: Connection) -> float:
    time.sleep(_PAUSE_S)
    return echo.request("POST", "/execute", execute_body(cold.PRINT)).seconds


def _timed_session(ours: Connection, code: str) -> float:
    wait_warm(ours)
    time.sleep(_PAUSE_S)
    answer, seconds = ours.execute(code)
    if not answer["stdout"]:
        raise RuntimeError(f"a new session did not print: {answer}")
    ours.delete(answer["id"])
    return seconds
