"""POST /run: one at rest and one after another, against a cold interpreter; eight clients; what thousands leave."""

import time
from collections.abc import Iterator
from statistics import median

from bench import cold, held
from bench.connection import Connection, run_body
from bench.context import Context
from bench.load import Call
from bench.processes import Tree
from bench.results import Figure, Result, Row
from bench.servers import POOL_SIZE, PyRunner, health, until

PLAIN = Call(run_body(cold.PRINT), b'"status":"success","stdout":"1\\n"', "/run")
SIX = Call(run_body(cold.SIX), b'"status":"success","stdout":"68880.0\\n"', "/run")
_CLIENTS = 8
_PAUSE_S = 0.01  # before each timed run, so that all of them meet a server at rest
_WARM_S = 0.5
_PATIENCE_S = 60.0
_POOLED = 2  # workers of each tier


def measure(context: Context) -> Iterator[Result]:
    """On a server of its own with the whole wall on, so that its processes can be counted."""
    with PyRunner(context.scratch, RUN_POOL_SIZE=_POOLED) as server:
        yield from _one_client(context, server)
        yield from _sustained(context, server, "plain", PLAIN, at_least=250)
        yield from _sustained(context, server, "all six libraries", SIX, at_least=60)
        yield from _left_behind(context, server)


def _one_client(context: Context, server: PyRunner) -> Iterator[Result]:
    plain, plain_cold = _paced(server, cold.PRINT, context.pick(15, 5), 10)
    six, six_cold = _paced(server, cold.SIX, context.pick(5, 2), 10)
    legs = [
        context.load.run(server.port, [PLAIN], warm_s=_WARM_S, run_s=context.pick(3, 1))
        for _ in range(context.pick(3, 1))
    ]
    yield Row.of_seconds("run of print(1), at rest", plain)
    yield Row.of_legs("run of print(1), one after another", legs)
    yield Row.of_seconds("cold python -I -c 'print(1)', beside runs", plain_cold)
    yield Row.of_seconds("run that imports six libraries, at rest", six)
    yield Row.of_seconds("cold python -I -c, six libraries, beside runs", six_cold)
    yield _against_cold("run of print(1) at rest / cold process, p50", plain, plain_cold, at_most=0.25)
    closed_s = median(leg.p50_us for leg in legs) / 1e6
    yield Figure("run of print(1) one after another / cold process, p50", closed_s / median(plain_cold))
    yield _against_cold("run that imports six libraries / cold process, p50", six, six_cold, at_most=0.02)


def _against_cold(name: str, run: list[float], process: list[float], at_most: float) -> Figure:
    ratio = median(run) / median(process)
    return Figure(name, ratio, at_most=at_most, note=f"1/{1 / ratio:.0f}")


def _paced(server: PyRunner, code: str, rounds: int, each: int) -> tuple[list[float], list[float]]:
    """Seconds of runs, each of a server at rest, and of cold processes, one a round."""
    warm, process = [], []
    for _ in range(rounds):
        process.append(cold.seconds(code))  # without a connection, which the server would not keep for so long
        with server.connect() as http:
            warm += [_timed_run(server, http, code) for _ in range(each)]
    return warm, process


def _timed_run(server: PyRunner, http: Connection, code: str) -> float:
    wait_full(server, http)
    time.sleep(_PAUSE_S)
    answer, seconds = http.run(code)
    if answer["status"] != "success" or not answer["stdout"]:
        raise RuntimeError(f"a run did not print: {answer}")
    return seconds


def wait_full(server: PyRunner, http: Connection) -> None:
    """Wait until each pool is full, and the workers of earlier runs are gone."""

    def full() -> bool:
        warm = health(http)["runs"]["warm"].values()
        return min(warm) == _POOLED and len(Tree.of(server.pid).workers) == POOL_SIZE + sum(warm)

    until(full, "full pools and nothing else", _PATIENCE_S)


def _sustained(context: Context, server: PyRunner, named: str, call: Call, at_least: float) -> Iterator[Result]:
    legs = [
        context.load.run(server.port, [call] * _CLIENTS, warm_s=_WARM_S, run_s=context.pick(5, 2))
        for _ in range(context.pick(3, 1))
    ]
    yield Row.of_legs(f"runs, {named}, {_CLIENTS} clients", legs)
    rates = [leg.rps for leg in legs]
    note = f"{min(rates):.0f}-{max(rates):.0f}, {_CLIENTS} clients"
    yield Figure(f"runs, {named}", median(rates), "runs/s", at_least=at_least, note=note)


def calls_of(count: int) -> list[Call]:
    """The calls of `count` clients that send as many runs each: every fourth imports all six libraries."""
    return [SIX if number % 4 == 3 else PLAIN for number in range(count)]


def _left_behind(context: Context, server: PyRunner) -> Iterator[Result]:
    """Every fourth run imports all six libraries, so that each tier forks its part."""
    count = context.pick(5000, 400)
    _churn(context, server, count // 10)
    before = _held(server)
    churned = _churn(context, server, count)
    after = _held(server)
    yield from before.growth_to(after, f"after {churned:,} runs")


def _churn(context: Context, server: PyRunner, count: int) -> int:
    each = count // _CLIENTS
    leg = context.load.run(server.port, calls_of(_CLIENTS), warm_s=0, run_s=600, most=each)
    return leg.all_requests


def _held(server: PyRunner) -> held.Held:
    with server.connect() as http:
        wait_full(server, http)
    return held.at_rest(server)
