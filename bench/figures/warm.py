"""Warm `/execute` against the bare echo: 1, 8 and 32 clients, each on a session of its own."""

from collections.abc import Iterator, Sequence
from statistics import median

from bench.connection import execute_body
from bench.context import Context
from bench.load import Call, Leg
from bench.results import Figure, Result, Row
from bench.servers import PyRunner

CODE = "print(1)"
_WARM_S = 0.2
_CLIENTS = {1: (0.40, 0.60), 8: (0.60, 0.85), 32: (0.50, 0.70)}  # the least ratio to the echo, and the aim
_MOST_P50_RATIO = 2.5


def warm_calls(ours: PyRunner, clients: int) -> list[Call]:
    """Open `clients` sessions: one request for each, and what every answer to it must contain."""
    with ours.connect() as http:
        ids = [http.execute(CODE)[0]["id"] for _ in range(clients)]
    return [Call(execute_body(CODE, id), b'"id":"%b","stdout":"1\\n"' % id.encode()) for id in ids]


def measure(context: Context) -> Iterator[Result]:
    """Throughput and p50, as ratios of legs that follow each other."""
    calls = warm_calls(context.ours, max(_CLIENTS))
    pairs: dict[int, list[tuple[Leg, Leg]]] = {clients: [] for clients in _CLIENTS}
    for _ in range(context.pick(9, 3)):
        for clients in _CLIENTS:
            pairs[clients].append(_pair(context, calls[:clients]))
    context.ours.clear()
    for clients, (least, aim) in _CLIENTS.items():
        echo, ours = zip(*pairs[clients], strict=True)
        named = f"{clients} client{'s' if clients > 1 else ''}"
        yield Row.of_legs(f"bare echo, {named}", echo)
        yield Row.of_legs(f"warm /execute, {named}", ours)
        ratios = [mine.rps / bare.rps for bare, mine in pairs[clients]]
        name = f"warm throughput / echo, {named}"
        yield Figure(name, median(ratios), at_least=least, aim=aim, note=f"{min(ratios):.2f}-{max(ratios):.2f}")
    ratios = [mine.p50_us / bare.p50_us for bare, mine in pairs[1]]
    yield Figure("warm p50 / echo's, 1 client", median(ratios), at_most=_MOST_P50_RATIO)
    yield _generator_share([leg for pair in pairs[1] for leg in pair[:1]])


def _pair(context: Context, calls: Sequence[Call]) -> tuple[Leg, Leg]:
    run_s = 0.4 if context.quick else 1.0
    echo, ours = (
        context.load.run(server.port, calls, warm_s=_WARM_S, run_s=run_s) for server in (context.echo, context.ours)
    )
    return echo, ours


def _generator_share(legs: Sequence[Leg]) -> Figure:
    shares = [100 * leg.cpu_s / (leg.all_requests / leg.rps) for leg in legs]
    return Figure("the generator's CPU while the echo answers 1 client", median(shares), "% of a core")
