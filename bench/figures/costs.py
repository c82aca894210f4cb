"""Where the rest goes: CPU and context switches of one warm request, over those of the echo's."""

from collections.abc import Iterator, Sequence
from statistics import median

from bench import processes
from bench.context import Context
from bench.figures.warm import CODE, warm_calls
from bench.load import Call
from bench.processes import Tree
from bench.results import Cost, Figure, Result
from bench.servers import Server

_CLIENTS = (1, 8, 32)
_IN_CODE = 300  # answers whose own execution time is read


def measure(context: Context) -> Iterator[Result]:
    """CPU of server, workers and generator while each server is loaded, divided by the requests."""
    calls = warm_calls(context.ours, max(_CLIENTS))
    workers = Tree.of(context.ours.pid).workers
    for clients in _CLIENTS:
        costs: dict[str, list[Cost]] = {"echo": [], "ours": []}
        for _ in range(context.pick(5, 2)):
            costs["echo"].append(_cost(context, context.echo, (), calls[:clients]))
            costs["ours"].append(_cost(context, context.ours, workers, calls[:clients]))
        named = f"{clients} client{'s' if clients > 1 else ''}"
        echo, ours = _median(f"bare echo, {named}", costs["echo"]), _median(f"/execute, {named}", costs["ours"])
        yield from (echo, ours, _minus(f"/execute over the echo, {named}", ours, echo))
    yield _inside(context)
    context.ours.clear()


def _cost(context: Context, server: Server, workers: Sequence[int], calls: Sequence[Call]) -> Cost:
    before = processes.effort(server.pid), processes.effort(*workers)
    leg = context.load.run(server.port, calls, warm_s=0.2, run_s=0.4 if context.quick else 0.8)
    of_server, of_workers = processes.effort(server.pid) - before[0], processes.effort(*workers) - before[1]
    each = 1e6 / leg.all_requests
    return Cost(
        "",
        1e6 / leg.rps,
        leg.cpu_s * each,
        of_server.cpu_s * each,
        of_workers.cpu_s * each,
        of_server.switches / leg.all_requests,
        of_workers.switches / leg.all_requests,
    )


def _median(who: str, costs: Sequence[Cost]) -> Cost:
    return Cost(
        who,
        median(cost.wall_us for cost in costs),
        median(cost.generator_us for cost in costs),
        median(cost.server_us for cost in costs),
        median(cost.workers_us for cost in costs),
        median(cost.server_switches for cost in costs),
        median(cost.workers_switches for cost in costs),
    )


def _minus(who: str, cost: Cost, less: Cost) -> Cost:
    return Cost(
        who,
        cost.wall_us - less.wall_us,
        cost.generator_us - less.generator_us,
        cost.server_us - less.server_us,
        cost.workers_us - less.workers_us,
        cost.server_switches - less.server_switches,
        cost.workers_switches - less.workers_switches,
    )


def _inside(context: Context) -> Figure:
    with context.ours.connect() as http:
        session_id = http.execute(CODE)[0]["id"]
        spent = [http.execute(CODE, session_id)[0]["execution_time"] for _ in range(_IN_CODE)]
    return Figure("of a worker's time, to compile and run `print(1)`", 1e6 * median(spent), "µs")
