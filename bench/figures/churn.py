"""Many sessions: 40 at once, a steady stream of them, and what thousands of them leave behind."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench import held, processes
from bench.connection import execute_body
from bench.context import Context
from bench.load import Call
from bench.processes import Tree
from bench.results import Figure, Result, Row
from bench.servers import MAX_SESSIONS, PyRunner

_CODE = "print(1)"
_CLIENTS = 4
_STOP_S = 10.0


def measure(context: Context) -> Iterator[Result]:
    """The burst on the common server; the stream on one of its own, whose end is looked at too."""
    yield from _burst(context)
    with PyRunner(context.scratch) as server:
        yield from _stream(context, server)
        yield _after_stop(server)


def _burst(context: Context) -> Iterator[Result]:
    calls = [Call(execute_body(_CODE), b'"stdout":"1\\n"')] * MAX_SESSIONS
    legs = []
    for _ in range(context.pick(7, 3)):
        legs.append(context.load.run(context.ours.port, calls, warm_s=0, run_s=30, most=1))
        context.ours.clear()
    yield Row.of_legs(f"{MAX_SESSIONS} new sessions at once", legs)
    worst = max(leg.max_us for leg in legs) / 1e6
    yield Figure(f"{MAX_SESSIONS} new sessions at once, the last answer", worst, "s", at_most=1, note="the worst round")


def _stream(context: Context, server: PyRunner) -> Iterator[Result]:
    count = context.pick(5000, 300)
    _churn(server, count // 10)
    before = held.at_rest(server)
    churned = _churn(server, count)
    after = held.at_rest(server)
    yield Row.of_seconds(f"create, execute, delete: {_CLIENTS} clients", churned.latencies_s)
    yield Figure("create, execute, delete", len(churned.latencies_s) / churned.seconds, "sessions/s", at_least=60)
    yield from before.growth_to(after, f"after {count:,} sessions")


def _after_stop(server: PyRunner) -> Figure:
    pids = Tree.of(server.pid).pids
    started = time.monotonic()
    server.stop()
    while time.monotonic() - started < _STOP_S and any(map(processes.alive, pids)):
        time.sleep(0.01)
    left = sum(map(processes.alive, pids))
    return Figure("processes left after SIGTERM", left, at_most=0, note=f"of {len(pids)}")


@dataclass(slots=True)
class Churned:
    """Sessions opened and closed; `latencies_s` from the request to the answer that it was deleted."""

    latencies_s: list[float]
    seconds: float = 0.0


def _churn(server: PyRunner, count: int) -> Churned:
    churned = Churned([])
    started = time.perf_counter()
    clients = [
        threading.Thread(target=_open_and_close, args=(server, count // _CLIENTS, churned)) for _ in range(_CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    churned.seconds = time.perf_counter() - started
    if len(churned.latencies_s) < count // _CLIENTS * _CLIENTS:
        raise RuntimeError(f"only {len(churned.latencies_s)} of {count} sessions were answered")
    return churned


def _open_and_close(server: PyRunner, count: int, churned: Churned) -> None:
    with server.connect() as http:
        for _ in range(count):
            started = time.perf_counter()
            answer, _ = http.execute(_CODE)
            if answer["stdout"] != "1\n":
                raise RuntimeError(f"a new session did not print: {answer}")
            http.delete(answer["id"])
            churned.latencies_s.append(time.perf_counter() - started)
